import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';

/** Stands for an OpenID provider: its discovery document, its public keys, and tokens signed with the private ones. */
export class OpenIdProvider {
  /** What the discovery document and the keys are answered with; anything else than 200 is a provider in trouble. */
  status = 200;
  /** Published beside the key that it signs with, whatever it is. */
  others: object[] = [];
  /** How often the keys were fetched. */
  keysServed = 0;
  readonly #server = createServer((request, response) => {
    const answer = (body: object) =>
      response.writeHead(this.status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.url === '/realm/.well-known/openid-configuration')
      return answer({ issuer: this.issuer, jwks_uri: `${this.issuer}/keys` });
    if (request.url !== '/realm/keys') return response.writeHead(404).end();
    this.keysServed++;
    return answer({ keys: [...this.#published, ...this.others] });
  });
  #published: JWK[] = [];
  #private: CryptoKey | undefined;
  #kid = '';

  get issuer(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/realm`;
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    await this.rotate();
    return this;
  }

  /** Signs with a new key from now on; the old one is no longer published. */
  async rotate(): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    this.#kid = `key-${Date.now()}-${Math.random()}`;
    this.#private = privateKey;
    this.#published = [{ ...(await exportJWK(publicKey)), kid: this.#kid, alg: 'ES256', use: 'sig' }];
  }

  get publicKeys(): readonly JWK[] {
    return this.#published;
  }

  /** A token of `alice` for `waylog` that is good for five minutes, unless `claims` say something else. */
  token(claims: Record<string, unknown> = {}): Promise<string> {
    if (!this.#private) throw new Error('The provider has not been started.');
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({
      iss: this.issuer,
      aud: 'waylog',
      sub: 'alice',
      iat: now,
      exp: now + 300,
      waylog_role: 'operator',
      ...claims,
    })
      .setProtectedHeader({ alg: 'ES256', kid: this.#kid })
      .sign(this.#private);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
