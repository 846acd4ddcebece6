import type { ClientBase, Pool } from 'pg';
import { conflict, timestampFromPostgres, type Timestamp } from '#lib/platform';
import type { EventStore, Position } from '#lib/event-store';

/**
 * What a log is known by: its first event, with the place and the time that it has there. A copy of the log has the same
 * events elsewhere and from another time, and so is another log: its positions mean something else.
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

/** Which log the tables are folded from; undefined as long as nothing has been folded. */
export async function foldedLog(client: Queryable): Promise<LogIdentity | undefined> {
  const { rows } = await client.query<{ position: string; id: string; at: string }>(
    `select first_position as position, first_event_id as id, first_recorded_at::text as at from projection.folded_log`,
  );
  const [row] = rows;
  return row && { position: row.position, eventId: row.id, recordedAt: timestampFromPostgres(row.at) };
}

/** Where something has been folded and nobody knows of which log, such as after a migration taken back and forth. */
const hasFolded = async (client: Queryable): Promise<boolean> =>
  (await client.query(`select from projection.stream_revisions limit 1`)).rowCount === 1;

/** `nothing-folded`: any log will do. */
export async function compareLog(
  client: Queryable,
  store: EventStore,
): Promise<'same' | 'other' | 'nothing-folded'> {
  const [folded, here] = await Promise.all([foldedLog(client), identityOf(store)]);
  if (!folded) return (await hasFolded(client)) ? 'other' : 'nothing-folded';
  const isSame =
    here?.position === folded.position &&
    here.eventId.toLowerCase() === folded.eventId &&
    Date.parse(here.recordedAt) === Date.parse(folded.recordedAt);
  return isSame ? 'same' : 'other';
}

/** Throws `projection.other-log` when the tables are folded from another log than this. */
export async function requireSameLog(client: Queryable, store: EventStore): Promise<void> {
  if ((await compareLog(client, store)) === 'other') throw otherLog();
}

export const otherLog = (why = '') =>
  conflict(
    'projection.other-log',
    `The tables are folded from another log than this one${why}. Nothing was written to them. If EVENT_STORE is not what ` +
      `it should be, put it right. If the log is to move here, copy it (\`waylog log copy --from OLD --to NEW\`) and start ` +
      `again. If the tables shall be made from this log as it is, and what only the other one says shall be gone from ` +
      `them: \`waylog projections adopt --yes\`.`,
  );

/** Notes which log the tables are folded from, in the transaction of the first batch. */
export const recordFoldedLog = (client: ClientBase, { position, eventId, recordedAt }: LogIdentity) =>
  client.query(
    `insert into projection.folded_log (first_position, first_event_id, first_recorded_at) values ($1, $2, $3)
     on conflict (only_one) do update
        set first_position = excluded.first_position, first_event_id = excluded.first_event_id,
            first_recorded_at = excluded.first_recorded_at`,
    [position, eventId, recordedAt],
  );

/**
 * Before commands are decided: snapshots of streams are caches of the log that they were taken of, positions included.
 * Those of another log go. True when there was another one.
 */
export async function forgetOtherLog(pool: Pool, store: EventStore): Promise<boolean> {
  if ((await compareLog(pool, store)) !== 'other') return false;
  await pool.query(`delete from log.snapshots`);
  return true;
}
