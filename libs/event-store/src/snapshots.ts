import type { Pool } from 'pg';
import { databaseCall, readRows } from '#lib/platform';
import type { Position, Snapshot } from './event-store.js';

/** The parameters of log.holds: the history that a process knows, and the newest event that it has seen. */
export type Vantage = readonly [history: number | null, position: Position | null, id: string | null];

/** Snapshots in PostgreSQL, whichever store has the log: they are a cache beside the tables, not part of the log. */
export async function loadSnapshot(
  pool: Pool,
  streamId: string,
  version: number,
): Promise<Snapshot | undefined> {
  const sql = `select revision, state from log.snapshots where stream_id = $1 and version = $2`;
  const [row] = await readRows(pool, 'log.load-snapshot', sql, [streamId, version]);
  return row && { revision: Number(row[0]), state: row[1] as string };
}

/** With a vantage, only if the database still has the events that the state was folded from. */
export async function saveSnapshot(
  pool: Pool,
  streamId: string,
  version: number,
  { revision, state }: Snapshot,
  vantage?: Vantage,
): Promise<void> {
  const sql = `
    insert into log.snapshots (stream_id, version, revision, state)
    select $1, $2, $3, $4 ${vantage ? 'where log.holds($5, $6, $7)' : ''}
    on conflict (stream_id, version) do update
       set revision = excluded.revision, state = excluded.state, taken_at = clock_timestamp()
     where snapshots.revision < excluded.revision`;
  const values = [streamId, version, revision, state, ...(vantage ?? [])];
  const name = `log.save-snapshot${vantage ? '-of-this-log' : ''}`;
  await databaseCall(() => pool.query({ name, text: sql, values }));
}
