import type { Pool } from 'pg';
import { databaseCall, readRows } from '#lib/platform';
import type { Snapshot } from './event-store.js';

/** Snapshots in PostgreSQL, whichever store has the log: they are a cache beside the tables, not part of it. */
export async function loadSnapshot(
  pool: Pool,
  streamId: string,
  version: number,
): Promise<Snapshot | undefined> {
  const sql = `select revision, state from log.snapshots where stream_id = $1 and version = $2`;
  const [row] = await readRows(pool, 'log.load-snapshot', sql, [streamId, version]);
  return row && { revision: Number(row[0]), state: row[1] as string };
}

export async function saveSnapshot(
  pool: Pool,
  streamId: string,
  version: number,
  { revision, state }: Snapshot,
): Promise<void> {
  const sql = `
    insert into log.snapshots (stream_id, version, revision, state) values ($1, $2, $3, $4)
    on conflict (stream_id, version) do update
       set revision = excluded.revision, state = excluded.state, taken_at = clock_timestamp()
     where snapshots.revision < excluded.revision`;
  const values = [streamId, version, revision, state];
  await databaseCall(() => pool.query({ name: 'log.save-snapshot', text: sql, values }));
}
