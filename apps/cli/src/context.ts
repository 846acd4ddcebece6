import { userInfo } from 'node:os';
import { isatty } from 'node:tty';
import { ConsoleLogger, type INestApplicationContext, type LogLevel } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Command } from 'commander';
import type pg from 'pg';
import { openEventStore, type EventStore, type Upcasters } from '#lib/event-store';
import { flightProjections, flightUpcasters, WaylogModule } from '#lib/flight';
import { createPool, isEventStoreUrl, Listener, installation } from '#lib/platform';
import type { Projection } from '#lib/projections';
import { databaseUp, type DatabaseOptions } from '#lib/timescale';
import { migrate, refuseOtherSchema } from '../../../migrations/index.js';

/** The command was called wrongly; ends with exit code 2. */
export class UsageError extends Error {}

/** Warnings are for people: standard output is for results alone. */
class StderrLogger extends ConsoleLogger {
  protected override printMessages(messages: unknown[], context?: string, level?: LogLevel): void {
    super.printMessages(messages, context, level, 'stderr');
  }
}

export interface GlobalOptions {
  readonly databaseUrl?: string;
  readonly eventStore?: string;
  readonly json?: boolean;
}

export const globalsOf = (command: Command): GlobalOptions => command.optsWithGlobals();

/** Where the log is when it is not in the database. Throws UsageError for what is no connection string. */
export function eventStoreOf(command: Command): string | undefined {
  const { eventStore } = globalsOf(command);
  if (!eventStore) return undefined;
  if (isEventStoreUrl(eventStore)) return eventStore;
  throw new UsageError(
    '--event-store (or EVENT_STORE) takes esdb://HOST:PORT or esdb+discover://HOST. Leave it out for the log in the database.',
  );
}

/** Who works with the command line, for what remembers who did it. */
export const operator = (): string => `cli ${userInfo().username}`;

/** Progress is for people: it never mixes with a result on standard output. */
export const progress = (line: string): void => console.error(line);

/** The projections of these names; all of them for no name. Throws UsageError. */
export function projectionsNamed(wanted: readonly string[]): readonly Projection[] {
  const names = flightProjections.map(({ name }) => name);
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new UsageError(`There is no projection ${unknown.join(', ')}. There are ${names.join(', ')}.`);
  return flightProjections.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
}

/** Runs `work` until it is done or somebody presses Ctrl-C, which aborts its signal; a second time ends the process. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const onInterrupt = () => {
    if (stop.signal.aborted) process.exit(130);
    progress('\nstopping; press Ctrl-C again to end at once');
    stop.abort(new Error('It was interrupted.'));
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  try {
    return await work(stop.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

/** The result of a command: JSON for programs, or the text made for people. */
export function print(command: Command, result: object, text: string): void {
  console.log(globalsOf(command).json ? JSON.stringify(result) : text);
}

export const databaseOptions = (command: Command): DatabaseOptions => {
  const { databaseUrl } = globalsOf(command);
  return {
    root: installation().root,
    instance: 'dev',
    env: { ...process.env, ...(databaseUrl && { DATABASE_URL: databaseUrl }) },
    progress,
  };
};

/** The URL of a running database at the newest schema. */
async function readyDatabase(command: Command): Promise<string> {
  const { url } = await databaseUp(databaseOptions(command));
  await migrate(url, progress);
  return url;
}

/** What an operator asks for may take long, and Ctrl-C ends it. */
const operatorPool = (url: string): pg.Pool =>
  createPool({
    connectionString: url,
    size: 4,
    applicationName: 'waylog cli',
    statementTimeoutMs: 0,
    connectTimeoutMs: 5_000,
  });

/** Runs `work` with connections to the database as it is: it is started where needed, but not migrated. */
export async function withDatabase<T>(
  command: Command,
  work: (database: { readonly pool: pg.Pool; readonly url: string }) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  const pool = operatorPool(url);
  try {
    return await work({ pool, url });
  } finally {
    await pool.end();
  }
}

export interface LogPlace {
  /** The database; the log is in it, unless `eventStore` says that it is elsewhere. */
  readonly url: string;
  readonly eventStore?: string | undefined;
  readonly upcasters?: Upcasters;
}

/** Runs `work` with a log as it is; no projector runs. */
export async function withStore<T>(
  { url, eventStore, upcasters = flightUpcasters }: LogPlace,
  work: (store: EventStore) => Promise<T>,
): Promise<T> {
  const pool = operatorPool(url);
  const listener = new Listener(url, 'waylog cli');
  const store = await openEventStore({ eventStore, pool, listener, upcasters, onWarning: progress });
  try {
    return await work(store);
  } finally {
    await store.close();
    await listener.close();
    await pool.end();
  }
}

/** Runs `work` in a Waylog of this process; its projector helps when no server leads. */
export async function withWaylog<T>(
  command: Command,
  work: (app: INestApplicationContext, databaseUrl: string) => Promise<T>,
): Promise<T> {
  return inWaylog(await readyDatabase(command), eventStoreOf(command), true, work);
}

/**
 * As `withWaylog`, for looking at a database and mending it: nothing is migrated, and no projector runs here, so that it
 * is the state of the system that is seen. Throws `schema.behind` and `schema.newer-than-code`.
 */
export async function withOperations<T>(
  command: Command,
  work: (app: INestApplicationContext, databaseUrl: string) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  await refuseOtherSchema(url);
  return inWaylog(url, eventStoreOf(command), false, work);
}

async function inWaylog<T>(
  databaseUrl: string,
  eventStore: string | undefined,
  projector: boolean,
  work: (app: INestApplicationContext, databaseUrl: string) => Promise<T>,
): Promise<T> {
  const module = WaylogModule.forRoot({
    databaseUrl,
    eventStore,
    poolSize: 10,
    applicationName: 'waylog cli',
    projector,
  });
  const app = await NestFactory.createApplicationContext(module, {
    logger: new StderrLogger({ logLevels: ['error', 'warn'], colors: isatty(2) }),
    abortOnError: false,
  });
  try {
    return await work(app, databaseUrl);
  } finally {
    await app.close();
  }
}
