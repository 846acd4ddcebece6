import type { ClientBase, Pool } from 'pg';
import { conflict, readRows, timestampFromPostgres, type Timestamp } from '#lib/platform';
import type { ReadableLog, Folded, Position } from '#lib/event-store';

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

/** Which log this is, or which part of one; undefined as long as it is empty. */
export async function identityOf(store: ReadableLog): Promise<LogIdentity | undefined> {
  const [first] = await store.readAll({ limit: 1 });
  return first && { position: first.position, eventId: first.id, recordedAt: first.recordedAt };
}

/** Whether the tables of a projector are folded from this log. `nothing-folded`: any log will do. */
export async function compareLog(
  client: Queryable,
  store: ReadableLog,
  projector: string,
): Promise<'same' | 'other' | 'nothing-folded'> {
  // First the statement and then the log, which only grows: in the other order the very first batch could come between.
  const { rows } = await client.query<{
    position: string | null;
    id: string | null;
    at: string | null;
    folded: boolean;
  }>(
    `select l.first_position as position, l.first_event_id as id, l.first_recorded_at::text as at,
            exists (select from projection.stream_revisions where projector = $1) as folded
       from (select) one left join projection.folded_log l on l.projector = $1`,
    [projector],
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
export async function requireSameLog(
  client: Queryable,
  store: ReadableLog,
  projector: string,
): Promise<void> {
  if ((await compareLog(client, store, projector)) === 'other') throw otherLog();
}

export const otherLog = (why = '') =>
  conflict(
    'projection.other-log',
    `The tables are folded from another log than this one${why}. Nothing was written to them. If EVENT_STORE is not what ` +
      `it should be, put it right. If the log is to move here, copy it (\`waylog log copy --from OLD --to NEW\`) and start ` +
      `again. To rebuild the tables from this log as it is, and to remove what only the other log has from ` +
      `them: \`waylog projections adopt --yes\`.`,
  );

/** Which log the tables are folded from, by the projector that has come furthest; undefined if nothing was folded. */
export async function foldedLog(pool: Pool): Promise<Folded | undefined> {
  const [row] = await readRows(
    pool,
    'projection.folded',
    `select l.first_position, l.first_event_id, c.position, l.first_recorded_at, c.updated_at
       from projection.folded_log l join projection.checkpoints c using (projector)
      -- A number, or in EventStoreDB two with a colon between them.
      order by split_part(c.position, ':', 1)::numeric desc limit 1`,
    [],
  );
  if (!row) return undefined;
  const [position, id, upTo, recordedAt, movedAt] = row as [string, string, string, string, string];
  const at = (time: string) => Date.parse(timestampFromPostgres(time));
  return { first: { position, id, at: at(recordedAt) }, position: upTo, at: at(movedAt) };
}

/** Records which log the tables are folded from, in the transaction of the first batch. */
export const recordFoldedLog = (
  client: ClientBase,
  projector: string,
  { position, eventId, recordedAt }: LogIdentity,
) =>
  client.query(
    `insert into projection.folded_log (projector, first_position, first_event_id, first_recorded_at)
     values ($4, $1, $2, $3)
     on conflict (projector) do update
        set first_position = excluded.first_position, first_event_id = excluded.first_event_id,
            first_recorded_at = excluded.first_recorded_at`,
    [position, eventId, recordedAt, projector],
  );

/**
 * Runs before commands are decided: snapshots of streams are caches of the log that they were taken of, positions
 * included. Deletes those of another log. True if there was another one.
 */
export async function forgetOtherLog(
  pool: Pool,
  parts: readonly { readonly store: ReadableLog; readonly projector: string }[],
): Promise<boolean> {
  const compared = await Promise.all(parts.map(({ store, projector }) => compareLog(pool, store, projector)));
  if (!compared.includes('other')) return false;
  await pool.query(`delete from log.snapshots`);
  return true;
}
