import pg from 'pg';
import { CreateFlight } from '#lib/flight';
import { EVENT_STORE, LOG_POOL, RunningContexts, TABLES_POOL } from '#lib/waylog';
import { roleNames } from '#lib/timescale';
import { createPool, endClient, openSession } from '#lib/platform';
import type { EventStore } from '#lib/event-store';
import { migrate } from '../migrations/index.js';
import { testServerUrl } from './support/database.js';
import { aFlight } from './support/samples.js';
import { startWaylog } from './support/waylog.js';

describe('sessions of a database with its own settings', () => {
  const name = `waylog_test_${process.pid}_sessions`;
  const url = Object.assign(new URL(testServerUrl()), { pathname: `/${name}` }).href;
  const on = async (connectionString: string, ...statements: string[]) => {
    const client = new pg.Client({ connectionString });
    await client.connect();
    try {
      let result: pg.QueryResult | undefined;
      for (const sql of statements) result = await client.query(sql);
      return result;
    } finally {
      await client.end();
    }
  };
  const admin = (...statements: string[]) => on(testServerUrl(), ...statements);
  /** Not in PostgreSQL before 17. */
  const isKnown = async (setting: string) =>
    (await on(url, `select from pg_settings where name = '${setting}'`))?.rowCount === 1;
  beforeEach(() => admin(`create database ${name}`));
  afterEach(() =>
    admin(`drop database ${name} with (force)`, `drop role if exists ${roleNames(name).join(', ')}`),
  );

  const shown = async (setting: string, settings?: Record<string, string>) => {
    const client = await openSession({
      connectionString: url,
      applicationName: 'test',
      ...(settings && { settings }),
    });
    try {
      return (
        await client.query<{ value: string | null }>(`select current_setting($1, true) as value`, [setting])
      ).rows[0]?.value;
    } finally {
      await endClient(client);
    }
  };

  it.each([
    ['off', 'on'],
    ['on', 'on'],
    // An operator who sets it has decided about standbys; it waits for the disk.
    ['local', 'local'],
    ['remote_write', 'remote_write'],
    ['remote_apply', 'remote_apply'],
  ])('commit at least to disk: synchronous_commit %s is %s', async (of, is) => {
    await admin(`alter database ${name} set synchronous_commit = ${of}`);
    expect(await shown('synchronous_commit')).toBe(is);
    // For sessions whose writes can be lost.
    expect(await shown('synchronous_commit', { synchronous_commit: 'off' })).toBe('off');
    const pool = createPool({
      ...{ connectionString: url, size: 1, applicationName: 'test' },
      ...{ statementTimeoutMs: 0, connectTimeoutMs: 5_000 },
    });
    expect((await pool.query('show synchronous_commit')).rows).toEqual([{ synchronous_commit: is }]);
    await pool.end();
  });

  it.each([
    ['idle_session_timeout', '0'],
    ['transaction_timeout', '0'],
    ['search_path', 'public'],
  ])('%s is %s', async (setting, is) => {
    if (!(await isKnown(setting))) {
      expect(await shown(setting)).toBeNull();
      return;
    }
    await admin(
      `alter database ${name} set ${setting} = ${setting === 'search_path' ? 'nowhere' : "'10min'"}`,
    );
    expect(await shown(setting)).toBe(is);
  });

  it('search the schema in which TimescaleDB was installed', async () => {
    await on(url, `create schema "Time Scale"`, `create extension timescaledb schema "Time Scale"`);
    expect(await shown('search_path')).toBe('public, "Time Scale"');
  });

  it('migrate, append, fold and read', async () => {
    await admin(
      `alter database ${name} set search_path = nowhere`,
      `alter database ${name} set synchronous_commit = off`,
      // Shorter than any migration takes.
      ...((await isKnown('transaction_timeout'))
        ? [`alter database ${name} set transaction_timeout = '100ms'`]
        : []),
    );
    await migrate(url);
    const waylog = await startWaylog(url);
    await waylog.execute(new CreateFlight({ flight: aFlight('s', 2) }));
    await waylog.app
      .get(RunningContexts)
      .waitFor(await waylog.app.get<EventStore>(EVENT_STORE).head(), 60_000);
    for (const pool of [LOG_POOL, TABLES_POOL].map((token) => waylog.app.get<pg.Pool>(token)))
      expect((await pool.query('show synchronous_commit')).rows).toEqual([{ synchronous_commit: 'on' }]);
    await waylog.close();
  });
});
