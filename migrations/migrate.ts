import pg from 'pg';
import { DataSource } from 'typeorm';
import { migrations } from './index.js';

type Progress = (line: string) => void;

/** Held while migrations run, so that two processes that start together run each migration once. */
const MIGRATION_LOCK = 7239100401;

/** Brings the database to the newest schema; answers the names of the migrations that ran. */
export const migrate = (url: string, progress: Progress = () => undefined): Promise<string[]> =>
  locked(url, progress, async (source) => {
    const ran: string[] = [];
    for (const pending of await source.runMigrations({ transaction: 'each' })) {
      progress(`migrated ${pending.name}`);
      ran.push(pending.name);
    }
    return ran;
  });

/** Takes back the last `steps` migrations, newest first. The tables they made go, with what is in them. */
export const revert = (url: string, steps: number, progress: Progress = () => undefined): Promise<void> =>
  locked(url, progress, async (source) => {
    for (let step = 0; step < steps; step++) await source.undoLastMigration({ transaction: 'each' });
  });

async function locked<T>(url: string, progress: Progress, work: (source: DataSource) => Promise<T>): Promise<T> {
  const guard = new pg.Client({ connectionString: url, application_name: 'waylog migrations' });
  await guard.connect();
  try {
    const { rows } = await guard.query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [MIGRATION_LOCK]);
    if (!rows[0]?.free) {
      progress('another process is migrating this database; waiting for it');
      await guard.query(`select pg_advisory_lock($1)`, [MIGRATION_LOCK]);
    }
    const source = new DataSource({
      type: 'postgres',
      url,
      applicationName: 'waylog migrations',
      migrations,
      migrationsTableName: 'waylog_migrations',
    });
    await source.initialize();
    try {
      return await work(source);
    } finally {
      await source.destroy();
    }
  } finally {
    await guard.end();
  }
}
