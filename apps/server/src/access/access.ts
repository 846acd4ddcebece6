import { hash, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { KEY_PREFIX } from '#lib/access';
import { inTime, LimitsByKey, messageOf, tooMany, WaylogError } from '#lib/platform';
import { networkOf } from './address.js';
import type { Checked, Principal } from './principal.js';
import { cannotBeChecked, refused } from './refusals.js';
import { TokenBuckets } from './token-bucket.js';

/** As many credentials are remembered. */
const MAX_KNOWN = 10_000;

/** While a credential cannot be checked (the database or the provider is away), one that was good goes on for this long. */
const GRACE_MS = 5 * 60_000;

/** The longest that a request waits for its credential to be checked. */
const CHECK_LIMIT_MS = 2_000;

/** Between two looks at a credential in the background. */
const RECHECK_PAUSE_MS = 1_000;

/** For how long nobody waits for a check after one came to nothing; those in the background go on. */
const AWAY_MS = 5_000;

/** Wrong credentials a second and address. */
export const WRONG_PER_SECOND = 10;

/** Unknown credentials that are looked up at a time in one source, of all addresses and of one, and how many more of one wait. */
const UNKNOWN_AT_ONCE = 4;
const UNKNOWN_OF_ONE = 2;
const UNKNOWN_WAITING_OF_ONE = 200;

const WARNED_EVERY_MS = 60_000;

/** What has to answer before a credential is known: what one waits for must not hold up those that do not need it. */
type Source = 'memory' | 'database' | 'provider';

/** The turns at one source. */
class LookUps {
  readonly all = pLimit(UNKNOWN_AT_ONCE);
  readonly ofNetwork = new LimitsByKey(() => UNKNOWN_OF_ONE);
}

/** The key of the configuration: it never expires, and nobody has to be asked. */
const ADMIN: Checked = { principal: { actor: 'admin-key', role: 'admin' }, validMs: Infinity };

/** Times are of `performance.now()`, which no one sets back; `expiresAt` is of the calendar, as the credential says it. */
interface Known extends Checked {
  /** From when on it is looked at again in the background, while it is still good. */
  recheckAt: number;
  /** From when on a request waits for that. */
  staleAt: number;
  readonly graceUntil: number;
}

export interface AccessOptions {
  readonly adminKey?: string | undefined;
  readonly checkKey: (text: string) => Promise<Checked>;
  /** Not there where no provider is configured. */
  readonly checkToken?: ((text: string) => Promise<Checked>) | undefined;
  /** Whether `checkToken` waits for the provider; if not, what it needs is at hand. */
  readonly waitsForProvider?: ((text: string) => boolean) | undefined;
  /** Told of every use of a key. */
  readonly onKeyUse: (keyId: string) => void;
  readonly warn: (message: string) => void;
}

/**
 * Says who calls, by the credential alone. What has been found good is remembered under its SHA-256 for as long as its
 * kind allows, so that most requests cost a hash and a look into a map, and none of them waits for a database.
 */
export class Access {
  readonly #known = new LRUCache<string, Known>({ max: MAX_KNOWN });
  readonly #checking = new Map<string, Promise<Principal>>();
  readonly #wrong = new TokenBuckets(WRONG_PER_SECOND, UNKNOWN_OF_ONE);
  readonly #lookUps = { memory: new LookUps(), database: new LookUps(), provider: new LookUps() };
  readonly #adminHash: Buffer | undefined;
  /** Counts what was forgotten: a check that began before must not be remembered. */
  #forgotten = 0;
  #warnedAt = -Infinity;

  constructor(private readonly options: AccessOptions) {
    const { adminKey } = options;
    this.#adminHash = adminKey === undefined ? undefined : hash('sha256', adminKey, 'buffer');
  }

  /**
   * Who sends a credential; at once when it is known. `address` is where it comes from. Throws `access.refused`,
   * `access.too-many-wrong` and `access.unavailable`, or rejects with them.
   */
  authenticate(credential: string, address: string): Principal | Promise<Principal> {
    const digest = hash('sha256', credential, 'base64');
    const known = this.#known.get(digest);
    if (known && !hasExpired(known)) {
      const now = performance.now();
      if (now < known.staleAt) {
        if (now >= known.recheckAt) this.#recheck(credential, digest, address, known);
        if (known.keyId !== undefined) this.options.onKeyUse(known.keyId);
        return known.principal;
      }
    }
    return this.#checking.get(digest) ?? this.#check(credential, digest, address, known);
  }

  /** Forgets a key that was revoked here: the next request with it is refused. */
  forgetKey(keyId: string): void {
    this.#forgotten++;
    for (const [digest, known] of this.#known.entries())
      if (known.keyId === keyId) this.#known.delete(digest);
  }

  #recheck(credential: string, digest: string, address: string, known: Known): void {
    known.recheckAt = performance.now() + RECHECK_PAUSE_MS;
    if (this.#checking.has(digest)) return;
    // What becomes of it stands in what is known; the request that asked for it has its answer already.
    this.#check(credential, digest, address, known).catch(() => undefined);
  }

  /** One check at a time of each credential, whoever waits for it. */
  #check(credential: string, digest: string, address: string, known: Known | undefined): Promise<Principal> {
    const check = this.#checkNow(credential, digest, address, known).finally(() =>
      this.#checking.delete(digest),
    );
    this.#checking.set(digest, check);
    return check;
  }

  async #checkNow(
    credential: string,
    digest: string,
    address: string,
    known: Known | undefined,
  ): Promise<Principal> {
    const network = networkOf(address);
    // Guesses are slowed down, right or wrong. Who has shown a good one before is not held up by a neighbour who guesses.
    if (!known && !this.#wrong.has(network)) throw this.#tooManyWrong(network);
    try {
      return await withinLimit(
        known
          ? this.#lookUp(credential, digest, network)
          : this.#inTurn(this.#sourceOf(credential), network, () =>
              this.#lookUp(credential, digest, network),
            ),
      );
    } catch (error) {
      if (isRefusal(error) || isTooMany(error)) throw error;
      if (known && !hasExpired(known) && performance.now() < known.graceUntil) {
        known.staleAt = performance.now() + AWAY_MS;
        return known.principal;
      }
      // What the database or the network said is for the log: whoever asks is not known yet.
      if (error instanceof WaylogError && error.code === 'access.unavailable') throw error;
      this.options.warn(`A credential could not be checked: ${messageOf(error)}`);
      throw cannotBeChecked('the log of the server says why', error);
    }
  }

  /**
   * Looks unknown credentials up a few at a time: a guess is charged when it was found wrong, and thousands that came together
   * would all have been looked up by then. Those that are right only wait for their turn, as many are after a restart. Each
   * source has turns of its own: while the provider hangs, anybody can have it asked with forged tokens, and keys do not
   * need it, nor tokens whose key is at hand.
   */
  async #inTurn(source: Source, network: string, lookUp: () => Promise<Principal>): Promise<Principal> {
    const { all, ofNetwork } = this.#lookUps[source];
    if (ofNetwork.waiting(network) >= UNKNOWN_WAITING_OF_ONE) throw this.#tooManyWrong(network);
    const asked = performance.now();
    return ofNetwork.run(network, () =>
      all(() => {
        if (!this.#wrong.has(network)) throw this.#tooManyWrong(network);
        // Nobody waits for it any more.
        if (performance.now() - asked > CHECK_LIMIT_MS) throw cannotBeChecked('too many are looked at');
        return lookUp();
      }),
    );
  }

  /** What comes of it counts also when the request no longer waits for it. */
  async #lookUp(credential: string, digest: string, network: string): Promise<Principal> {
    const forgotten = this.#forgotten;
    try {
      const found = await this.#find(credential);
      if (hasExpired(found)) throw refused('It has expired.');
      if (forgotten === this.#forgotten) this.#known.set(digest, fresh(found));
      if (found.keyId !== undefined) this.options.onKeyUse(found.keyId);
      return found.principal;
    } catch (error) {
      if (isRefusal(error)) {
        this.#known.delete(digest);
        this.#wrong.charge(network);
      }
      throw error;
    }
  }

  /** By its form alone. The admin key has none of these, and is compared once. */
  #sourceOf(credential: string): Source {
    if (credential.startsWith(KEY_PREFIX)) return 'database';
    return isToken(credential) && this.options.waitsForProvider?.(credential) ? 'provider' : 'memory';
  }

  async #find(credential: string): Promise<Checked> {
    const { checkKey, checkToken } = this.options;
    if (this.#adminHash && timingSafeEqual(hash('sha256', credential, 'buffer'), this.#adminHash))
      return ADMIN;
    if (credential.startsWith(KEY_PREFIX)) return checkKey(credential);
    if (isToken(credential)) {
      if (!checkToken)
        throw refused('It looks like a JWT, and this server takes none: WAYLOG_JWT_ISSUER is not set.');
      return checkToken(credential);
    }
    throw refused('It is no key of this server.');
  }

  #tooManyWrong(network: string): WaylogError {
    if (performance.now() > this.#warnedAt + WARNED_EVERY_MS) {
      this.#warnedAt = performance.now();
      this.options.warn(`More than ${WRONG_PER_SECOND} wrong keys a second come from ${network}`);
    }
    return tooMany(
      'access.too-many-wrong',
      'Too many wrong keys came from your address. Wait, and send one that is right.',
      this.#wrong.secondsToWait(network),
    );
  }
}

const isToken = (credential: string): boolean => credential.split('.').length === 3;

const isTooMany = (error: unknown): boolean => error instanceof WaylogError && error.kind === 'too-many';

const isRefusal = (error: unknown): boolean =>
  error instanceof WaylogError && error.kind === 'unauthenticated';

const hasExpired = ({ expiresAt }: Checked): boolean => expiresAt !== undefined && expiresAt <= Date.now();

function fresh(found: Checked): Known {
  const now = performance.now();
  const { validMs } = found;
  return {
    ...found,
    recheckAt: now + validMs / 2,
    staleAt: now + validMs,
    graceUntil: now + validMs + GRACE_MS,
  };
}

/** What takes longer cannot be had now. */
const withinLimit = <T>(work: Promise<T>): Promise<T> =>
  inTime(CHECK_LIMIT_MS, work, () =>
    cannotBeChecked(`there was no answer within ${CHECK_LIMIT_MS / 1_000} s`),
  );
