import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  sign as signWith,
  type KeyObject,
} from 'node:crypto';

export const SIGNINGS = ['hmac', 'ed25519'] as const;

/** `hmac`: sender and receiver share a secret. `ed25519`: the receiver has the public key alone. */
export type Signing = (typeof SIGNINGS)[number];

/** The bytes of a key, for either kind of signing. */
export const newSigningKey = (): Buffer => randomBytes(32);

/** Before the 32 bytes of a private key, in PKCS #8 (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

const privateKey = (key: Buffer): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PKCS8, key]), format: 'der', type: 'pkcs8' });

/** What the receiver of an HMAC verifies with: `whsec_...`. */
export const secretText = (key: Buffer): string => `whsec_${key.toString('base64')}`;

/** What the receiver of an Ed25519 signature verifies with: `whpk_...`, the 32 bytes of the public key. */
export const publicKeyText = (key: Buffer): string =>
  `whpk_${createPublicKey(privateKey(key)).export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')}`;

/**
 * The header `webhook-signature` of Standard Webhooks: one signature for each key, with spaces between. A receiver accepts
 * a message of which it knows one.
 */
export const signatures = (
  signing: Signing,
  keys: readonly Buffer[],
  message: { readonly id: string; readonly timestamp: number; readonly body: string },
): string => {
  const signed = Buffer.from(`${message.id}.${message.timestamp}.${message.body}`);
  return keys
    .map((key) =>
      signing === 'hmac'
        ? `v1,${createHmac('sha256', key).update(signed).digest('base64')}`
        : `v1a,${signWith(null, signed, privateKey(key)).toString('base64')}`,
    )
    .join(' ');
};
