import { randomBytes, timingSafeEqual } from 'node:crypto';
import { findKey, hashOfSecret, noteKeyUse, parseKey } from '#lib/access';
import { messageOf, millisecondsOf, type Queryable } from '#lib/platform';
import type { Checked } from './principal.js';
import { refused } from './refusals.js';

/** A key that was revoked elsewhere is refused after this long at the latest. */
export const KEY_VALID_MS = 5_000;

const NOTED_EVERY_MS = 60_000;

/** Stands for the hash of a key that does not exist, so that looking for one takes as long as comparing one. */
const NO_HASH = randomBytes(32);

/** Checks API keys against the database. */
export class ApiKeyCheck {
  /** When the use of each key was last written down, in milliseconds of this process. */
  readonly #noted = new Map<string, number>();

  constructor(
    private readonly db: Queryable,
    private readonly warn: (message: string) => void,
  ) {}

  /** Throws `access.refused` for what is no good key, and what the database throws. */
  async check(text: string): Promise<Checked> {
    const parts = parseKey(text);
    if (!parts) throw refused('It is no whole key: a key is wlk_, 12 hex digits, _ and 43 characters.');
    const key = await findKey(this.db, parts.id);
    const matches = timingSafeEqual(hashOfSecret(parts.secret), key?.hash ?? NO_HASH);
    // Nothing is said of a key to who does not have it.
    if (!key || !matches) throw refused('There is no such key.');
    if (key.state === 'revoked') throw refused(`Key ${key.id} was revoked.`);
    return {
      principal: { actor: `key:${key.name}#${key.id}`, role: key.role },
      ...(key.expiresAt && { expiresAt: millisecondsOf(key.expiresAt) }),
      validMs: KEY_VALID_MS,
      keyId: key.id,
    };
  }

  /** Notes in the background that a key is in use, at most once a minute. */
  noteUse(id: string): void {
    const now = performance.now();
    if (now < (this.#noted.get(id) ?? -Infinity) + NOTED_EVERY_MS) return;
    this.#noted.set(id, now);
    noteKeyUse(this.db, id, new Date().toISOString()).catch((error: unknown) =>
      this.warn(`The use of key ${id} could not be noted: ${messageOf(error)}`),
    );
  }
}
