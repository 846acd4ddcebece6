import pg from 'pg';
import { createPool, Listener } from '#lib/platform';
import { readerRoleName } from '#lib/timescale';
import { migrate } from '../../migrations/index.js';

export interface TestDatabase {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly listener: Listener;
  readonly drop: () => Promise<void>;
}

let databases = 0;

/** A database of its own on the test server, at the newest schema. `npm test` says where the server is. */
export async function testDatabase(): Promise<TestDatabase> {
  const server = testServerUrl();
  const name = `waylog_test_${process.pid}_${Date.now().toString(36)}_${++databases}`;
  await onServer(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  await migrate(url.href);
  const pool = createPool({
    connectionString: url.href,
    size: 20,
    applicationName: 'waylog test',
    statementTimeoutMs: 30_000,
    connectTimeoutMs: 5_000,
  });
  const listener = new Listener(url.href, 'waylog test');
  return {
    url: url.href,
    pool,
    listener,
    drop: async () => {
      await listener.close();
      await pool.end();
      await onServer(server, `drop database ${name} with (force)`);
      // Roles are the server's, not the database's.
      await onServer(server, `drop role if exists ${readerRoleName(name)}`);
    },
  };
}

export function testServerUrl(): string {
  const url = process.env['WAYLOG_TEST_DATABASE_URL'];
  if (!url)
    throw new Error(
      'WAYLOG_TEST_DATABASE_URL is not set. Run the tests with `npm test`, which starts a server.',
    );
  return url;
}

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
