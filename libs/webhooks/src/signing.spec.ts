import { createPublicKey, verify } from 'node:crypto';
import { Webhook as Receiver } from 'standardwebhooks';
import { newSigningKey, publicKeyText, secretText, signatures } from './signing.js';

const message = (body = '{"type":"order.Paid"}') => ({
  id: '0193b1b5-0000-7000-8000-000000000000',
  timestamp: Math.floor(Date.now() / 1_000),
  body,
});
type Message = ReturnType<typeof message>;
const headers = ({ id, timestamp }: Message, signature: string) => ({
  'webhook-id': id,
  'webhook-timestamp': String(timestamp),
  'webhook-signature': signature,
});

describe('signatures', () => {
  it('of HMAC are those that a library of Standard Webhooks verifies', () => {
    const key = newSigningKey();
    const sent = message('{"type":"order.Paid","text":"Grüße"}');
    const receiver = new Receiver(secretText(key));
    const signature = signatures('hmac', [key], sent);
    expect(receiver.verify(sent.body, headers(sent, signature))).toMatchObject({ type: 'order.Paid' });
    expect(() => receiver.verify(`${sent.body} `, headers(sent, signature))).toThrow(/No matching signature/);
    expect(() => receiver.verify(sent.body, { ...headers(sent, signature), 'webhook-id': 'other' })).toThrow(
      /No matching signature/,
    );
  });

  it('are several after a rotation, and a receiver needs to know one', () => {
    const [older, newer] = [newSigningKey(), newSigningKey()];
    const sent = message();
    const signature = signatures('hmac', [newer, older], sent);
    for (const key of [older, newer])
      expect(new Receiver(secretText(key)).verify(sent.body, headers(sent, signature))).toBeDefined();
    expect(() =>
      new Receiver(secretText(newSigningKey())).verify(sent.body, headers(sent, signature)),
    ).toThrow(/No matching signature/);
  });

  it('of Ed25519 are verified with the public key alone', () => {
    const key = newSigningKey();
    const sent = message();
    const [version, signature = ''] = signatures('ed25519', [key], sent).split(',');
    expect(version).toBe('v1a');
    const text = publicKeyText(key);
    expect(text).toMatch(/^whpk_/);
    const x = Buffer.from(text.slice('whpk_'.length), 'base64').toString('base64url');
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    const isSigned = (body: string) =>
      verify(
        null,
        Buffer.from(`${sent.id}.${sent.timestamp}.${body}`),
        publicKey,
        Buffer.from(signature, 'base64'),
      );
    expect(isSigned(sent.body)).toBe(true);
    expect(isSigned(`${sent.body} `)).toBe(false);
  });
});
