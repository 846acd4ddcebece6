import { createLocalJWKSet, type JSONWebKeySet, type JWSHeaderParameters, type JWTVerifyGetKey } from 'jose';
import { isSafeUrl, messageOf, type JwtConfig } from '#lib/platform';

/**
 * A set of keys is used no longer. With the minute for which a token is not verified again, a key that the provider has
 * withdrawn lets nobody in after five.
 */
const MAX_AGE_MS = 4 * 60_000;

/** From this age on the set is fetched again in the background, so that nobody waits while the provider is well. */
const REFRESH_AFTER_MS = 60_000;

/** So long after a set came, a token with a key that is not in it is refused without asking the provider. */
const COOLDOWN_MS = 30_000;

const TIMEOUT_MS = 5_000;

/** After a provider did not answer, it is asked again no sooner. */
const PAUSE_MS = 2_000;

/** The most that a provider's documents may have; sets of keys have some kilobytes. */
const MAX_DOCUMENT_BYTES = 256 * 1024;

/** The provider does not give its keys: no fault of the token's. */
export class ProviderAway extends Error {}

interface KeySet {
  readonly find: JWTVerifyGetKey;
  readonly ids: ReadonlySet<unknown>;
  /** Of `performance.now()`. */
  readonly at: number;
}

/**
 * The public keys of one OpenID provider. What was fetched is kept for its time, whatever the provider answers meanwhile:
 * anybody can have it asked, with a token that names a key which is not there.
 */
export class ProviderKeys {
  #known: KeySet | undefined;
  #fetching: Promise<KeySet> | undefined;
  #failed: { readonly at: number; readonly error: ProviderAway } | undefined;

  constructor(
    private readonly config: JwtConfig,
    private readonly warn: (message: string) => void,
  ) {}

  /** Whether a token can be checked, or refused, without waiting for the provider. */
  has({ kid }: JWSHeaderParameters): boolean {
    return this.#atHand(kid) !== undefined;
  }

  /** The key of a token. Throws `ProviderAway`, and what jose throws of a key that is not there or not usable. */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const known = this.#atHand(header.kid);
    if (!known) return (await this.#fetch()).find(header, token);
    // It warns where it fails; nobody waits for it.
    if (age(known) > REFRESH_AFTER_MS) this.#fetch().catch(() => undefined);
    return known.find(header, token);
  };

  /** What there is to check a token with. One that names no key is checked with any. */
  #atHand(kid: unknown): KeySet | undefined {
    const known = this.#known;
    if (!known || age(known) >= MAX_AGE_MS) return undefined;
    return kid === undefined || known.ids.has(kid) || age(known) < COOLDOWN_MS ? known : undefined;
  }

  /** One at a time, whoever waits for it. */
  #fetch(): Promise<KeySet> {
    if (this.#failed && performance.now() < this.#failed.at + PAUSE_MS)
      return Promise.reject(this.#failed.error);
    this.#fetching ??= this.#fetchNow().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  async #fetchNow(): Promise<KeySet> {
    const { issuer, jwksUrl } = this.config;
    // What is withdrawn while the answer is on its way may still be in it.
    const at = performance.now();
    try {
      const document = await fetchJson(jwksUrl ?? (await discover(issuer)));
      this.#known = keySetOf(document as JSONWebKeySet, at);
      this.#failed = undefined;
      return this.#known;
    } catch (error) {
      this.#failed = { at: performance.now(), error: new ProviderAway(messageOf(error), { cause: error }) };
      // Whoever calls is told no more than that: addresses and networks are the operator's.
      this.warn(`The OpenID provider ${issuer} does not give its keys: ${messageOf(error)}`);
      throw this.#failed.error;
    }
  }
}

const age = ({ at }: KeySet): number => performance.now() - at;

function keySetOf(document: JSONWebKeySet, at: number): KeySet {
  // It refuses what is no set of keys.
  const find = createLocalJWKSet(document);
  return { at, find, ids: new Set(document.keys.map(({ kid }) => kid)) };
}

/** A document of the provider: without redirects, and no more of it than one may have. */
async function fetchJson(url: string): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let answer: Response;
  try {
    answer = await fetch(url, {
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { accept: 'application/json, application/jwk-set+json' },
    });
    let bytes = 0;
    for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      parts.push(part);
      bytes += part.byteLength;
      if (bytes > MAX_DOCUMENT_BYTES) throw new Error(`it has more than ${MAX_DOCUMENT_BYTES / 1024} KiB`);
    }
  } catch (error) {
    throw new Error(`${url}: ${messageOf(error)}`, { cause: error });
  }
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}`);
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch (error) {
    throw new Error(`${url} is no JSON: ${messageOf(error)}`, { cause: error });
  }
}

/** Where the keys of a provider are, from its discovery document (OpenID Connect Discovery 1.0). */
async function discover(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const document = ((await fetchJson(url)) ?? {}) as { issuer?: unknown; jwks_uri?: unknown };
  const { issuer: named, jwks_uri: keys } = document;
  if (named !== issuer)
    throw new Error(`${url} is of ${JSON.stringify(named)}; WAYLOG_JWT_ISSUER must be exactly that`);
  if (typeof keys !== 'string' || !isSafeUrl(keys)) throw new Error(`${url} names no keys under https://`);
  return keys;
}
