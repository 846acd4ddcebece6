import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { backoffDelay, isAborted, messageOf, WaylogError } from '#lib/platform';
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
import { newHistory, otherLog } from '../history/errors.js';
import { Histories, recordHistory, whileOthersWait } from '../history/histories.js';
import { recordLoss, type NewLoss } from '../history/losses.js';
import { Seen, type Folded } from '../history/seen.js';
import { loadSnapshot, saveSnapshot } from '../snapshots.js';
import { upcaster } from '../upcasting.js';
import { asRecorded, type Vocabulary } from '../vocabulary.js';
import { appendAll } from './append.js';
import { BacklogCount } from './backlog.js';
import { explained, isTransient } from './calls.js';
import { decodeEvent } from './codec.js';
import { checkLog } from './check-log.js';
import { Connection } from './connection.js';
import { Feed } from './feed.js';
import { Limit } from './limit.js';
import type { Node } from './node.js';
import { OurEvents } from './our-events.js';
import { BEGINNING, comparePositions, parsePosition, positionOf } from './position.js';
import { isThere, readStreamPage } from './read.js';
import { skipBeyond } from './skip.js';

export interface EventStoreDbOptions {
  /** `esdb://` or `esdb+discover://`, with user and password unless `tls=false`. */
  readonly connectionString: string;
  /** Of the read database: snapshots live in its `log.snapshots`. */
  readonly pool: Pool;
  /** The categories of Waylog's streams (`flight` for `flight-...`): others' are passed over by the server. By default all are ours. */
  readonly categories?: readonly string[];
  /** What is known of the events; by default they are read as they were recorded. */
  readonly vocabulary?: Vocabulary;
  /** Told when a subscription breaks, which is then made again. */
  readonly onWarning?: (message: string) => void;
  /** How far the tables hold the log. */
  readonly folded?: () => Promise<Folded | undefined>;
  /** Told when the log turns out to have lost its end, which is written down then. */
  readonly onLoss?: (loss: NewLoss) => void;
  /** How long a call may take in all; by default as `defaultDeadline` of the connection string says, or 10 seconds. */
  readonly deadlineMs?: number;
}

/** What of the log is in streams of some categories, and how much of it comes after a position. */
interface Part {
  readonly ours: OurEvents;
  readonly backlog: BacklogCount;
}

const PAGE = 1_000;
/** Whoever asks for one event must not read past those of the server itself one by one. */
const MIN_PAGE = 64;
const MAX_APPENDS_AT_ONCE = 64;
const MAX_RESUBSCRIBE_DELAY_MS = 5_000;

/**
 * The log in EventStoreDB (or KurrentDB), over its official client. Positions are `commit:prepare` pairs of the server.
 *
 * Streams hold JSON events with our metadata; the server's own (`$...`) and those of other applications are passed over. Each
 * request of an append is one call, atomic by itself; a second one reads where several events were put. Repeats are recognised by
 * the server at an expected revision, and by the last 1,024 events elsewhere.
 */
export class EventStoreDbEventStore implements EventStore {
  readonly appendsInOrder = true;
  readonly beginning = BEGINNING;
  readonly #connection: Connection;
  readonly #pool: Pool;
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;
  readonly #onWarning: (message: string) => void;
  readonly #onLoss: (loss: NewLoss) => void;
  readonly #folded: () => Promise<Folded | undefined>;
  readonly #seen = new Seen((a, b) => this.compare(a, b));
  readonly #histories: Histories;
  #epoch = 0;
  readonly #appends = new Limit(MAX_APPENDS_AT_ONCE);
  readonly #closed = new AbortController();
  readonly #ours: OurEvents;
  /** By the categories that were asked for. */
  readonly #parts = new Map<string, Part>();

