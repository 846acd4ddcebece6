import type { Timestamp } from '#lib/platform';

export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };
export type JsonObject = { readonly [key: string]: Json | undefined };

/**
 * A place in the global order of the log. Opaque: only the adapter that made it can compare it, and nothing may be
 * added to it (EventStoreDB's are `commit:prepare` pairs).
 */
export type Position = string;

/** Where a command came from, as its connection and its caller say. Only what came from outside has one. */
export interface Origin extends JsonObject {
  /** The address of the caller, or of the last proxy before the server. */
  readonly address?: string;
  /** What the caller's program calls itself; its word alone. */
  readonly agent?: string;
  /** The session at the provider that the caller has logged in with. */
  readonly session?: string;
}

/** Who caused an event, and in answer to what. */
export interface EventMetadata extends JsonObject {
  /** The command that the event comes from; a command without an id of its own is known by its first event's id. */
  readonly commandId: string;
  /** The type of that command, such as `UpdateWaypoint`. */
  readonly command: string;
  readonly correlationId: string;
  readonly causationId: string;
  readonly actor: string;
  /** Whom the actor says that it acts for; its word alone. */
  readonly onBehalfOf?: string;
  readonly origin?: Origin;
  /** What the content of the command hashes to, when it has an id of its own. */
  readonly fingerprint?: string;
}

export interface NewEvent {
  /** UUID (version 7 by default); the same id in a repeated append means the same event. */
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

/** What the stream must look like for an append to be accepted; a number is the revision of its last event. */
export type ExpectedRevision = number | 'no-stream' | 'stream-exists' | 'any';

export interface AppendRequest {
  readonly streamId: string;
  readonly expectedRevision: ExpectedRevision;
  /** At least one; recorded in this order, all or none. */
  readonly events: readonly NewEvent[];
  /** The epoch of what the caller has decided on; in another one nothing is recorded, and `log.new-history` thrown. */
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
       * True when this append had been recorded before, and nothing was written now; false also when another process has recorded
       * it a moment ago and the adapter was not told.
       */
      readonly repeated: boolean;
    }
  | {
      readonly accepted: false;
      /** The revision of the stream's last event, -1 where there is none. */
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
}

export interface SubscribeOptions {
  /** Only events after this position. */
  readonly after: Position;
  /** The most events that one batch may hold. */
  readonly batchSize: number;
  /** Ends the subscription. */
  readonly signal: AbortSignal;
}

/** A fold of a stream up to a revision, kept to make the next load short. A cache: losing it costs time only. */
export interface Snapshot {
  readonly revision: number;
  /** As whoever took it wrote it. */
  readonly state: string;
}

/** Something that is wrong in the log. A `warning` harms nothing, such as a stream without events. */
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
 * Promises:
 * - one request of an append is recorded whole or not at all; the requests of one call stand alone (no adapter need
 *   make them one transaction);
 * - revisions of a stream are 0, 1, 2, ... without gaps;
 * - `expectedRevision` holds at the moment of recording, whatever other processes do;
 * - an append that is repeated with the same event ids and the same expected revision changes nothing and answers as the
 *   first time, for as long as the stream exists. Under `any` and `stream-exists` an adapter need look back over the
 *   stream's last 1,024 events only;
 * - a reader that has seen an event will never later find one with a smaller position.
 */
export interface EventStore {
  /** The position before the first event. */
  readonly beginning: Position;
  /**
   * Answers one outcome a request, in their order. Throws `database.unavailable` when it cannot know the outcome,
   * `log.new-history` when the epoch has ended or turns out to have, and with nothing recorded `append.too-large`, when a
   * request is more than the store takes at once, and `log.bad-request`, when it is nothing that the store can take.
   */
  append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]>;
  /**
   * Requests of one append, each of up to 400 kB and expecting a revision or no stream, are recorded in their order. The
   * positions say whether they were: a server that changes meanwhile may be in between.
   */
  readonly appendsInOrder?: boolean;
  /**
   * How long a call may take in all, in milliseconds, before it fails with `database.unavailable`; undefined where that depends. Whoever
   * makes several calls for one answer, or waits for those of others, gives it within the same time.
   */
  readonly answersWithinMs?: number | undefined;
  /** The events of a stream in pages; nothing for a stream that does not exist. */
  readStream(streamId: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent[]>;
  readAll(options: ReadAllOptions): Promise<RecordedEvent[]>;
  /** First all events after a position, then each new one as it comes, in batches and in global order. */
  subscribe(options: SubscribeOptions): AsyncIterable<RecordedEvent[]>;
  /**
   * The first revision of a stream that can still be read, infinite where none can. Only where somebody else may take events away, as by
   * a deletion or a limit in EventStoreDB: what is missing before it was taken, and is no damage of the log.
   */
  beginningOf?(streamId: string): Promise<number>;
  /** The position of the last event, or `beginning`. */
  head(): Promise<Position>;
  /**
   * Whether the log has come as far as a position at which somebody had seen an event, by a time in milliseconds since 1970.
   * The event itself may be gone since, where the store lets others take events away for good (EventStoreDB).
   */
  reaches(position: Position, seenAt: number): Promise<boolean>;
  /** Negative when `a` is before `b`. Throws `position.invalid` for a text that is no position of this store. */
  compare(a: Position, b: Position): number;
  /**
   * How many events come after a position, and when the first of them was recorded. Where the positions say nothing about
   * the count (EventStoreDB), it is exact up to 10,000, and 10,000 means at least as many.
   */
  backlog(after: Position): Promise<{ events: number; since: Timestamp | undefined }>;
  /**
   * Looks through the whole log for what its own promises rule out: gaps in streams and positions, events without a
   * stream, repeated ids, events of others. Only adapters whose store can be damaged from outside have it. Where looking means
   * reading (EventStoreDB) it ends after `withinMs` and says, as a warning, how far it has come.
   */
  check?(options?: { readonly withinMs?: number }): Promise<LogProblem[]>;
  /**
   * Counts up when the log turns out to be in another place, as after a fail-over, or to have gone back, as to an older copy: what
   * was kept of it in memory before may rest on events that are gone.
   */
  readonly epoch: number;
  /** Looks whether the log holds all that was read or appended through this store; throws `log.new-history` when the epoch ends. */
  confirm(): Promise<void>;
  /**
   * Throws `position.lost` for the position of an event that is gone since the log went back. No other event ever gets it.
   * `reached` is how far whoever asks has come.
   */
  refuseLost(position: Position, reached: Position): Promise<void>;
  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined>;
  saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void>;
  /** Finishes what is under way and lets go of what the store holds open. */
  close(): Promise<void>;
}
