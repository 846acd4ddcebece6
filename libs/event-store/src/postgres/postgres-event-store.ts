import { LRUCache } from 'lru-cache';
import type { Pool } from 'pg';
import { databaseCall, readRows, Waker, WaylogError, type Listener } from '#lib/platform';
import { checkAppend } from '../check-append.js';
import type {
  AppendOutcome,
  AppendRequest,
  Backlog,
  EventStore,
  LogProblem,
  Position,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  Snapshot,
  SubscribeOptions,
} from '../event-store.js';
import { newHistory } from '../history/errors.js';
import { Histories, whileOthersWait } from '../history/histories.js';
import { recordLoss, type NewLoss } from '../history/losses.js';
import { Seen } from '../history/seen.js';
import { loadSnapshot, saveSnapshot, type Vantage } from '../snapshots.js';
import { upcaster } from '../upcasting.js';
import { asRecorded, type Vocabulary } from '../vocabulary.js';
import { Announcer } from './announcer.js';
import { append as appendEach, appendTogether, type StreamKeys } from './append.js';
import { BacklogsOfCategories } from './backlogs.js';
import { checkLog } from './check-log.js';
import { GroupCommit } from './group-commit.js';
import {
  isThere,
  keptBefore,
  readAllPage,
  readBacklog,
  readHead,
  readPageOfCategories,
  readStreamPage,
} from './read.js';

export interface PostgresEventStoreOptions {
  readonly pool: Pool;
  readonly listener: Listener;
  /** What is known of the events; by default they are read as they were recorded. */
  readonly vocabulary?: Vocabulary;
  /** How often a subscription looks for new events if no notification comes. */
  readonly pollIntervalMs?: number;
  /** Called when the log turns out to have lost its end; the loss is then recorded. */
  readonly onLoss?: (loss: NewLoss) => void;
}

const POSITION = /^\d{1,18}$/;

/**
 * A history begins at a time in microseconds, and has far fewer events than that: two of them are further apart than
 * this, and readers are not.
 */
const FAR = 100_000n;
const MAX_EVENTS_OF_A_HISTORY = 1e12;

/** The channel that announces that the log has grown. */
const CHANNEL = 'waylog_events';

// Losing an announcement loses nothing, so its transaction need not wait for the disk.
const announceSql = `select set_config('synchronous_commit', 'off', true), pg_notify('${CHANNEL}', '')`;

/** The log in PostgreSQL. Positions are whole numbers without gaps, in commit order (see the migration `event-log`). */
export class PostgresEventStore implements EventStore {
  readonly beginning = '0';
  readonly #pool: Pool;
  readonly #listener: Listener;
  readonly #pollIntervalMs: number;
  readonly #onLoss: (loss: NewLoss) => void;
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;
  readonly #keys: StreamKeys = new LRUCache({ max: 100_000 });
  readonly #group: GroupCommit;
  readonly #announcer: Announcer;
  readonly #seen = new Seen((a, b) => this.compare(a, b));
  readonly #histories: Histories;
  readonly #backlogs: BacklogsOfCategories;
  /** The history of the last append. */
  #history: number | null = null;
  #epoch = 0;
  #looking: Promise<void> | undefined;

