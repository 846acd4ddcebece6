import { Logger, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, QueryBus, type Command, type Query } from '@nestjs/cqrs';
import type { EventStore } from '#lib/event-store';
import { flight, FlightDatabase } from '#lib/flight';
import {
  EVENT_STORE,
  Opened,
  RunningContexts,
  WaylogModule,
  type RunningContext,
  type WaylogOptions,
} from '#lib/waylog';
import { testDatabase, type Log, type TestDatabase } from './database.js';

/** The flight context of an application. */
export const flightOf = (app: Pick<INestApplicationContext, 'get'>): RunningContext =>
  app.get(RunningContexts).of(flight);

export interface RunningWaylog {
  readonly app: INestApplicationContext;
  readonly database: FlightDatabase;
  readonly execute: <R>(command: Command<R>) => Promise<R>;
  readonly query: <R>(query: Query<R>) => Promise<R>;
  /** Resolves when the tables hold everything that the log holds now. */
  readonly settled: (maxWaitMs?: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Waylog without HTTP, as a module of another application would use it. */
export async function startWaylog(
  database: string | Pick<TestDatabase, 'url' | 'eventStore'>,
  options: Partial<WaylogOptions> = {},
): Promise<RunningWaylog> {
  Logger.overrideLogger(['error', 'warn']);
  const { url: databaseUrl, eventStore } =
    typeof database === 'string' ? { url: database, eventStore: undefined } : database;
  const opened = new Opened();
  const app = await opened.orClose(
    NestFactory.createApplicationContext(
      WaylogModule.forRoot({ databaseUrl, eventStore, contexts: [flight], opened, ...options }),
      { logger: ['error', 'warn'], abortOnError: false },
    ),
  );
  const commands = app.get(CommandBus);
  const queries = app.get(QueryBus);
  return {
    app,
    database: app.get(FlightDatabase),
    execute: (command) => commands.execute(command),
    query: (query) => queries.execute(query),
    settled: async (maxWaitMs = 60_000) =>
      flightOf(app).watch.waitFor(await app.get<EventStore>(EVENT_STORE).head(), maxWaitMs),
    close: () => app.close(),
  };
}

/** One Waylog over its own database, for all the tests of a file. */
export function useWaylog(
  options: Partial<WaylogOptions> = {},
  log?: Log,
): RunningWaylog & { readonly store: TestDatabase } {
  let running: RunningWaylog;
  let store: TestDatabase;
  beforeAll(async () => {
    store = await testDatabase(log);
    running = await startWaylog({ url: store.url, eventStore: patient(store.eventStore) }, options);
  });
  afterAll(async () => {
    await running.close();
    await store.drop();
  });
  return {
    get app() {
      return running.app;
    },
    get database() {
      return running.database;
    },
    get store() {
      return store;
    },
    execute: (command) => running.execute(command),
    query: (query) => running.query(query),
    settled: (maxWaitMs) => running.settled(maxWaitMs),
    close: () => running.close(),
  };
}

/**
 * A command that this process is slow to send is no silence of the log: the double runs in it, too, and takes seconds for
 * thousands of events on a busy machine.
 */
const patient = (eventStore: string | undefined): string | undefined =>
  eventStore && `${eventStore}&defaultDeadline=60000`;
