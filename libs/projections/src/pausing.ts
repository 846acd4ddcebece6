import type { Pool } from 'pg';
import { databaseCall, notFound, readRows, timestampFromPostgres, type Timestamp } from '#lib/platform';

/** The time since which a table of any of these projectors is paused; undefined if none is. */
export async function pausedSince(pool: Pool, projectors: readonly string[]): Promise<Timestamp | undefined> {
  const [row] = await readRows(
    pool,
    'projection.paused',
    `select min(paused_at) from projection.checkpoints where projector = any ($1)`,
    [projectors],
  );
  return row?.[0] ? timestampFromPostgres(row[0]) : undefined;
}

/**
 * Pauses these projectors, whichever process leads them: once this has returned, no batch is written
 * until `resume`. Commands are still accepted; reads answer from tables that stand still. Pausing again changes
 * nothing. Throws `projection.never-ran`.
 */
export async function pauseProjections(
  pool: Pool,
  projectors: readonly string[],
  { reason, by }: { readonly reason: string; readonly by: string },
): Promise<void> {
  await change(
    pool,
    `update projection.checkpoints
        set paused_at = coalesce(paused_at, clock_timestamp()),
            paused_by = case when paused_at is null then $2 else paused_by end,
            pause_reason = case when paused_at is null then $3 else pause_reason end
      where projector = any ($1)`,
    [projectors, by, reason],
  );
}

/** Lets paused projectors continue from their checkpoints; they check for this a few times a second. */
export async function resumeProjections(pool: Pool, projectors: readonly string[]): Promise<void> {
  await change(
    pool,
    `update projection.checkpoints set paused_at = null, paused_by = null, pause_reason = null
      where projector = any ($1)`,
    [projectors],
  );
}

async function change(pool: Pool, sql: string, values: unknown[]): Promise<void> {
  const { rowCount } = await databaseCall(() => pool.query(sql, values));
  if (rowCount === 0) {
    throw notFound(
      'projection.never-ran',
      'No projector has run on this database yet, so there is nothing to pause or resume. Start the server once.',
    );
  }
}
