import { LRUCache } from 'lru-cache';
import type { Pool } from 'pg';
import { databaseCall, readRows } from '#lib/platform';
import { newKey } from './seal.js';

/** For so long a process may still open what another one has erased the key of. */
const FRESH_MS = 10_000;

const NO_KEY = Symbol('no key');

/**
 * The keys of streams, in the read database, whichever store has the log. A stream that was erased has a row without a key,
 * for good: nobody makes it another one, however late he learns of the erasure.
 */
export class DataKeys {
  readonly #known: LRUCache<string, Buffer | typeof NO_KEY>;

  constructor(
    private readonly pool: Pool,
    freshMs = FRESH_MS,
  ) {
    this.#known = new LRUCache({ max: 20_000, ttl: freshMs });
  }

  /** The keys of those streams that have one. */
  async of(streamIds: Iterable<string>): Promise<ReadonlyMap<string, Buffer>> {
    const found = new Map<string, Buffer>();
    const unknown: string[] = [];
    for (const streamId of new Set(streamIds)) {
      const key = this.#known.get(streamId);
      if (key === undefined) unknown.push(streamId);
      else if (key !== NO_KEY) found.set(streamId, key);
    }
    if (unknown.length === 0) return found;
    for (const [streamId, key] of await this.anew(unknown)) found.set(streamId, key);
    return found;
  }

  /** As `of`, without what is remembered: before a key is called lost, which may have been made a moment ago. */
  async anew(streamIds: Iterable<string>): Promise<ReadonlyMap<string, Buffer>> {
    const wanted = [...streamIds];
    const found = new Map<string, Buffer>();
    const rows = await readRows(
      this.pool,
      'log.data-keys',
      `select stream_id, encode(key, 'hex') from log.data_keys
        where stream_id = any ($1::text[]) and key is not null`,
      [wanted],
    );
    for (const [streamId, hex] of rows as [string, string][]) found.set(streamId, Buffer.from(hex, 'hex'));
    for (const streamId of wanted) this.#known.set(streamId, found.get(streamId) ?? NO_KEY);
    return found;
  }

  /** The keys of these streams; those that have none get one, but for those that were erased. */
  async make(streamIds: Iterable<string>): Promise<ReadonlyMap<string, Buffer>> {
    const wanted = new Set(streamIds);
    const found = await this.of(wanted);
    const without = [...wanted].filter((streamId) => !found.has(streamId));
    if (without.length === 0) return found;
    await databaseCall(() =>
      this.pool.query({
        name: 'log.make-data-keys',
        text: `insert into log.data_keys (stream_id, key) select * from unnest($1::text[], $2::bytea[]) on conflict do nothing`,
        values: [without, without.map(newKey)],
      }),
    );
    // Another process may have been first, and its key is the one then; or it has erased the stream.
    for (const streamId of without) this.#known.delete(streamId);
    return this.of(wanted);
  }

  /** Whether a stream was erased, or is about to be, according to this database alone. */
  async wasErased(streamId: string): Promise<boolean> {
    const rows = await readRows(
      this.pool,
      'log.erased-key',
      `select true from log.data_keys where stream_id = $1 and key is null`,
      [streamId],
    );
    return rows.length > 0;
  }

  /** What is remembered: the database may be another one than before. */
  forgetAll(): void {
    this.#known.clear();
  }

  /**
   * Deletes the key of a stream for good, and the snapshots that were sealed with it. Nothing opens what it has sealed any
   * more; doing it again changes nothing.
   */
  async forget(streamId: string): Promise<void> {
    await databaseCall(() =>
      this.pool.query(
        `with erased as (
           insert into log.data_keys (stream_id, key) values ($1, null)
               on conflict (stream_id) do update set key = null where data_keys.key is not null)
         delete from log.snapshots where stream_id = $1`,
        [streamId],
      ),
    );
    this.#known.set(streamId, NO_KEY);
  }
}
