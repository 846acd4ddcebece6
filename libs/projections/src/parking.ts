import { IsInt, IsString, Min } from 'class-validator';
import type { ClientBase, Pool, PoolClient } from 'pg';
import {
  conflict,
  inTransaction,
  isTooMuch,
  IsTimestamp,
  Nested,
  notFound,
  Optional,
  readRows,
  timestampFromPostgres,
  type Timestamp,
} from '#lib/platform';
import type { ReadableLog, Position, RecordedEvent } from '#lib/event-store';
import { decompressWithoutLimit } from '#lib/timescale';
import { BatchSize } from './batch-size.js';
import { writeCarefully, type Poison, type TableWriters } from './careful-fold.js';
import { announceCheckpoint } from './checkpoints.js';
import { requireSameLog } from './folded-log.js';
import { isOfStream, lostText } from './lost-events.js';
import type { Projection } from './projection.js';
import { TableWriter } from './table-writer.js';

/** An event that could not be projected, and why. */
export class FailedEvent {
  @IsString() readonly streamId!: string;
  @IsInt() readonly revision!: number;
  @IsString() readonly position!: Position;
  @IsString() readonly eventId!: string;
  @IsString() readonly type!: string;
  @IsString() readonly error!: string;
}

/** What the log has lost of a stream, and who accepted that. */
export class AcceptedLoss {
  /** Up to this revision the log no longer has its events. */
  @IsInt() @Min(0) readonly missingTo!: number;
  @IsString() readonly reason!: string;
  @IsString() readonly acceptedBy!: string;
  @IsTimestamp() readonly acceptedAt!: Timestamp;
}

/** A stream whose events a projector leaves out of the tables, starting with the one that could not be projected. */
export class ParkedStream extends FailedEvent {
  @IsTimestamp() readonly parkedAt!: Timestamp;
  @IsInt() readonly attempts!: number;
  @IsTimestamp() readonly lastAttemptAt!: Timestamp;
  /** The events of the stream that are not in the tables, including the one that could not be projected. */
  @IsInt() @Min(0) readonly waiting!: number;
  /** If set, the tables go on without these events for good, and nothing warns of the stream any more. */
  @Optional() @Nested(() => AcceptedLoss) readonly accepted?: AcceptedLoss;
}

/** An event that all folds leave out because an operator discarded it. */
export class DiscardedEvent extends FailedEvent {
  @IsString() readonly reason!: string;
  @IsString() readonly discardedBy!: string;
  @IsTimestamp() readonly discardedAt!: Timestamp;
}

/** Describes an event that cannot be folded, to follow "the" or "its" in a sentence. */
export const unfoldableText = ({ type, position, revision, eventId, error }: FailedEvent): string =>
  `${type} at position ${position} (revision ${revision}, event ${eventId}) cannot be folded: ${error}`;

export const failedEvent = ({ event, error, lostFrom }: Poison): FailedEvent => ({
  streamId: event.streamId,
  revision: lostFrom ?? event.revision,
  position: event.position,
  eventId: event.id,
  type: event.type,
  error,
});

/**
 * Parks a stream from an event on, in a transaction that holds the checkpoints. A stream that is parked from a later
 * event on, as when an earlier one has been damaged since, is parked from this one. What
 * somebody accepted stays so: it is about all events up to a later one.
 */
export const parkStream = (client: ClientBase, projector: string, { event, error, lostFrom }: Poison) =>
  client.query(
    `insert into projection.parked_streams (projector, stream_id, revision, position, event_id, type, error)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (projector, stream_id) do update
        set revision = excluded.revision, position = excluded.position, event_id = excluded.event_id,
            type = excluded.type, error = excluded.error
      where parked_streams.revision > excluded.revision`,
    [projector, event.streamId, lostFrom ?? event.revision, event.position, event.id, event.type, error],
  );

const failedEventOf = ([streamId, revision, position, eventId, type, error]: string[]): FailedEvent => ({
  streamId: streamId as string,
  revision: Number(revision),
  position: position as string,
  eventId: eventId as string,
  type: type as string,
  error: error as string,
});

