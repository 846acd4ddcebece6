import type { Timestamp, Traceparent } from '#lib/platform';

export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };
export type JsonObject = { readonly [key: string]: Json | undefined };

/**
 * A place in the global order of the log. Opaque: only the adapter that made it can compare it, and nothing
 * can be added to it (EventStoreDB's are `commit:prepare` pairs).
 */
export type Position = string;

/**
 * Where a command came from, according to its connection and its caller. Only a command from outside has an
 * origin.
 */
export interface Origin extends JsonObject {
  /** The address of the caller, or of the last proxy before the server. */
  readonly address?: string;
  /** The name of the caller's program, as the caller states it. Not verified. */
  readonly agent?: string;
  /** The session at the provider in which the caller logged in. */
  readonly session?: string;
}

/** Who caused an event, and in response to what. */
export interface EventMetadata extends JsonObject {
  /**
   * The command that the event comes from. A command without an id of its own has the id of its first event.
   */
  readonly commandId: string;
  /** The type of that command, such as `UpdateWaypoint`. */
  readonly command: string;
  readonly correlationId: string;
  readonly causationId: string;
  readonly actor: string;
  /** On whose behalf the actor says that it acts. Not verified. */
  readonly onBehalfOf?: string;
  readonly origin?: Origin;
  /** The hash of the command's content, if the command has an id of its own. */
  readonly fingerprint?: string;
  /** The span of the command, if its trace is kept: what follows from the event links to it. */
  readonly traceparent?: Traceparent;
}

export interface NewEvent {
  /** UUID (version 7 by default). The same id in a repeated append means the same event. */
  readonly id: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
}

export interface RecordedEvent extends NewEvent {
  readonly streamId: string;
  /** Place within the stream: 0, 1, 2, ... without gaps. */
  readonly revision: number;
  readonly position: Position;
  /** When the store recorded it, by the store's clock, in milliseconds. */
  readonly recordedAt: Timestamp;
}

/**
 * The state that the stream must have for an append to be accepted. A number is the revision of its last
 * event.
 */
export type ExpectedRevision = number | 'no-stream' | 'stream-exists' | 'any';

export interface AppendRequest {
  readonly streamId: string;
  readonly expectedRevision: ExpectedRevision;
  /** At least one. Recorded in this order, all or none. */
  readonly events: readonly NewEvent[];
  /**
   * The epoch of the state that the caller decided on. If it has ended, nothing is recorded and
   * `log.new-history` is thrown.
   */
  readonly epoch?: number;
}

export type AppendOutcome =
  | {
      readonly accepted: true;
      /** The revision of the request's first event; the others follow without a gap. */
      readonly firstRevision: number;
      /** The position of each event of the request. */
      readonly positions: readonly Position[];
      /**
       * True if this append was recorded before and nothing was written now. Can be false although another
       * process recorded it a moment ago, if the adapter was not told.
       */
      readonly repeated: boolean;
    }
  | {
      readonly accepted: false;
      /** The revision of the stream's last event, -1 if it has none. */
      readonly currentRevision: number;
    };

export interface ReadStreamOptions {
  /** The first revision to read (inclusive); default 0. */
  readonly fromRevision?: number;
  /** The last revision to read (inclusive); default the end. */
  readonly toRevision?: number;
  readonly pageSize?: number;
}

export interface ReadAllOptions {
  /** Only events after this position; default the beginning. */
  readonly after?: Position;
  readonly limit: number;
  /** Only events of these types. */
  readonly types?: readonly string[];
  /** Only events of streams of these categories. The store itself passes over all others. */
  readonly categories?: readonly string[];
}

export interface SubscribeOptions {
  /** Only events after this position. */
  readonly after: Position;
  /** The most events that one batch may hold. */
  readonly batchSize: number;
  /** Only events of streams of these categories. The store itself passes over all others. */
  readonly categories?: readonly string[];
  /** Ends the subscription. */
  readonly signal: AbortSignal;
}

/**
 * A fold of a stream up to a revision, kept to shorten the next load. It is a cache: losing it costs only
 * time.
 */
export interface Snapshot {
  readonly revision: number;
  /** In the format of its writer. */
  readonly state: string;
}

/** What comes after a position of the log. */
export interface Backlog {
  readonly events: number;
  /** When the first of them was recorded. */
  readonly since: Timestamp | undefined;
}

/** A fault in the log. A `warning` is harmless, such as a stream without events. */
export interface LogProblem {
  readonly severity: 'error' | 'warning';
  /** Such as `stream-gap`, `position-gap`, `orphan-event`, `repeated-id`, `empty-stream`; in EventStoreDB `foreign-event`. */
  readonly code: string;
  readonly streamId?: string;
  readonly detail: string;
}

