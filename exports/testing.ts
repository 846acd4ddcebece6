// For the tests of an application: decisions as sentences, a log in memory, a database that is thrown away.
import { deepStrictEqual, fail } from 'node:assert/strict';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { eventsOf, wholeOf, type DomainEvent } from '#lib/event-store';
import { WaylogError } from '#lib/platform';
import { databaseUp, roleNames } from '#lib/timescale';
import type { Context, References, Sent, Slice, StreamType } from '#lib/waylog';
import { migrate } from '../migrations/index.js';

export { InMemoryEventStore } from '#lib/event-store';
export { InMemoryFileStore } from '#lib/files';

const NOW = '2026-05-01T12:00:00.000Z';

/**
 * Given these events of a stream, when a command is decided, then these events, or a refusal:
 * `given(plotStream, marked).when(measurePlot, { metres: 3 }).then(measured)`. Throws an AssertionError.
 */
export function given<State, Event extends DomainEvent>(
  stream: StreamType<State, Event>,
  ...history: readonly Event[]
) {
  const { initialState, evolve } = stream.decider;
  return {
    /** `sent`: when the command is sent, and the states of the streams that the slice reads. */
    when<C extends object, Answer extends object, Reads extends References>(
      slice: Slice<C, State, Event, Answer, Reads>,
      command: Omit<C, keyof object>,
      sent: Partial<Sent<Reads>> = {},
    ) {
      const { at = NOW, reads = {} } = sent;
      const decide = () =>
        slice.decide(command, history.reduce(evolve, initialState()), {
          at,
          reads: reads as Sent<Reads>['reads'],
        });
      return {
        then: (...expected: readonly Event[]): void => deepStrictEqual(eventsOf(decide()), expected),
        thenNothing: (): void => deepStrictEqual(eventsOf(decide()), []),
        thenAnswer: (answer: Answer): void => deepStrictEqual(wholeOf(decide()).answer ?? {}, answer),
        thenRefused(code: string): void {
          try {
            decide();
          } catch (error) {
            if (!(error instanceof WaylogError)) throw error;
            deepStrictEqual(error.code, code);
            return;
          }
          fail(`It was not refused with ${code}.`);
        },
      };
    },
  };
}

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
