import pg from 'pg';
import { DataSource } from 'typeorm';
import { ensureReaderRole } from '#lib/timescale';
import { migrations } from './all.js';

type Progress = (line: string) => void;

/** Held while migrations run, so that two processes that start together run each migration once. */
const MIGRATION_LOCK = 7239100401;

/**
 * Brings the database to the newest schema, and the role that ad-hoc SQL reads with along; answers the names of the
 * migrations that ran.
 */
export const migrate = (url: string, progress: Progress = () => undefined): Promise<string[]> =>
  locked(url, progress, async (source) => {
    const ran: string[] = [];
    for (const pending of await source.runMigrations({ transaction: 'each' })) {
      progress(`migrated ${pending.name}`);
      ran.push(pending.name);
    }
    const noReader = await source.transaction((manager) =>
      ensureReaderRole((sql, values) => manager.query<Record<string, unknown>[]>(sql, values), url),
    );
    if (noReader) progress(`ad-hoc SQL is not available: ${noReader}`);
    return ran;
  });

/** Takes back the last `steps` migrations, newest first. The tables they made go, with what is in them. */
export const revert = (url: string, steps: number, progress: Progress = () => undefined): Promise<void> =>
  locked(url, progress, async (source) => {
    for (let step = 0; step < steps; step++) await source.undoLastMigration({ transaction: 'each' });
  });

async function locked<T>(
  url: string,
  progress: Progress,
  work: (source: DataSource) => Promise<T>,
): Promise<T> {
  const guard = new pg.Client({ connectionString: url, application_name: 'waylog migrations' });
  await guard.connect();
  try {
    const { rows } = await guard.query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [
      MIGRATION_LOCK,
    ]);
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

export interface SchemaState {
  /** Migrations that the code has and the database has not. */
  readonly missing: readonly string[];
  /** Migrations that the database has and the code does not know: it belongs to a newer Waylog. */
  readonly unknown: readonly string[];
}

/** How the schema of a database stands to this code. Changes nothing. */
export async function schemaState(url: string): Promise<SchemaState> {
  const client = new pg.Client({ connectionString: url, application_name: 'waylog migrations' });
  await client.connect();
  try {
    const { rows: tables } = await client.query<{ found: string | null }>(
      `select to_regclass('waylog_migrations') as found`,
    );
    const { rows } = tables[0]?.found
      ? await client.query<{ name: string }>(`select name from waylog_migrations order by id`)
      : { rows: [] };
    const known = migrations.map(({ name }) => name);
    const applied = rows.map(({ name }) => name);
    return {
      missing: known.filter((name) => !applied.includes(name)),
      unknown: applied.filter((name) => !known.includes(name)),
    };
  } finally {
    await client.end();
  }
}
