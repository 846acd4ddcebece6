import {
  readRows,
  timestampFromPostgres,
  millisecondsOf,
  type Queryable,
  type Timestamp,
} from '#lib/platform';

/** A look is good for so long: two clocks of one building drift apart by a millisecond in it. */
const FRESH_MS = 10_000;

/**
 * The clock of the database, by which leases are: the same for all servers. Between two looks time goes on as this
 * process measures it, which no change of its own clock affects.
 */
export class DatabaseClock {
  #offset = 0;
  #lookedAt = -Infinity;
  #looking: Promise<void> | undefined;

  constructor(private readonly pool: Queryable) {}

  async now(): Promise<Timestamp> {
    if (performance.now() - this.#lookedAt > FRESH_MS) await (this.#looking ??= this.#look());
    return new Date(Math.floor(performance.now() + this.#offset)).toISOString();
  }

  async #look(): Promise<void> {
    try {
      const before = performance.now();
      const [row] = await readRows(this.pool, 'video.now', 'select clock_timestamp()', []);
      const after = performance.now();
      // It was read at some moment in between. The earlier one makes leases shorter, and never longer.
      this.#offset = millisecondsOf(timestampFromPostgres(row?.[0] as string)) - after;
      this.#lookedAt = before;
    } finally {
      this.#looking = undefined;
    }
  }
}
