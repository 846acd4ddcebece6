import type { ClientBase, Pool } from 'pg';
import { conflict, readRows, timestampFromPostgres, type Timestamp } from '#lib/platform';
import type { EventStore, Folded, Position } from '#lib/event-store';

/**
 * The identity of a log: its first event, with its position and time. A copy of the log has the same events at other
 * positions and times, and so is another log: its positions mean something else.
 */
export interface LogIdentity {
  readonly position: Position;
  readonly eventId: string;
  readonly recordedAt: Timestamp;
}

type Queryable = Pick<ClientBase | Pool, 'query'>;

/** Which log this is; undefined as long as it is empty. */
export async function identityOf(store: EventStore): Promise<LogIdentity | undefined> {
  const [first] = await store.readAll({ limit: 1 });
  return first && { position: first.position, eventId: first.id, recordedAt: first.recordedAt };
}

/** `nothing-folded`: any log will do. */
export async function compareLog(
  client: Queryable,
  store: EventStore,
): Promise<'same' | 'other' | 'nothing-folded'> {
  // First the statement and then the log, which only grows: in the other order the very first batch could come between.
  const { rows } = await client.query<{
    position: string | null;
    id: string | null;
    at: string | null;
    folded: boolean;
  }>(
    `select l.first_position as position, l.first_event_id as id, l.first_recorded_at::text as at,
            exists (select from projection.stream_revisions) as folded
       from (select) one left join projection.folded_log l on true`,
  );
  const { position, id, at, folded } = rows[0] ?? {};
  if (!at) {
    // Something was folded, but from an unknown log, such as after a migration was rolled back.
    return folded ? 'other' : 'nothing-folded';
  }
  const here = await identityOf(store);
  const isSame =
    here !== undefined &&
    here.position === position &&
    here.eventId.toLowerCase() === id &&
    Date.parse(here.recordedAt) === Date.parse(timestampFromPostgres(at));
  return isSame ? 'same' : 'other';
}

/** Throws `projection.other-log` if the tables are folded from another log than this. */
export async function requireSameLog(client: Queryable, store: EventStore): Promise<void> {
  if ((await compareLog(client, store)) === 'other') throw otherLog();
}

export const otherLog = (why = '') =>
  conflict(
    'projection.other-log',
    `The tables are folded from another log than this one${why}. Nothing was written to them. If EVENT_STORE is not what ` +
      `it should be, put it right. If the log is to move here, copy it (\`waylog log copy --from OLD --to NEW\`) and start ` +
      `again. To rebuild the tables from this log as it is, and to remove what only the other log has from ` +
      `them: \`waylog projections adopt --yes\`.`,
  );

/** Which log the tables of these projections are folded from, and how far; undefined if nothing was folded. */
export async function foldedLog(pool: Pool, projections: readonly string[]): Promise<Folded | undefined> {
  const [row] = await readRows(
    pool,
    'projection.folded',
    `select l.first_position, l.first_event_id, c.position, l.first_recorded_at, c.updated_at
       from projection.folded_log l, projection.checkpoints c where c.projection = any ($1) limit 1`,
    [projections],
  );
  if (!row) return undefined;
  const [position, id, upTo, recordedAt, movedAt] = row as [string, string, string, string, string];
  const at = (time: string) => Date.parse(timestampFromPostgres(time));
  return { first: { position, id, at: at(recordedAt) }, position: upTo, at: at(movedAt) };
}

/** Records which log the tables are folded from, in the transaction of the first batch. */
export const recordFoldedLog = (client: ClientBase, { position, eventId, recordedAt }: LogIdentity) =>
  client.query(
    `insert into projection.folded_log (first_position, first_event_id, first_recorded_at) values ($1, $2, $3)
     on conflict (only_one) do update
        set first_position = excluded.first_position, first_event_id = excluded.first_event_id,
            first_recorded_at = excluded.first_recorded_at`,
    [position, eventId, recordedAt],
  );

/**
 * Runs before commands are decided: snapshots of streams are caches of the log that they were taken of, positions
 * included. Deletes those of another log. True if there was another one.
 */
export async function forgetOtherLog(pool: Pool, store: EventStore): Promise<boolean> {
  if ((await compareLog(pool, store)) !== 'other') return false;
  await pool.query(`delete from log.snapshots`);
  return true;
}
