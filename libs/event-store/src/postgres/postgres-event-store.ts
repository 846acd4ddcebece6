import { LRUCache } from 'lru-cache';
import type { Pool } from 'pg';
import { databaseCall, Waker, WaylogError, type Listener } from '#lib/platform';
import { checkAppend } from '../check-append.js';
import type {
  AppendOutcome,
  AppendRequest,
  EventStore,
  LogProblem,
  Position,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  Snapshot,
  SubscribeOptions,
} from '../event-store.js';
import { loadSnapshot, saveSnapshot } from '../snapshots.js';
import { upcaster, type Upcasters } from '../upcasting.js';
import { Announcer } from './announcer.js';
import { append, type StreamKeys } from './append.js';
import { checkLog } from './check-log.js';
import { GroupCommit } from './group-commit.js';
import { readAllPage, readBacklog, readHead, readStreamPage } from './read.js';

export interface PostgresEventStoreOptions {
  readonly pool: Pool;
  readonly listener: Listener;
  readonly upcasters?: Upcasters;
  /** How often a subscription looks for new events when no notification comes. */
  readonly pollIntervalMs?: number;
}

/** The channel on which is announced that the log has grown. */
const CHANNEL = 'waylog_events';

// Nothing is lost with an announcement, so its transaction need not wait for the disk.
const announceSql = `select set_config('synchronous_commit', 'off', true), pg_notify('${CHANNEL}', '')`;

/** The log in PostgreSQL. Positions are whole numbers without gaps, in commit order (see the migration `event-log`). */
export class PostgresEventStore implements EventStore {
  readonly beginning = '0';
  readonly #pool: Pool;
  readonly #listener: Listener;
  readonly #pollIntervalMs: number;
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;
  readonly #keys: StreamKeys = new LRUCache({ max: 100_000 });
  readonly #group: GroupCommit;
  readonly #announcer: Announcer;

  constructor(options: PostgresEventStoreOptions) {
    this.#pool = options.pool;
    this.#listener = options.listener;
    this.#pollIntervalMs = options.pollIntervalMs ?? 1_000;
    this.#upcast = upcaster(options.upcasters ?? {});
    this.#announcer = new Announcer(() => this.#pool.query({ name: 'log.announce', text: announceSql }));
    this.#group = new GroupCommit((requests) => this.#flush(requests), { maxInFlight: 2, maxEvents: 5_000 });
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    for (const request of requests) checkAppend(request);
    return Promise.all(requests.map((request) => this.#group.add(request)));
  }

  async #flush(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    // Repeating a whole flush is safe: each event keeps its id, and log.append recognises what it has recorded.
    const outcomes = await databaseCall(() => append(this.#pool, this.#keys, requests));
    // Also a repeat: it may be the answer to an attempt that was recorded and lost its own.
    if (outcomes.some(({ accepted }) => accepted)) this.#announcer.announce();
    return outcomes;
  }

  async *readStream(streamId: string, options: ReadStreamOptions = {}): AsyncIterable<RecordedEvent[]> {
    const { fromRevision = 0, toRevision = 2 ** 31 - 1, pageSize = 1_000 } = options;
    const read = (from: number) =>
      readAhead(readStreamPage(this.#pool, streamId, from, toRevision, pageSize));
    let ahead = read(fromRevision);
    for (let next = fromRevision + pageSize; ; next += pageSize) {
      const page = await ahead;
      const isLast = page.length < pageSize;
      if (!isLast) ahead = read(next);
      if (page.length > 0) yield page.map(this.#upcast);
      if (isLast) return;
    }
  }

  async readAll({ after = this.beginning, limit, types }: ReadAllOptions): Promise<RecordedEvent[]> {
    this.#check(after);
    return (await readAllPage(this.#pool, after, limit, types)).map(this.#upcast);
  }

  async *subscribe({ after, batchSize, signal }: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    const waker = new Waker(this.#listener, CHANNEL, this.#pollIntervalMs, signal);
    try {
      for (let from = after; !signal.aborted;) {
        waker.arm();
        const batch = await this.readAll({ after: from, limit: batchSize });
        const last = batch.at(-1);
        if (last) {
          yield batch;
          from = last.position;
        } else {
          await waker.wait();
        }
      }
    } finally {
      waker.close();
    }
  }

  head(): Promise<Position> {
    return readHead(this.#pool);
  }

  compare(a: Position, b: Position): number {
    const difference = this.#check(a) - this.#check(b);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }

  backlog(after: Position) {
    this.#check(after);
    return readBacklog(this.#pool, after);
  }

  check(): Promise<LogProblem[]> {
    return checkLog(this.#pool);
  }

  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    return loadSnapshot(this.#pool, streamId, version);
  }

  saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    return saveSnapshot(this.#pool, streamId, version, snapshot);
  }

  /** Waits for the appends under way. The pool and the listener belong to whoever made them. */
  async close(): Promise<void> {
    await this.#group.settled();
    await this.#announcer.settled();
  }

  #check(position: Position): bigint {
    if (!/^\d{1,18}$/.test(position)) {
      throw new WaylogError(
        'position.invalid',
        'invalid',
        `${JSON.stringify(position)} is not a position of this log.`,
      );
    }
    return BigInt(position);
  }
}

/**
 * A page that is on its way while the one before it is being used. Whoever stops before it never asks what became of it,
 * and a failure that nobody asks about would end the process.
 */
function readAhead<T>(page: Promise<T>): Promise<T> {
  page.catch(() => undefined);
  return page;
}
