import type pg from 'pg';
import type { Position, RecordedEvent } from '#lib/event-store';
import type { RecordedReactor } from './recorded.js';

/** An event that could not be acted on, and why. */
export interface Failed {
  readonly event: RecordedEvent;
  readonly error: string;
  /** Until it is tried again; undefined if that is for an operator to decide. */
  readonly waitSeconds: number | undefined;
}

/** One statement, so that a reactor never stands past an event that was neither acted on nor set aside. */
const settleSql = `
  with moved as (
    update projection.reactors
       set position = $4, log = coalesce(log, $13), moved_at = clock_timestamp()
     where name = $1 and version = $2 and position = $3 and resets = $5
    returning 1
  ), aside as (
    insert into projection.reactions (reactor, stream_id, revision, position, event_id, type, error, next_attempt_at)
    select $1, f.stream_id, f.revision, f.position, f.event_id, f.type, f.error,
           clock_timestamp() + f.wait_seconds * interval '1 second'
      from moved, unnest($6::text[], $7::integer[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::double precision[])
           as f (stream_id, revision, position, event_id, type, error, wait_seconds)
    on conflict (reactor, stream_id) do nothing
  )
  select count(*)::integer as moved from moved`;

/** Moves a reactor, and sets aside the streams of events that failed. False if it is elsewhere by now: nothing is recorded. */
export async function settle(
  client: pg.ClientBase,
  name: string,
  from: RecordedReactor,
  to: Position,
  failed: readonly Failed[],
): Promise<boolean> {
  const events = failed.map(({ event }) => event);
  const { rows } = await client.query<{ moved: number }>({
    name: 'reactor.settle',
    text: settleSql,
    values: [
      name,
      from.version,
      from.position,
      to,
      from.resets,
      events.map(({ streamId }) => streamId),
      events.map(({ revision }) => revision),
      events.map(({ position }) => position),
      events.map(({ id }) => id),
      events.map(({ type }) => type),
      failed.map(({ error }) => error),
      failed.map((one) => one.waitSeconds ?? null),
      from.log ?? null,
    ],
  });
  return rows[0]?.moved === 1;
}

/** The streams that a reactor has set aside, parked ones too. */
export async function setAsideStreams(client: pg.ClientBase, name: string): Promise<Set<string>> {
  const { rows } = await client.query<{ stream_id: string }>(
    `select stream_id from projection.reactions where reactor = $1`,
    [name],
  );
  return new Set(rows.map(({ stream_id }) => stream_id));
}

/** A stream that was set aside, from the event that failed on. */
export interface WaitingStream {
  readonly streamId: string;
  readonly revision: number;
  readonly attempts: number;
  /** False: what failed was discarded, and the next one was not tried yet. */
  readonly hasFailed: boolean;
}

/** A few of those whose time has come: in between, new events are acted on. */
export async function dueReactions(client: pg.ClientBase, name: string): Promise<WaitingStream[]> {
  const { rows } = await client.query<{
    stream_id: string;
    revision: number;
    attempts: number;
    has_failed: boolean;
  }>({
    name: 'reactor.due',
    text: `select stream_id, revision, attempts, has_failed from projection.reactions
            where reactor = $1 and next_attempt_at <= clock_timestamp() order by next_attempt_at limit 20`,
    values: [name],
  });
  return rows.map(({ stream_id: streamId, revision, attempts, has_failed: hasFailed }) => ({
    streamId,
    revision,
    attempts,
    hasFailed,
  }));
}

/** Records that a stream that was set aside cannot be read, if no operator has moved it since. */
export async function failedToRead(
  client: pg.ClientBase,
  name: string,
  { streamId, revision, attempts }: WaitingStream,
  { error, waitSeconds }: Pick<Failed, 'error' | 'waitSeconds'>,
): Promise<void> {
  await client.query(
    `update projection.reactions
        set error = $4, attempts = $5, last_attempt_at = clock_timestamp(),
            next_attempt_at = clock_timestamp() + $6::double precision * interval '1 second'
      where reactor = $1 and stream_id = $2 and revision = $3`,
    [name, streamId, revision, error, attempts + 1, waitSeconds ?? null],
  );
}

/** Records one more failure of a stream that was set aside at a revision, if no operator has moved it since. */
export async function failedAgain(
  client: pg.ClientBase,
  name: string,
  atRevision: number,
  { event, error, waitSeconds }: Failed,
  attempts: number,
): Promise<void> {
  await client.query(
    `update projection.reactions
        set revision = $4, position = $5, event_id = $6, type = $7, error = $8, attempts = $9,
            failed_at = case when revision = $4 then failed_at else clock_timestamp() end,
            last_attempt_at = clock_timestamp(), has_failed = true,
            next_attempt_at = clock_timestamp() + $10::double precision * interval '1 second'
      where reactor = $1 and stream_id = $2 and revision = $3`,
    [
      name,
      event.streamId,
      atRevision,
      event.revision,
      event.position,
      event.id,
      event.type,
      error,
      attempts,
      waitSeconds ?? null,
    ],
  );
}

/** The stream has caught up; false if an operator has moved it since. */
export async function reactedTo(
  client: pg.ClientBase,
  name: string,
  streamId: string,
  atRevision: number,
): Promise<boolean> {
  const { rowCount } = await client.query(
    `delete from projection.reactions where reactor = $1 and stream_id = $2 and revision = $3`,
    [name, streamId, atRevision],
  );
  return rowCount === 1;
}