/**
 * The log. Every adapter passes the contract suite in `testing/event-store.contract.ts`.
 *
 * Guarantees:
 * - A request of an append is recorded whole or not at all. The requests of one call are independent: an
 *   adapter need not put them into one transaction.
 * - The revisions of a stream are 0, 1, 2, ... without gaps.
 * - `expectedRevision` holds at the moment of recording, whatever other processes do.
 * - An append that is repeated with the same event ids and the same expected revision changes nothing and
 *   returns the first answer, for as long as the stream exists. With `any` and `stream-exists` an adapter
 *   need search only the last 1,024 events of the stream.
 * - A reader that has seen an event never later finds one with a smaller position.
 */
export interface EventStore {
  /** The position before the first event. */
  readonly beginning: Position;
  /**
   * Returns one outcome for each request, in their order. Throws `database.unavailable` if the outcome is
   * unknown, and `log.new-history` if the epoch has ended. With nothing recorded it throws `append.too-large`
   * if a request exceeds what the store accepts at once, and `log.bad-request` if the store cannot accept it
   * at all.
   */
  append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]>;
  /**
   * Like `append`, but all requests are recorded or none: if one is not accepted, none is. The requests are of different
   * streams. Only for stores that can write several streams in one transaction.
   */
  appendTogether?(requests: readonly AppendRequest[]): Promise<AppendOutcome[]>;
  /**
   * True if the requests of one append are recorded in their order, provided that each has up to 400 kB and
   * expects a revision or no stream. The positions show whether they were: the server can change in between.
   */
  readonly appendsInOrder?: boolean;
  /**
   * The longest that a call can take in all, in milliseconds, before it fails with `database.unavailable`;
   * undefined if that varies. A caller that makes several calls for one answer, or waits for other calls,
   * must answer within the same time.
   */
  readonly answersWithinMs?: number | undefined;
  /** The events of a stream in pages; empty for a stream that does not exist. */
  readStream(streamId: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent[]>;
  readAll(options: ReadAllOptions): Promise<RecordedEvent[]>;
  /** First all events after a position, then each new one as it arrives, in batches and in global order. */
  subscribe(options: SubscribeOptions): AsyncIterable<RecordedEvent[]>;
  /**
   * The first revision of a stream that can still be read, infinite if none can. Only for stores in which
   * others can remove events, as by a deletion or a limit in EventStoreDB: events missing before that
   * revision were removed, and the log is not damaged.
   */
  beginningOf?(streamId: string): Promise<number>;
  /** The position of the last event, or `beginning`. */
  head(): Promise<Position>;
  /**
   * Whether the log has reached a position at which an event was seen, by a time in milliseconds since 1970.
   * The event itself can be missing by now, if the store lets others delete events permanently
   * (EventStoreDB).
   */
  reaches(position: Position, seenAt: number): Promise<boolean>;
  /**
   * Negative if `a` is before `b`. Throws `position.invalid` for a text that is not a position of this store.
   */
  compare(a: Position, b: Position): number;
  /**
   * How many events come after a position, in streams of some categories or in all, and when the first of
   * them was recorded. If positions do not give the count (EventStoreDB), it is exact up to 10,000, and 10,000
   * means at least as many.
   */
  backlog(after: Position, categories?: readonly string[]): Promise<Backlog>;
  /**
   * Searches the whole log for violations of the guarantees above: gaps in streams and positions, events
   * without a stream, repeated ids, foreign events. Only adapters whose store can be damaged from outside
   * have it. If searching means reading (EventStoreDB), it ends after `withinMs` and says in a warning how
   * far it came.
   */
  check?(options?: { readonly withinMs?: number }): Promise<LogProblem[]>;
  /**
   * Increases when the log turns out to be in another place, as after a fail-over, or to have gone back, as
   * to an older copy. State kept in memory from before can then rest on events that no longer exist.
   */
  readonly epoch: number;
  /**
   * Checks that the log holds everything that was read or appended through this store. Throws
   * `log.new-history` when the epoch ends.
   */
  confirm(): Promise<void>;
  /**
   * Throws `position.lost` for the position of an event that was lost when the log went back. No other event
   * ever gets that position. `reached` is how far the caller has come.
   */
  refuseLost(position: Position, reached: Position): Promise<void>;
  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined>;
  saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void>;
  /** Finishes what is in progress and closes what the store holds open. */
  close(): Promise<void>;
}

/** The log for code that only reads it, such as a projector: the whole log, or a part of it. */
export type ReadableLog = Pick<
  EventStore,
  | 'beginning'
  | 'readStream'
  | 'readAll'
  | 'subscribe'
  | 'beginningOf'
  | 'head'
  | 'reaches'
  | 'compare'
  | 'backlog'
  | 'check'
  | 'refuseLost'
>;
