// For the tests of an application: decisions as sentences, a log in memory, a database that is thrown away.
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { databaseUp, roleNames } from '#lib/timescale';
import type { Context } from '#lib/waylog';
import { migrate } from '../migrations/index.js';

export { given } from '#lib/waylog';
export { InMemoryEventStore } from '#lib/event-store';
export { InMemoryFileStore } from '#lib/files';

export interface ThrowAwayDatabase {
  /** Of its owner, for `WaylogModule.forRoot` or `DATABASE_URL`. */
  readonly url: string;
  readonly drop: () => Promise<void>;
}

/**
 * A new database with the tables of these contexts. On the server of WAYLOG_TEST_DATABASE_URL; without it a private server
 * is started in `.waylog` of the working directory, which the first time can download TimescaleDB and takes a minute.
 */
export async function throwAwayDatabase(contexts: readonly Context[]): Promise<ThrowAwayDatabase> {
  const server =
    process.env['WAYLOG_TEST_DATABASE_URL'] ??
    (await databaseUp({ root: process.cwd(), instance: 'test', env: process.env })).url;
  const name = `waylog_test_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
  await run(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = join('/', name);
  await migrate(url.href, { contexts });
  return {
    url: url.href,
    // Roles belong to the server, not to the database.
    drop: () =>
      run(server, `drop database ${name} with (force)`, `drop role if exists ${roleNames(name).join(', ')}`),
  };
}

async function run(server: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await client.end();
  }
}