/** The first parked first. */
export async function parkedStreams(pool: Pool | ClientBase, projector: string): Promise<ParkedStream[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select p.parked_at, p.attempts, p.last_attempt_at, r.revision - p.revision + 1,
            p.missing_to, p.accepted_reason, p.accepted_by, p.accepted_at,
            p.stream_id, p.revision, p.position, p.event_id, p.type, p.error
       from projection.parked_streams p
       join projection.stream_revisions r using (projector, stream_id)
      where p.projector = $1
      order by p.parked_at, p.stream_id`,
    [projector],
  );
  return (rows as string[][]).map(([parkedAt, attempts, lastAttemptAt, waiting, ...rest]) => ({
    ...failedEventOf(rest.slice(4)),
    parkedAt: timestampFromPostgres(parkedAt as string),
    attempts: Number(attempts),
    lastAttemptAt: timestampFromPostgres(lastAttemptAt as string),
    waiting: Number(waiting),
    ...acceptedOf(rest),
  }));
}

function acceptedOf([to, reason, by, at]: readonly (string | null)[]): Pick<ParkedStream, 'accepted'> {
  if (!at) return {};
  return {
    accepted: {
      missingTo: Number(to),
      reason: reason as string,
      acceptedBy: by as string,
      acceptedAt: timestampFromPostgres(at),
    },
  };
}

/** The last discarded first. */
export async function discardedEvents(pool: Pool, projector: string): Promise<DiscardedEvent[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select reason, discarded_by, discarded_at, stream_id, revision, position, event_id, type, error
       from projection.discarded_events where projector = $1 order by discarded_at desc`,
    [projector],
  );
  return (rows as string[][]).map(([reason, discardedBy, discardedAt, ...event]) => ({
    ...failedEventOf(event),
    reason: reason as string,
    discardedBy: discardedBy as string,
    discardedAt: timestampFromPostgres(discardedAt as string),
  }));
}

export interface UnparkOptions {
  readonly pool: Pool;
  readonly store: ReadableLog;
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly streamId: string;
  /** Discards the event that could not be projected: the tables, and every later fold, continue without it. */
  readonly discard?: { readonly reason: string; readonly by: string };
  /** The value of the first key column of the stream's rows: its id. */
  readonly keyOf: (streamId: string) => string;
  readonly onRewritten?: OnRewritten | undefined;
}

/**
 * Called for streams whose rows are written out of the order of the log, in the transaction that writes them: by a
 * repair, or when parked events are folded. For code that keeps something derived from the tables.
 */
export type OnRewritten = (client: ClientBase, keys: readonly string[]) => Promise<void>;

/** The next event that cannot be projected. */
export class StillParked {
  @IsInt() readonly revision!: number;
  @IsString() readonly type!: string;
  @IsString() readonly error!: string;
}

export class UnparkResult {
  @IsString() readonly streamId!: string;
  /** How many events were folded into the tables. */
  @IsInt() @Min(0) readonly folded!: number;
  /** If set, the stream is still parked. */
  @Optional() @Nested(() => StillParked) readonly stillParked?: StillParked;
}

/** The most events that are folded in one transaction. */
const BATCH = 2_000;

/**
 * Folds the events of a parked stream into the tables, starting with the one that could not be projected. Once all are
 * folded, the projector resumes the stream. Each batch is one transaction: after a kill the stream is parked at the
 * last finished batch. Throws `projection.not-parked`.
 */
export async function unpark(options: UnparkOptions): Promise<UnparkResult> {
  const { pool, streamId, projections } = options;
  const writers: TableWriters = new Map(projections.map((p) => [p, new TableWriter(p.table)]));
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await requireSameLog(client, options.store, options.projector);
    let folded = 0;
    const size = new BatchSize(BATCH);
    for (let first = true; ; first = false) {
      const step = await asMuchAsGoes(size, () => oneBatch(client, options, writers, first, size.now));
      folded += step.folded;
      if (step.stillParked) return { streamId, folded, stillParked: step.stillParked };
      if (step.isDone) return { streamId, folded };
    }
  } catch (error) {
    broken = error instanceof Error ? error : new Error(String(error));
    throw error;
  } finally {
    client.release(broken);
  }
}

/** Tries again with fewer events if it was too much. If one event is too much, the stream stays parked as it was. */
async function asMuchAsGoes<T>(size: BatchSize, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isTooMuch(error) || size.now === 1) throw error;
      size.wasTooMuch(size.now);
    }
  }
}

interface Step {
  readonly folded: number;
  readonly stillParked?: StillParked;
  readonly isDone: boolean;
}