  /** @throws WaylogError `log.connection-string` */
  constructor(options: EventStoreDbOptions) {
    this.#connection = new Connection(options.connectionString, options.deadlineMs, (node) =>
      this.#compareWithSeen(node),
    );
    this.#ours = new OurEvents(this.#connection, options.categories);
    this.#pool = options.pool;
    this.#upcast = upcaster(options.vocabulary ?? asRecorded);
    this.#histories = new Histories(
      options.pool,
      (position) => position.includes(':'),
      (a, b) => this.compare(a, b),
      () => false,
    );
    this.#folded = options.folded ?? (() => Promise.resolve(undefined));
    this.#onLoss = options.onLoss ?? (() => undefined);
    this.#onWarning = options.onWarning ?? (() => undefined);
    const { withoutEffect } = this.#connection;
    if (withoutEffect.length > 0)
      this.#onWarning(
        `These options of the connection string of EventStoreDB change nothing: ${withoutEffect.join(', ')}`,
      );
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    for (const request of requests) {
      checkAppend(request);
      if (!this.#ours.includes(request.streamId)) throw notOurs(request.streamId);
    }
    // Also for those that have to wait until others are done.
    const { due } = this.#connection;
    // All of them, even if one has failed: nothing goes on behind the caller's back.
    const outcomes = await this.#appends.run(() => this.#append(requests, due));
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }

  async #append(requests: readonly AppendRequest[], due: number) {
    const mayGoOn = ({ epoch }: AppendRequest) => {
      if (epoch !== undefined && epoch !== this.#epoch) throw newHistory();
    };
    const newest = this.#seen.newest?.position;
    const outcomes = await appendAll(this.#connection, requests, due, { mayGoOn, newest });
    for (const [i, outcome] of outcomes.entries())
      if (outcome.status === 'fulfilled' && outcome.value.accepted)
        this.#seen.noteAppend(
          requests[i] as AppendRequest,
          outcome.value.firstRevision,
          outcome.value.positions,
        );
    return outcomes;
  }

  get answersWithinMs(): number {
    return this.#connection.deadlineMs;
  }

  get epoch(): number {
    return this.#epoch;
  }

  async confirm(): Promise<void> {
    const epoch = this.#epoch;
    const { newest } = this.#seen;
    const isWhole =
      !newest || (await this.#connection.call((node) => isThere(node, newest, this.#connection)));
    // Nobody else has found out meanwhile: the comparison ends the epoch.
    if (!isWhole && epoch === this.#epoch) await this.#connection.call((node) => this.#compareWithSeen(node));
    if (epoch !== this.#epoch) throw newHistory();
  }

  async refuseLost(position: Position, reached: Position): Promise<void> {
    parsePosition(position);
    return this.#histories.refuseLost(position, reached);
  }

  /** Before a node is used: what was seen must be there. Where it is not, that is written down, and the epoch is over. */
  async #compareWithSeen(node: Node): Promise<void> {
    const known = this.#seen.newest;
    const folded = await this.#foldedHere();
    this.#histories.forget();
    if (!known && !folded) return;
    const isKnownLast = known && (!folded || this.compare(known.position, folded.position) >= 0);
    const newest = isKnownLast ? known : (folded as Folded);
    if (newest.position === BEGINNING || (await isThere(node, newest, this.#connection))) return;
    if (folded && !(await isThere(node, folded.first, this.#connection))) {
      // At a start, whoever keeps the tables says so.
      if (!known) return;
      throw otherLog();
    }
    await this.#lose(node, newest.position);
    this.#epoch++;
  }

  /** How far the tables hold a log of EventStoreDB. */
  async #foldedHere(): Promise<Folded | undefined> {
    const folded = await this.#folded();
    return folded?.position.includes(':') && folded.first.position.includes(':') ? folded : undefined;
  }

  async #lose(node: Node, seenPosition: Position): Promise<void> {
    const gone = await this.#seen.gone((event) => isThere(node, event, this.#connection));
    const loss = await whileOthersWait(this.#pool, async (client) => {
      const { kept, resumesAfter, isNew } = await skipBeyond(node, seenPosition, {
        connection: this.#connection,
        client,
        keptAtMost: gone?.keptPosition,
      });
      if (isNew && kept !== resumesAfter) await recordHistory(client, kept, resumesAfter);
      const loss: NewLoss = {
        keptPosition: kept,
        seenPosition,
        keptAt: gone?.keptAt,
        seenAt: gone?.seenAt,
        events: undefined,
        commands: gone ? gone.commands : 0,
        streams: gone?.streams ?? [],
      };
      // Those who have only heard of it from the tables say nothing that the first has not said.
      if (isNew || gone) await recordLoss(client, loss);
      await client.query(`delete from log.snapshots`);
      return loss;
    });
    if (gone) this.#seen.forget(gone.seen);
    this.#histories.forget();
    this.#ours.forget();
    for (const { ours, backlog } of this.#parts.values()) {
      ours.forget();
      backlog.forget();
    }
    this.#onLoss(loss);
  }

  /** What is looked through for some categories is looked through once, whoever asks. */
  #partOf(categories: readonly string[] | undefined): Part {
    const key = categories?.join() ?? '';
    const known = this.#parts.get(key);
    if (known) return known;
    const ours = categories ? new OurEvents(this.#connection, categories) : this.#ours;
    const part = { ours, backlog: new BacklogCount(ours) };
    this.#parts.set(key, part);
    return part;
  }

  async *readStream(streamId: string, options: ReadStreamOptions = {}): AsyncIterable<RecordedEvent[]> {
    const { fromRevision = 0, toRevision = Infinity, pageSize = PAGE } = options;
    for (let from = fromRevision; from <= toRevision;) {
      const limit = Math.min(pageSize, toRevision - from + 1);
      const found = await readStreamPage(this.#connection, streamId, { from: BigInt(from), limit });
      const page = found.flatMap((resolved) => decodeEvent(resolved)?.event ?? []);
      this.#seen.note(page.at(-1));
      if (page.length > 0) yield page.map(this.#upcast);
      const last = found.at(-1)?.event;
      if (!last || found.length < limit) return;
      // Never a count: a stream may begin later than at 0.
      from = Number(last.revision) + 1;
    }
  }

  async readAll({ after = BEGINNING, limit, types, categories }: ReadAllOptions): Promise<RecordedEvent[]> {
    const wanted = types && new Set(types);
    const events: RecordedEvent[] = [];
    const size = Math.max(MIN_PAGE, Math.min(limit, PAGE));
    const { ours } = this.#partOf(categories);
    const end = await ours.end();
    for (let from = after; events.length < limit && this.compare(from, end.ours) < 0;) {
      const found = await ours.page(from, size, end.ours);
      for (const resolved of found) {
        const event = decodeEvent(resolved)?.event;
        if (event && events.length < limit && (!wanted || wanted.has(event.type))) events.push(event);
      }
      const last = found.at(-1)?.event;
      if (!last || found.length < size) break;
      from = positionOf(last.position);
    }
    this.#seen.note(events.at(-1));
    return events.map(this.#upcast);
  }

  async *subscribe({
    after,
    batchSize,
    categories,
    signal,
  }: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    let from = parsePosition(after);
    const { ours } = this.#partOf(categories);
    const stop = AbortSignal.any([signal, this.#closed.signal]);
    let failures = 0;
    // One word when it breaks, and one when it goes on, however often it is tried in between.
    let isBroken = false;
    const epoch = this.#epoch;
    const goesOn = () => {
      if (isBroken) this.#onWarning(`The subscription to EventStoreDB goes on from ${positionOf(from)}.`);
      isBroken = false;
    };
    while (!stop.aborted) {
      let node: Node | undefined;
      let feed: Feed | undefined;
      let reason = 'the server closed it, or another one leads';
      try {
        node = await this.#connection.leader();
        // There is no going on from a place that may be gone.
        if (epoch !== this.#epoch) throw newHistory();
        feed = new Feed(this.#connection, node, ours, {
          after: from,
          batchSize,
          signal: AbortSignal.any([stop, node.gone]),
          onConfirmation: goesOn,
          onCheckpoint: (position) => {
            if (comparePositions(position, from) > 0) from = position;
          },
        });
        for (let found = await feed.next(batchSize); found; found = await feed.next(batchSize)) {
          const batch = found.flatMap((resolved) => decodeEvent(resolved)?.event ?? []);
          this.#seen.note(batch.at(-1));
          if (batch.length > 0) yield batch.map(this.#upcast);
          from = found.at(-1)?.event?.position ?? from;
          failures = 0;
        }
      } catch (error) {
        if (!isTransient(error)) throw explained(error, this.#connection.deadlineMs);
        if (node) this.#connection.forget(node, error);
        reason = messageOf(error);
      } finally {
        feed?.close();
      }
      if (isAborted(stop)) return;
      failures++;
      if (!isBroken)
        this.#onWarning(
          `The subscription to EventStoreDB broke (${reason}); it is made again from ${positionOf(from)}.`,
        );
      isBroken = true;
      await sleep(backoffDelay(failures, 100, MAX_RESUBSCRIBE_DELAY_MS), undefined, { signal: stop }).catch(
        () => undefined,
      );
    }
  }

  async beginningOf(streamId: string): Promise<number> {
    try {
      const [first] = await readStreamPage(this.#connection, streamId, { from: 0n, limit: 1 });
      return first?.event ? Number(first.event.revision) : Infinity;
    } catch (error) {
      if (error instanceof WaylogError && error.code === 'log.stream-tombstoned') return Infinity;
      throw error;
    }
  }

  async head(): Promise<Position> {
    return (await this.#ours.end()).ours;
  }

  async reaches(position: Position, seenAt: number): Promise<boolean> {
    if (this.compare(position, await this.head()) <= 0) return true;
    return this.#connection.call((node) => isThere(node, { position, at: seenAt }, this.#connection));
  }

  compare(a: Position, b: Position): number {
    return comparePositions(parsePosition(a), parsePosition(b));
  }

  /** Never more than 10,000, which then means "at least as many". */
  async backlog(after: Position, categories?: readonly string[]): Promise<Backlog> {
    return this.#partOf(categories).backlog.count(after);
  }

  /** What others have done to our streams. Whether its files are whole, the server checks itself. */
  check({ withinMs = Infinity }: { readonly withinMs?: number } = {}): Promise<LogProblem[]> {
    return checkLog(this.#ours, withinMs);
  }

  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    return loadSnapshot(this.#pool, streamId, version);
  }

  saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    return saveSnapshot(this.#pool, streamId, version, snapshot);
  }

  /** Ends the subscriptions, waits for the appends under way and lets go of the connection. The pool is its maker's. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#connection.stop();
    await this.#appends.settled();
    await this.#connection.close();
  }
}

const notOurs = (streamId: string) =>
  new WaylogError(
    'append.invalid',
    'invalid',
    `Stream ${streamId} is of no category of this log, and what is in it would never be found again. Nothing was recorded.`,
    { streamId },
  );
