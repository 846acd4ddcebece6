import { createHash } from 'node:crypto';
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
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
      return {
        principal: { actor: actorOf(payload), role: roleOf(payload, roleClaim) },
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
      const isOfToken =
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys ||
        error instanceof errors.JOSENotSupported;
      if (isOfToken) throw error;
      this.#keySet = undefined;
      this.#failed = { at: performance.now(), error: new ProviderAway(messageOf(error), { cause: error }) };
      // Whoever calls is told no more than that: addresses and networks are the operator's.
      this.warn(`The OpenID provider ${this.config.issuer} does not give its keys: ${messageOf(error)}`);
      throw this.#failed.error;
    }
  };

  async #findKeySet(): Promise<JWTVerifyGetKey> {
    const { issuer, jwksUrl } = this.config;
    return createRemoteJWKSet(new URL(jwksUrl ?? (await discover(issuer))), { timeoutDuration: TIMEOUT_MS });
  }
}

/** Where the keys of a provider are, from its discovery document (OpenID Connect Discovery 1.0). */
async function discover(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const { issuer: named, jwks_uri: keys } = (await answer.json()) as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer)
    throw new Error(`${url} is of ${JSON.stringify(named)}; WAYLOG_JWT_ISSUER must be exactly that`);
  if (typeof keys !== 'string' || !isSafeUrl(keys)) throw new Error(`${url} names no keys under https://`);
  return keys;
}

/** No more than what whoever made the token needs to know. */
function whyRefused(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The token is not for here: its claim ${error.claim} is missing, or not as it must be.`;
  return 'The token is not one that the provider has signed, or not whole.';
}

function actorOf({ sub }: JWTPayload): string {
  const subject = String(sub);
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
