import pg from 'pg';
import { migrate, migrations, revert, schemaState } from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';

describe('migrations', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(() => database.drop());
  const names = migrations.map(({ name }) => name);
  const tables = async () =>
    (
      await database.pool.query<{ name: string }>(
        `select schemaname || '.' || tablename as name from pg_tables
          where schemaname in ('log', 'projection', 'flight', 'timescale') order by 1`,
      )
    ).rows.map(({ name }) => name);

  it('go all the way up, down and up again', async () => {
    const before = await tables();
    expect(before).toContain('flight.frame_results');
    await revert(database.url, names.length);
    expect(await tables()).toEqual([]);
    expect((await schemaState(database.url)).missing).toHaveLength(names.length);
    expect(await migrate(database.url)).toHaveLength(names.length);
    expect(await tables()).toEqual(before);
  });

  it('run once when two processes start together', async () => {
    await revert(database.url, names.length);
    const [a, b] = await Promise.all([migrate(database.url), migrate(database.url)]);
    expect([a.length, b.length].sort()).toEqual([0, names.length]);
  });

  it('say when a database is newer than the code', async () => {
    await database.pool.query(
      `insert into waylog_migrations (timestamp, name) values (9999999999999, 'FromTheFuture')`,
    );
    expect(await schemaState(database.url)).toEqual({ missing: [], unknown: ['FromTheFuture'] });
  });

  it('find nothing in an empty database', async () => {
    const url = new URL(testServerUrl());
    const admin = new pg.Client({ connectionString: url.href });
    await admin.connect();
    const name = `waylog_test_empty_${process.pid}`;
    await admin.query(`create database ${name}`);
    url.pathname = `/${name}`;
    expect((await schemaState(url.href)).missing).toHaveLength(names.length);
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  });
});