  constructor(options: PostgresEventStoreOptions) {
    this.#pool = options.pool;
    this.#listener = options.listener;
    this.#onLoss = options.onLoss ?? (() => undefined);
    this.#pollIntervalMs = options.pollIntervalMs ?? 1_000;
    this.#upcast = upcaster(options.vocabulary ?? asRecorded);
    this.#histories = new Histories(
      options.pool,
      (position) => POSITION.test(position),
      (a, b) => this.compare(a, b),
      (a, b) => BigInt(b) - BigInt(a) > FAR,
    );
    this.#backlogs = new BacklogsOfCategories(options.pool, (a, b) => this.compare(a, b));
    this.#announcer = new Announcer(() => this.#pool.query({ name: 'log.announce', text: announceSql }));
    this.#group = new GroupCommit((requests) => this.#flush(requests), { maxInFlight: 2, maxEvents: 5_000 });
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    for (const request of requests) checkAppend(request);
    this.#refuseOtherEpoch(requests);
    return Promise.all(requests.map((request) => this.#group.add(request)));
  }

  appendTogether(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    for (const request of requests) checkAppend(request);
    return this.#flush(requests, appendTogether);
  }

  async #flush(requests: readonly AppendRequest[], append = appendEach): Promise<AppendOutcome[]> {
    // Repeating a whole flush is safe: each event keeps its id, and log.append recognises what it has recorded.
    const outcomes = await databaseCall(async () => {
      for (;;) {
        if (this.#history === null) await this.#lookAgain();
        this.#refuseOtherEpoch(requests);
        const outcomes = await append(this.#pool, this.#keys, requests, this.#vantage);
        if (outcomes) return outcomes;
        await this.#lookAgain();
      }
    });
    for (const [i, outcome] of outcomes.entries())
      if (outcome.accepted)
        this.#seen.noteAppend(requests[i] as AppendRequest, outcome.firstRevision, outcome.positions);
    // Also for a repeat: it may answer an attempt that was recorded and whose answer was lost.
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
      this.#seen.note(page.at(-1));
      if (page.length > 0) yield page.map(this.#upcast);
      if (isLast) return;
    }
  }

  async readAll(options: ReadAllOptions): Promise<RecordedEvent[]> {
    return (await this.#readAll(options)).events;
  }

  /** `upTo`: the position up to which there is nothing more of what was asked for. */
  async #readAll(
    { after = this.beginning, limit, types, categories }: ReadAllOptions,
    signal?: AbortSignal,
  ): Promise<{ readonly events: RecordedEvent[]; readonly upTo: Position }> {
    this.#check(after);
    const { events, upTo } = categories
      ? await readPageOfCategories(this.#pool, after, limit, { types, categories, signal })
      : { events: await readAllPage(this.#pool, after, limit, types), upTo: after };
    const last = events.at(-1);
    this.#seen.note(last);
    return {
      events: events.map(this.#upcast),
      upTo: last && this.compare(last.position, upTo) > 0 ? last.position : upTo,
    };
  }

  async *subscribe({
    after,
    batchSize,
    categories,
    signal,
  }: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    const waker = new Waker(this.#listener, CHANNEL, this.#pollIntervalMs, signal);
    try {
      for (let from = after; !signal.aborted;) {
        waker.arm();
        const page = { after: from, limit: batchSize, ...(categories && { categories }) };
        const { events, upTo } = await this.#readAll(page, signal);
        if (events.length > 0) yield events;
        else await waker.wait();
        from = upTo;
      }
    } finally {
      waker.close();
    }
  }

  head(): Promise<Position> {
    return readHead(this.#pool);
  }

  async reaches(position: Position): Promise<boolean> {
    return this.compare(position, await this.head()) <= 0;
  }

  compare(a: Position, b: Position): number {
    const difference = this.#check(a) - this.#check(b);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }

  backlog(after: Position, categories?: readonly string[]): Promise<Backlog> {
    this.#check(after);
    return categories ? this.#backlogs.of(after, categories) : readBacklog(this.#pool, after);
  }

  check(): Promise<LogProblem[]> {
    return checkLog(this.#pool);
  }

  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    return loadSnapshot(this.#pool, streamId, version);
  }

  async saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    if (this.#history === null) await this.#lookAgain();
    return saveSnapshot(this.#pool, streamId, version, snapshot, this.#vantage);
  }

  get epoch(): number {
    return this.#epoch;
  }

  async confirm(): Promise<void> {
    const [row] = await readRows(this.#pool, 'log.holds', `select log.holds($1, $2, $3)`, [...this.#vantage]);
    if (row?.[0] !== 't') await this.#lookAgain();
  }

  async refuseLost(position: Position, reached: Position): Promise<void> {
    this.#check(position);
    return this.#histories.refuseLost(position, reached);
  }

  get #vantage(): Vantage {
    const { newest } = this.#seen;
    return [this.#history, newest?.position ?? null, newest?.id ?? null];
  }

  #refuseOtherEpoch(requests: readonly AppendRequest[]): void {
    if (requests.some(({ epoch }) => epoch !== undefined && epoch !== this.#epoch)) throw newHistory();
  }

  /** Finds out which history the log is in. Throws `log.new-history`, except for the first time. */
  async #lookAgain(): Promise<void> {
    await (this.#looking ??= this.#look().finally(() => (this.#looking = undefined)));
  }

  async #look(): Promise<void> {
    const [, position, id] = this.#vantage;
    const rows = await readRows(
      this.#pool,
      'log.begin-history',
      `select history, kept from log.begin_history($1, $2)`,
      [position, id],
    );
    const [history, kept] = rows[0] as [string, string];
    const isFirst = this.#history === null && kept === 't';
    if (kept !== 't') await this.#lose();
    this.#history = Number(history);
    if (isFirst) return;
    // Streams created at the lost end of the log may have left their keys to others.
    this.#keys.clear();
    this.#histories.forget();
    this.#backlogs.forget();
    this.#epoch++;
    throw newHistory();
  }

  async #lose(): Promise<void> {
    const gone = await this.#seen.gone((event) => isThere(this.#pool, event));
    if (!gone) return;
    const keptPosition = await keptBefore(this.#pool, gone.seen.position);
    const events = Number(BigInt(gone.seen.position) - BigInt(keptPosition));
    const loss: NewLoss = {
      keptPosition,
      seenPosition: gone.seen.position,
      keptAt: gone.keptAt,
      seenAt: gone.seenAt,
      // Across more than one history, positions do not give the count.
      events: events < MAX_EVENTS_OF_A_HISTORY ? events : undefined,
      commands: gone.commands,
      streams: gone.streams,
    };
    await whileOthersWait(this.#pool, (client) => recordLoss(client, loss));
    this.#seen.forget(gone.seen);
    this.#onLoss(loss);
  }

  /** Waits for the appends in progress. The pool and the listener belong to the caller. */
  async close(): Promise<void> {
    await this.#group.settled();
    await this.#announcer.settled();
  }

  #check(position: Position): bigint {
    if (!POSITION.test(position)) {
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
 * A page that is fetched while the one before is used. A reader that stops early never awaits it, and an unhandled
 * failure would end the process.
 */
function readAhead<T>(page: Promise<T>): Promise<T> {
  page.catch(() => undefined);
  return page;
}
