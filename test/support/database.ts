import pg from 'pg';
import { createPool, Listener } from '#lib/platform';
import { roleNames } from '#lib/timescale';
import { migrate } from '../../migrations/index.js';
import { startDouble, type EventStoreDbDouble } from './eventstoredb-double/index.js';

/** Where the log of a test is: the flight context gives the same guarantees with both. */
export const logs = ['PostgreSQL', 'EventStoreDB'] as const;
export type Log = (typeof logs)[number];

export interface TestDatabase {
  readonly url: string;
  /** The connection string of the log if it is not in the database: that of a double of the server. */
  readonly eventStore: string | undefined;
  readonly double: EventStoreDbDouble | undefined;
  readonly pool: pg.Pool;
  readonly listener: Listener;
  readonly drop: () => Promise<void>;
}

let databases = 0;

/**
 * A new database on the test server, at the newest schema or what `fill` makes of it, and, if requested, an EventStoreDB
 * for its log. `npm test` says where the server is, unless the test has its own.
 */
export async function testDatabase(
  log: Log = 'PostgreSQL',
  fill: (url: string) => Promise<unknown> = migrate,
  server: string = testServerUrl(),
): Promise<TestDatabase> {
  const name = `waylog_test_${process.pid}_${Date.now().toString(36)}_${++databases}`;
  await onServer(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  await fill(url.href);
  const pool = createPool({
    connectionString: url.href,
    size: 20,
    applicationName: 'waylog test',
    statementTimeoutMs: 30_000,
    connectTimeoutMs: 5_000,
  });
  const listener = new Listener(url.href, 'waylog test');
  // As docs/how-to/move-the-log.md requires: one command can record 5,000 events.
  const double = log === 'EventStoreDB' ? await startDouble({ maxAppendSize: 16_767_216 }) : undefined;
  return {
    url: url.href,
    eventStore: double?.connectionString,
    double,
    pool,
    listener,
    drop: async () => {
      await listener.close();
      await pool.end();
      await double?.stop();
      // Roles belong to the server, not to the database.
      await onServer(
        server,
        `drop database ${name} with (force)`,
        `drop role if exists ${roleNames(name).join(', ')}`,
      );
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

async function onServer(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await client.end();
  }
}
