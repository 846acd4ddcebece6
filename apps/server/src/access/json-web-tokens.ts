import { createHash } from 'node:crypto';
import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose';
import { ACCESS_ROLES, isAccessRole, type AccessRole } from '#lib/access';
import { visible, type JwtConfig } from '#lib/platform';
import type { Checked } from './principal.js';
import { ProviderAway, ProviderKeys } from './provider-keys.js';
import { cannotBeChecked, refused } from './refusals.js';

/** Signatures with a public key alone: with a shared secret, whoever can check a token could make one. */
const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** How far the provider's clock may be from ours. */
const CLOCK_TOLERANCE_SECONDS = 30;

/** A token is not verified twice within this time: for so long it goes on when the provider has withdrawn its key. */
const VALID_MS = 60_000;

/** `actor` takes 128 characters, a subject may have 255. */
const MAX_SUBJECT = 120;

/** Verifies the tokens of one OpenID provider. */
export class JsonWebTokens {
  readonly #keys: ProviderKeys;

  constructor(
    private readonly config: JwtConfig,
    warn: (message: string) => void,
  ) {
    this.#keys = new ProviderKeys(config, warn);
  }

  /** Whether `check` has to wait for the provider's answer. */
  waitsForProvider(token: string): boolean {
    try {
      return !this.#keys.has(decodeProtectedHeader(token));
    } catch {
      // It is refused for what it is.
      return false;
    }
  }

  /** Throws `access.refused`, and `access.unavailable` when the provider's keys cannot be had. */
  async check(token: string): Promise<Checked> {
    const { issuer, audience, roleClaim } = this.config;
    try {
      const { payload } = await jwtVerify(token, this.#keys.find, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        requiredClaims: ['exp', 'sub'],
      });
      for (const claim of ['exp', 'nbf', 'iat'] as const)
        if (payload[claim] !== undefined && !Number.isFinite(payload[claim]))
          throw new errors.JWTClaimValidationFailed('it is no time', payload, claim, 'invalid');
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
}

/** OpenID Connect Front-Channel Logout 1.0, section 3: a session of a user at a provider. */
const isSession = (sid: unknown): sid is string => typeof sid === 'string' && /^[ -~]{1,256}$/.test(sid);

/** No more than what whoever made the token needs to know. */
function whyRefused(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The token is not for here: its claim ${error.claim} is missing, or not as it must be.`;
  return 'The token is not one that the provider has signed, or not whole.';
}

function actorOf({ sub: subject = '' }: JWTPayload): string {
  const isPlain = subject.length <= MAX_SUBJECT && visible(subject) === subject && !/[\t\n]/.test(subject);
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
