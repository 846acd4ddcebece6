import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { eventually } from '../../../../test/support/eventually.js';
import { OpenIdProvider } from '../../../../test/support/openid-provider.js';
import { JsonWebTokens } from './json-web-tokens.js';

describe('JsonWebTokens', () => {
  let provider: OpenIdProvider;
  let warnings: string[];
  beforeEach(async () => {
    warnings = [];
    provider = await new OpenIdProvider().start();
  });
  afterEach(() => provider.stop());
  const tokens = (more: object = {}) =>
    new JsonWebTokens(
      { issuer: provider.issuer, audience: 'waylog', roleClaim: 'waylog_role', ...more },
      (message) => warnings.push(message),
    );
  const unavailable = { kind: 'unavailable', code: 'access.unavailable' };

  it('say who it is, with what role, and until when', async () => {
    const exp = Math.floor(Date.now() / 1_000) + 100;
    expect(await tokens().check(await provider.token({ exp }))).toEqual({
      principal: { actor: 'jwt:alice', role: 'operator' },
      // Half a minute more, as the clocks may differ.
      expiresAt: (exp + 30) * 1_000,
      validMs: 60_000,
    });
  });

  it('find the keys by the discovery of the provider, or where the configuration says', async () => {
    await tokens().check(await provider.token());
    expect(provider.keysServed).toBe(1);
    await tokens({ jwksUrl: `${provider.issuer}/keys` }).check(await provider.token());
    expect(provider.keysServed).toBe(2);
    await expect(
      tokens({ jwksUrl: `${provider.issuer}/nothing` }).check(await provider.token()),
    ).rejects.toMatchObject(unavailable);
  });

  it('take the issuer by its exact name alone', async () => {
    const token = await provider.token({ iss: `${provider.issuer}/` });
    await expect(tokens({ issuer: `${provider.issuer}/` }).check(token)).rejects.toMatchObject(unavailable);
    expect(warnings.join()).toMatch(/WAYLOG_JWT_ISSUER must be exactly that/);
  });

  it('find the role where a path of claims leads, and under a name with dots', async () => {
    const roleOf = async (roleClaim: string, claims: object) =>
      (await tokens({ roleClaim }).check(await provider.token({ waylog_role: undefined, ...claims })))
        .principal.role;
    expect(await roleOf('realm.roles', { realm: { roles: ['reader', 'x'] } })).toBe('reader');
    expect(await roleOf('https://a.example/role', { 'https://a.example/role': 'admin' })).toBe('admin');
    expect(await roleOf('realm.roles', { realm: 'reader' })).toBeUndefined();
    expect(await roleOf('constructor.name', {})).toBeUndefined();
    expect(await roleOf('waylog_role', {})).toBeUndefined();
  });

  it('say a subject that is no name for an actor by its hash', async () => {
    const actorOf = async (sub: string) =>
      (await tokens().check(await provider.token({ sub }))).principal.actor;
    expect(await actorOf('auth0|1234 Zoë')).toBe('jwt:auth0|1234 Zoë');
    const long = await actorOf('x'.repeat(200));
    expect(long).toMatch(/^jwt:sha256-[0-9a-f]{64}$/);
    expect(await actorOf('x'.repeat(201))).not.toBe(long);
    for (const odd of ['a\nb', 'a\tb', '\u009b31m', '\u202eadmin-key', 'alice\u200b'])
      expect(await actorOf(odd)).toMatch(/^jwt:sha256-/);
  });

  it('say the session of the provider, where they have one', async () => {
    const sessionOf = async (sid: unknown) =>
      (await tokens().check(await provider.token({ sub: 'bob', sid }))).principal.session;
    expect(await sessionOf('08a5019c-17e1')).toBe('08a5019c-17e1');
    for (const none of [undefined, '', 7, { a: 1 }, 'a\nb', 'x'.repeat(257)])
      expect(await sessionOf(none)).toBeUndefined();
  });

  it('are not blamed for a provider in trouble', async () => {
    provider.status = 500;
    const checked = tokens();
    const token = await provider.token();
    await expect(checked.check(token)).rejects.toMatchObject(unavailable);
    provider.status = 200;
    // It is not asked again at once, and then it is.
    await expect(checked.check(token)).rejects.toMatchObject(unavailable);
    expect(provider.keysServed).toBe(0);
    const now = jest.spyOn(performance, 'now').mockReturnValue(performance.now() + 2_001);
    expect((await checked.check(token)).principal.actor).toBe('jwt:alice');
    now.mockRestore();
  });

  it('name somebody: a subject that is no text, or an empty one, is refused', async () => {
    for (const sub of ['', ' \t', {}, { toString: 'alice' }, 7, null, ['alice'], true]) {
      const [head = '', body = '', signature = ''] = (await provider.token({ sub })).split('.');
      expect(JSON.parse(Buffer.from(body, 'base64url').toString())).toMatchObject({ sub });
      await expect(tokens().check([head, body, signature].join('.'))).rejects.toMatchObject({
        code: 'access.refused',
        message: expect.stringContaining('its claim sub') as string,
      });
    }
  });

  it('that name a broken key of the provider are refused, and nobody else is', async () => {
    const broken: { kid: string; alg: string; [member: string]: unknown }[] = [
      { kty: 'EC', crv: 'P-256', kid: 'broken', alg: 'ES256', use: 'sig', x: 'AA', y: 'AA' },
      { kty: 'EC', crv: 'P-256', kid: 'empty', alg: 'ES256' },
      { kty: 'RSA', kid: 'no-modulus', alg: 'RS256', e: 'AQAB' },
    ];
    // Published by mistake: with it, anybody could sign.
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    broken.push({ ...privateKey.export({ format: 'jwk' }), kid: 'private', alg: 'RS256', use: 'sig' });
    provider.others = broken;
    const checked = tokens();
    for (const { kid, alg } of broken) {
      const [, body, signature] = (await provider.token()).split('.');
      const head = Buffer.from(JSON.stringify({ alg, kid })).toString('base64url');
      await expect(checked.check([head, body, signature].join('.'))).rejects.toMatchObject({
        code: 'access.refused',
      });
      expect((await checked.check(await provider.token())).principal.actor).toBe('jwt:alice');
    }
    expect([provider.keysServed, warnings]).toEqual([1, []]);
  });

  it('are not checked with a set of keys that is no such thing, or larger than any', async () => {
    for (const [others, why] of [
      [['no key'], /JSON Web Key Set malformed/],
      [[{ kty: 'EC', more: 'x'.repeat(300_000) }], /more than 256 KiB/],
    ] as const) {
      provider.others = [...others] as object[];
      await expect(tokens().check(await provider.token())).rejects.toMatchObject(unavailable);
      expect(warnings.pop()).toMatch(why);
    }
  });

  it('are refused, and the provider is not blamed, when it does not know who signed', async () => {
    const checked = tokens();
    await checked.check(await provider.token());
    const stranger = await new OpenIdProvider().start();
    const token = await stranger.token({ iss: provider.issuer });
    await stranger.stop();
    await expect(checked.check(token)).rejects.toMatchObject({ code: 'access.refused' });
    expect((await checked.check(await provider.token({ sub: 'bob' }))).principal.actor).toBe('jwt:bob');
  });

  it('do not have the provider asked for every token with an unknown key', async () => {
    const checked = tokens();
    await checked.check(await provider.token());
    await provider.rotate();
    for (let n = 0; n < 5; n++)
      await expect(checked.check(await provider.token())).rejects.toMatchObject({ code: 'access.refused' });
    expect(provider.keysServed).toBe(1);
  });

  describe('while the provider is away', () => {
    const stranger = async () => {
      const [, body, signature] = (await provider.token()).split('.');
      const head = Buffer.from(JSON.stringify({ alg: 'ES256', kid: 'unknown' })).toString('base64url');
      return [head, body, signature].join('.');
    };
    let ahead: jest.SpyInstance;
    let by = 0;
    beforeEach(() => {
      const now = performance.now.bind(performance);
      by = 0;
      ahead = jest.spyOn(performance, 'now').mockImplementation(() => now() + by);
    });
    afterEach(() => ahead.mockRestore());

    it('are checked with the keys that were known, whatever forged ones have the provider asked for', async () => {
      const checked = tokens();
      await checked.check(await provider.token());
      provider.status = 500;
      by = 31_000;
      await expect(checked.check(await stranger())).rejects.toMatchObject(unavailable);
      expect((await checked.check(await provider.token({ sub: 'bob' }))).principal.actor).toBe('jwt:bob');
      provider.hangs = true;
      const { asked } = provider;
      by = 40_000;
      const waiting = checked.check(await stranger()).catch((error: unknown) => error);
      await eventually(() => provider.asked > asked);
      expect(checked.waitsForProvider(await stranger())).toBe(true);
      expect(checked.waitsForProvider(await provider.token())).toBe(false);
      expect((await checked.check(await provider.token({ sub: 'eve' }))).principal.actor).toBe('jwt:eve');
      provider.closeConnections();
      expect(await waiting).toMatchObject(unavailable);
    });

    it('are not checked with keys that are older than four minutes', async () => {
      const checked = tokens();
      await checked.check(await provider.token());
      provider.status = 500;
      by = 4 * 60_000 - 1_000;
      await checked.check(await provider.token());
      by = 4 * 60_000 + 5_000;
      await expect(checked.check(await provider.token())).rejects.toMatchObject(unavailable);
      provider.status = 200;
      by += 2_001;
      await checked.check(await provider.token());
    });
  });

  it('are refused after four minutes when their key has been withdrawn, and after one where others come', async () => {
    const now = performance.now.bind(performance);
    let by = 0;
    const ahead = jest.spyOn(performance, 'now').mockImplementation(() => now() + by);
    const refused = { code: 'access.refused' };
    const [idle, busy] = [tokens(), tokens()];
    const token = await provider.token();
    await Promise.all([idle.check(token), busy.check(token)]);
    await provider.rotate();
    by = 61_000;
    // Nobody waits for the new keys where there are old ones.
    await busy.check(token);
    await eventually(async () => {
      const outcome = await busy.check(token).catch((error: unknown) => error);
      return (outcome as { code?: string }).code === refused.code;
    });
    expect(provider.keysServed).toBe(3);
    by = 4 * 60_000;
    await expect(idle.check(token)).rejects.toMatchObject(refused);
    ahead.mockRestore();
  });

  it.each(['exp', 'nbf', 'iat'])('are refused when %s is no time', async (claim) => {
    // JSON has no infinity, but a number that is too large is read as one.
    const token = await provider.signed(
      provider.claims().replace(/}$/, `,"${claim}":${claim === 'nbf' ? '-' : ''}1e999}`),
    );
    await expect(tokens().check(token)).rejects.toMatchObject({
      code: 'access.refused',
      message: expect.stringContaining(`its claim ${claim}`) as string,
    });
  });

  it('are not verified with keys that came over the open network', async () => {
    const server = createServer((_request, response) =>
      response.end(JSON.stringify({ issuer, jwks_uri: 'http://keys.example/keys' })),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const error: unknown = await tokens({ issuer })
      .check(await provider.token({ iss: issuer }))
      .catch((e: unknown) => e);
    expect(error).toMatchObject(unavailable);
    expect(String(error)).not.toContain(issuer);
    expect(warnings.join()).toMatch(/names no keys under https/);
    server.closeAllConnections();
    server.close();
  });
});