function oneBatch(
  client: PoolClient,
  { store, projector, projections, streamId, discard, keyOf, onRewritten }: UnparkOptions,
  writers: TableWriters,
  isFirst: boolean,
  size: number,
): Promise<Step> {
  const key = [projector, streamId];
  return inTransaction(client, async () => {
    await decompressWithoutLimit(client, 'transaction');
    const { rows } = await client.query<{ revision: number }>(
      `select revision from projection.parked_streams where projector = $1 and stream_id = $2 for update`,
      key,
    );
    const [parked] = rows;
    if (!parked) throw notParked(streamId);
    let from = parked.revision;
    if (discard && isFirst) {
      await client.query(
        `insert into projection.discarded_events
           (projector, stream_id, revision, position, event_id, type, error, reason, discarded_by)
         select projector, stream_id, revision, position, event_id, type, error, $3, $4
           from projection.parked_streams where projector = $1 and stream_id = $2`,
        [...key, discard.reason, discard.by],
      );
      from++;
    }
    const seen = async () =>
      (
        await client.query<{ revision: number }>(
          `select revision from projection.stream_revisions where projector = $1 and stream_id = $2`,
          key,
        )
      ).rows[0]?.revision ?? from - 1;
    let to = await seen();
    const isLast = to - from < size;
    let position: Position = store.beginning;
    if (isLast) {
      // The projector writes nothing while its checkpoints are held: what it has seen by now is all that must be
      // folded.
      const { rows: held } = await client.query<{ position: string }>(
        `select position from projection.checkpoints
          where projector = $1 and projection = any ($2) order by projection for update`,
        [projector, projections.map(({ name }) => name)],
      );
      position = held[0]?.position ?? position;
      to = await seen();
    } else {
      to = from + size - 1;
    }
    const { events, lack } = await eventsOf(store, streamId, from, to);
    if (lack !== undefined) {
      if (discard && isFirst) throw notDiscardable(streamId, lack);
      return await stillLacking(client, key, lack);
    }
    const [poison] = await writeCarefully(client, writers, events);
    await onRewritten?.(client, [keyOf(streamId)]);
    if (poison) {
      const { event, error } = poison;
      await client.query(
        `update projection.parked_streams
            set revision = $3, position = $4, event_id = $5, type = $6, error = $7, attempts = attempts + 1,
                last_attempt_at = clock_timestamp()
          where projector = $1 and stream_id = $2`,
        [...key, event.revision, event.position, event.id, event.type, error],
      );
    } else if (isLast) {
      await client.query(
        `delete from projection.parked_streams where projector = $1 and stream_id = $2`,
        key,
      );
      await announceCheckpoint(client, projector, position);
    } else {
      await client.query(
        `update projection.parked_streams set revision = $3 where projector = $1 and stream_id = $2`,
        [...key, to + 1],
      );
    }
    return {
      folded: poison ? poison.event.revision - from : events.length,
      isDone: isLast,
      ...(poison && {
        stillParked: { revision: poison.event.revision, type: poison.event.type, error: poison.error },
      }),
    };
  });
}

/**
 * All events of a stream between two revisions; or the reason why they cannot be read, if the log has lost some or
 * others have deleted it.
 */
async function eventsOf(
  store: ReadableLog,
  streamId: string,
  from: number,
  to: number,
): Promise<{ readonly events: readonly RecordedEvent[]; readonly lack?: string }> {
  const events: RecordedEvent[] = [];
  try {
    for await (const page of store.readStream(streamId, { fromRevision: from, toRevision: to }))
      events.push(...page);
  } catch (error) {
    if (!isOfStream(error)) throw error;
    return { events: [], lack: error.message };
  }
  const at = events.findIndex(({ revision }, i) => revision !== from + i);
  const next = from + (at < 0 ? events.length : at);
  if (at < 0 && next > to) return { events };
  return { events: [], lack: lostText(next, (events[at]?.revision ?? to + 1) - 1) };
}

/** Nothing is folded: the rows after the missing event would tell half of what happened. */
async function stillLacking(client: PoolClient, key: readonly string[], lack: string): Promise<Step> {
  const { rows } = await client.query<{ revision: number; type: string }>(
    `update projection.parked_streams set error = $3, attempts = attempts + 1, last_attempt_at = clock_timestamp()
      where projector = $1 and stream_id = $2 returning revision, type`,
    [...key, lack],
  );
  const [parked] = rows as [{ revision: number; type: string }];
  return { folded: 0, stillParked: { ...parked, error: lack }, isDone: false };
}

const notDiscardable = (streamId: string, lack: string) =>
  conflict(
    'projection.not-discardable',
    `${streamId} lacks more than one event that could be left out: ${lack}. Nothing was changed. It stays parked, with its rows as they ` +
      `are, and all others go on. Once the log has its events again, retry it; if they are gone for good, accept that (\`waylog parked accept\`).`,
    { streamId },
  );

export const notParked = (streamId: string) =>
  notFound(
    'projection.not-parked',
    `${streamId} is not parked: its events are in the tables, or nobody has written it. See \`waylog parked list\`.`,
    { streamId },
  );
