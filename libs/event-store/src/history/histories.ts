import type { ClientBase, Pool, PoolClient } from 'pg';
import { databaseCall, inTransaction, readRows } from '#lib/platform';
import type { Position } from '../event-store.js';
import { positionLost } from './errors.js';

export interface History {
  readonly kept: Position;
  readonly resumesAfter: Position;
}

const FRESH_MS = 1_000;

/** Where the log went back, and at which positions it continued: there are no events in between. */
export class Histories {
  #known: readonly History[] = [];
  #readAt = -Infinity;
  #reading: Promise<void> | undefined;

  constructor(
    private readonly pool: Pool,
    /** Whether a position is one of this store. */
    private readonly isOurs: (position: string) => boolean,
    private readonly compare: (a: Position, b: Position) => number,
    /** Whether two positions are as far apart as those of two histories. */
    private readonly areFarApart: (a: Position, b: Position) => boolean,
  ) {}

  /** Throws `position.lost` for the position of a lost event. `reached` is how far its reader has come. */
  async refuseLost(position: Position, reached: Position): Promise<void> {
    // What was read a moment ago may lack the history that `reached` is in.
    const isKnown = performance.now() - this.#readAt <= FRESH_MS && !this.areFarApart(position, reached);
    if (!isKnown) await (this.#reading ??= this.#read());
    for (const { kept, resumesAfter } of this.#known)
      if (this.compare(position, kept) > 0 && this.compare(position, resumesAfter) <= 0)
        throw positionLost(position, kept, resumesAfter);
  }

  forget(): void {
    this.#readAt = -Infinity;
  }

  async #read(): Promise<void> {
    const began = performance.now();
    try {
      const rows = await readRows(
        this.pool,
        'log.histories',
        `select kept_position, resumes_after from log.histories where kept_position <> resumes_after order by number`,
        [],
      );
      this.#known = (rows as [string, string][])
        .filter(([kept, after]) => this.isOurs(kept) && this.isOurs(after))
        .map(([kept, resumesAfter]) => ({ kept, resumesAfter }));
      this.#readAt = began;
    } finally {
      this.#reading = undefined;
    }
  }
}

const HISTORY_LOCK = 7239100411;

/**
 * Runs work in a transaction in which no other process can begin a history of a log that is elsewhere than this
 * database.
 */
export async function whileOthersWait<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await databaseCall(() => pool.connect());
  try {
    return await inTransaction(client, async () => {
      await client.query(`select pg_advisory_xact_lock($1)`, [HISTORY_LOCK]);
      return work(client);
    });
  } finally {
    client.release();
  }
}

/** Of a log that is elsewhere than this database; a log in this database begins its histories itself. */
export const recordHistory = (client: ClientBase, kept: Position, resumesAfter: Position) =>
  client.query(
    `insert into log.histories (number, kept_position, resumes_after)
     select coalesce(max(number), 0) + 1, $1, $2 from log.histories`,
    [kept, resumesAfter],
  );

/** The history that ended here, if there is one. */
export async function historyOver(
  client: ClientBase,
  isOver: (history: History) => boolean,
): Promise<History | undefined> {
  const rows = await readRows(
    client,
    undefined,
    `select kept_position, resumes_after from log.histories where written_by is null order by number desc`,
    [],
  );
  return (rows as [string, string][]).map(([kept, resumesAfter]) => ({ kept, resumesAfter })).find(isOver);
}
