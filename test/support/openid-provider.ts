import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { CompactSign, exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose';

/**
 * A stand-in for an OpenID provider: its discovery document, its public keys, and tokens signed with the private ones.
 */
export class OpenIdProvider {
  /**
   * The status of the answers for the discovery document and the keys; anything other than 200 is a provider in
   * trouble.
   */
  status = 200;
  /** Accepts requests and answers none. */
  hangs = false;
  /** Published beside the signing key, whatever it is. */
  others: object[] = [];
  /** How often the keys were fetched. */
  keysServed = 0;
  /** How many requests came, answered or not. */
  asked = 0;
  readonly #server = createServer((request, response) => {
    this.asked++;
    if (this.hangs) return;
    const answer = (body: object) =>
      response.writeHead(this.status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.url === '/realm/.well-known/openid-configuration') {
      answer({ issuer: this.issuer, jwks_uri: `${this.issuer}/keys` });
      return;
    }
    if (request.url !== '/realm/keys') {
      response.writeHead(404).end();
      return;
    }
    this.keysServed++;
    answer({ keys: [...this.#published, ...this.others] });
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

  /** A token of `alice` for `waylog`, valid for five minutes, unless `claims` say otherwise. */
  token(claims: Record<string, unknown> = {}): Promise<string> {
    return this.signed(JSON.stringify({ ...this.#claims(), ...claims }));
  }

  /** The claims of a token as JSON. */
  claims(): string {
    return JSON.stringify(this.#claims());
  }

  /** A token with unchecked claims, including some that no library would sign. */
  signed(claims: string): Promise<string> {
    if (!this.#private) throw new Error('The provider has not been started.');
    return new CompactSign(Buffer.from(claims))
      .setProtectedHeader({ alg: 'ES256', kid: this.#kid })
      .sign(this.#private);
  }

  #claims(): object {
    const now = Math.floor(Date.now() / 1_000);
    return {
      iss: this.issuer,
      aud: 'waylog',
      sub: 'alice',
      iat: now,
      exp: now + 300,
      waylog_role: 'operator',
    };
  }

  /** Disconnects all clients that wait for an answer. */
  closeConnections(): void {
    this.#server.closeAllConnections();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
