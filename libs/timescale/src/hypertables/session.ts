import type pg from 'pg';
import { conflict, endClient, inTransaction, openSession, SqlState, sqlStateOf } from '#lib/platform';

/** How long to wait for an exclusive lock: a session that waits for one blocks all later ones. */
const LOCK_TIMEOUT = '5s';

/** Runs work that can take long on a separate connection, without the time limits of the pool. */
export async function withSession<T>(
  pool: pg.Pool,
  applicationName: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await openSession({
    connectionString: pool.options.connectionString ?? '',
    applicationName,
  });
  try {
    return await work(client);
  } finally {
    await endClient(client);
  }
}

/** One transaction that gives up if it cannot get a lock within seconds. Throws `hypertable.in-use` then. */
export async function inBriefTransaction<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  try {
    return await inTransaction(client, async () => {
      await client.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
      return work();
    });
  } catch (error) {
    const state = sqlStateOf(error);
    if (state === SqlState.lockNotAvailable || state === SqlState.deadlockDetected) {
      throw conflict(
        'hypertable.in-use',
        `Another transaction used the table or a chunk of it for longer than ${LOCK_TIMEOUT}, such as a backup or a report. ` +
          'Nothing has changed; try again when it has ended (pg_stat_activity shows it).',
      );
    }
    throw error;
  }
}
