import { createHash } from 'node:crypto';
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  jwtVerify,
  type FetchImplementation,
  type JWTPayload,
  type JWTVerifyGetKey,
} from 'jose';
import { ACCESS_ROLES, isAccessRole, type AccessRole } from '#lib/access';
import { isSafeUrl, messageOf, type JwtConfig } from '#lib/platform';
import type { Checked } from './principal.js';
import { cannotBeChecked, refused } from './refusals.js';

/** Signatures with a public key alone: with a shared secret, whoever can check a token could make one. */
const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** How far the provider's clock may be from ours. */
const CLOCK_TOLERANCE_SECONDS = 30;

/** A token is not verified twice within this time: what is new of its provider's keys shows after it at the latest. */
const VALID_MS = 60_000;

const TIMEOUT_MS = 5_000;

/** After a provider did not answer, it is asked again no sooner. */
const PAUSE_MS = 2_000;

/** The most that a provider's documents may have; sets of keys have some kilobytes. */
const MAX_DOCUMENT_BYTES = 256 * 1024;

/** `actor` takes 128 characters, a subject may have 255. */
const MAX_SUBJECT = 120;

/** The provider does not give its keys: no fault of the token's. */
class ProviderAway extends Error {}

/** Verifies the tokens of one OpenID provider. */
export class JsonWebTokens {
  #keySet: Promise<JWTVerifyGetKey> | undefined;
  #failed: { readonly at: number; readonly error: ProviderAway } | undefined;

  constructor(
    private readonly config: JwtConfig,
    private readonly warn: (message: string) => void,
  ) {}

  /** Throws `access.refused`, and `access.unavailable` when the provider's keys cannot be had. */
  async check(token: string): Promise<Checked> {
    const { issuer, audience, roleClaim } = this.config;
    try {
      const { payload } = await jwtVerify(token, this.#keyOf, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        requiredClaims: ['exp', 'sub'],
      });
      if (typeof payload.sub !== 'string' || payload.sub.trim() === '')
        throw new errors.JWTClaimValidationFailed('it is no text, or a blank one', payload, 'sub', 'invalid');
      return {
        principal: {
          actor: actorOf(payload),
          role: roleOf(payload, roleClaim),
          ...(isSession(payload['sid']) && { session: payload['sid'] }),
        },
        expiresAt: (Number(payload.exp) + CLOCK_TOLERANCE_SECONDS) * 1_000,
        validMs: VALID_MS,
      };
    } catch (error) {
      if (!(error instanceof ProviderAway)) throw refused(whyRefused(error));
      throw cannotBeChecked('the OpenID provider does not give its keys', error);
    }
  }

  readonly #keyOf: JWTVerifyGetKey = async (header, token) => {
    if (this.#failed && performance.now() < this.#failed.at + PAUSE_MS) throw this.#failed.error;
    try {
      this.#keySet ??= this.#findKeySet();
      const key = await (await this.#keySet)(header, token);
      this.#failed = undefined;
      return key;
    } catch (error) {
      // A token names its key. One that is not there, or that is broken, is no reason to let nobody else in.
      if (!isOfProvider(error)) throw error;
      this.#keySet = undefined;
      this.#failed = { at: performance.now(), error: new ProviderAway(messageOf(error), { cause: error }) };
      // Whoever calls is told no more than that: addresses and networks are the operator's.
      this.warn(`The OpenID provider ${this.config.issuer} does not give its keys: ${messageOf(error)}`);
      throw this.#failed.error;
    }
  };

  async #findKeySet(): Promise<JWTVerifyGetKey> {
    const { issuer, jwksUrl } = this.config;
    return createRemoteJWKSet(new URL(jwksUrl ?? (await discover(issuer))), {
      timeoutDuration: TIMEOUT_MS,
      [customFetch]: fetchDocument,
    });
  }
}

/** OpenID Connect Front-Channel Logout 1.0, section 3: a session of a user at a provider. */
const isSession = (sid: unknown): sid is string => typeof sid === 'string' && /^[ -~]{1,256}$/.test(sid);

/** The keys could not be had at all, as against the one that a token names. */
const isOfProvider = (error: unknown): boolean =>
  error instanceof NoDocument ||
  error instanceof errors.JWKSTimeout ||
  (error instanceof errors.JWKSInvalid && !error.message.includes('must be public keys')) ||
  // What was answered is not 200, or no JSON; the errors of a key and of a token are of their own classes.
  (error instanceof errors.JOSEError && error.code === errors.JOSEError.code);

/** A document of the provider did not come. */
class NoDocument extends Error {}

/** As `fetch`, without redirects, and reads no more than a document of a provider may have. */
const fetchDocument: FetchImplementation = async (url, options) => {
  try {
    const answer = await fetch(url, { ...options, redirect: 'error' });
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
      parts.push(part);
      bytes += part.byteLength;
      if (bytes > MAX_DOCUMENT_BYTES) throw new Error(`it has more than ${MAX_DOCUMENT_BYTES / 1024} KiB`);
    }
    return new Response(Buffer.concat(parts), { status: answer.status });
  } catch (error) {
    throw new NoDocument(`${url}: ${messageOf(error)}`, { cause: error });
  }
};

/** Where the keys of a provider are, from its discovery document (OpenID Connect Discovery 1.0). */
async function discover(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const answer = await fetchDocument(url, {
    method: 'GET',
    headers: new Headers(),
    redirect: 'manual',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) throw new NoDocument(`${url} answered ${answer.status}`);
  const { issuer: named, jwks_uri: keys } = await answer.json().then(
    (document) => (document ?? {}) as { issuer?: unknown; jwks_uri?: unknown },
    (error: unknown) => {
      throw new NoDocument(`${url} is no JSON: ${messageOf(error)}`);
    },
  );
  if (named !== issuer)
    throw new NoDocument(`${url} is of ${JSON.stringify(named)}; WAYLOG_JWT_ISSUER must be exactly that`);
  if (typeof keys !== 'string' || !isSafeUrl(keys))
    throw new NoDocument(`${url} names no keys under https://`);
  return keys;
}

/** No more than what whoever made the token needs to know. */
function whyRefused(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The token is not for here: its claim ${error.claim} is missing, or not as it must be.`;
  return 'The token is not one that the provider has signed, or not whole.';
}

function actorOf({ sub: subject = '' }: JWTPayload): string {
  // eslint-disable-next-line no-control-regex -- an actor has none
  const isPlain = subject.length <= MAX_SUBJECT && !/[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/.test(subject);
  return `jwt:${isPlain ? subject : `sha256-${createHash('sha256').update(subject).digest('hex')}`}`;
}

/** The highest role that a claim names: a text, or a list of texts of which some may mean something else. */
function roleOf(payload: JWTPayload, claim: string): AccessRole | undefined {
  const value = Object.hasOwn(payload, claim)
    ? payload[claim]
    : claim
        .split('.')
        .reduce<unknown>(
          (at, step) =>
            typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined,
          payload,
        );
  const named = (Array.isArray(value) ? (value as unknown[]) : [value]).filter(isAccessRole);
  return ACCESS_ROLES.filter((role) => named.includes(role)).at(-1);
}
