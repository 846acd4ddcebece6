import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import pg from 'pg';
import { FlightDatabase, type CommandResult, type FlightCommand, flight } from '#lib/flight';
import { EVENT_STORE, WaylogModule, type WaylogOptions } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { roleNames } from '#lib/timescale';
import { migrate } from '../migrations/index.js';
import type { Figure } from './measure.js';

/** One of the programs behind `npm run bench -- NAME`. */
export interface Benchmark {
  /** Its targets are promises: a run that misses one ends with 1. */
  readonly isPromised?: boolean;
  /** What it measures, in a line, for --help and the report. */
  readonly about: string;
  /** Takes many minutes: runs only by name, or with --long. */
  readonly long?: boolean;
  run(bench: Bench): Promise<Figure[]>;
}

/** What a benchmark gets. */
export interface Bench {
  /** An empty database on the server of the benchmarks, migrated by default. Dropped at the end. */
  readonly database: (options?: { migrated?: boolean }) => Promise<string>;
  /** The server's address, with a database that stays from run to run. */
  readonly serverUrl: string;
  /** Waylog in this process. Closed at the end. */
  readonly waylog: (
    url: string,
    options?: Omit<WaylogOptions, 'databaseUrl' | 'contexts'>,
  ) => Promise<InProcess>;
  /** Called when the benchmark is over, the last first. */
  readonly atEnd: (work: () => Promise<unknown>) => void;
  /** How often each measurement is repeated, the systems in turn. */
  readonly rounds: number;
  /** How long one measurement of a rate lasts. */
  readonly seconds: number;
  readonly say: (line: string) => void;
}

export interface InProcess {
  readonly execute: (command: FlightCommand) => Promise<CommandResult>;
  readonly database: FlightDatabase;
  readonly pool: pg.Pool;
  readonly store: EventStore;
  readonly app: Awaited<ReturnType<typeof NestFactory.createApplicationContext>>;
  readonly close: () => Promise<void>;
}

/** Runs one benchmark and cleans up after it, also when it fails. */
export async function runBenchmark(
  benchmark: Benchmark,
  options: Pick<Bench, 'serverUrl' | 'rounds' | 'seconds' | 'say'>,
): Promise<Figure[]> {
  const ends: (() => Promise<unknown>)[] = [];
  const atEnd: Bench['atEnd'] = (work) => void ends.unshift(work);
  try {
    return await benchmark.run({
      ...options,
      atEnd,
      database: async ({ migrated = true } = {}) => {
        const name = `waylog_bench_${process.pid}_${ends.length}`;
        await sql(options.serverUrl, `create database ${name}`);
        atEnd(async () => {
          await sql(options.serverUrl, `drop database ${name} with (force)`);
          await sql(options.serverUrl, `drop role if exists ${roleNames(name).join(', ')}`);
        });
        const url = urlOf(options.serverUrl, name);
        if (migrated) await migrate(url);
        return url;
      },
      waylog: async (url, settings = {}) => {
        const waylog = await inProcess(url, settings);
        atEnd(waylog.close);
        return waylog;
      },
    });
  } finally {
    for (const end of ends) await end();
  }
}

async function inProcess(
  url: string,
  settings: Omit<WaylogOptions, 'databaseUrl' | 'contexts'>,
): Promise<InProcess> {
  const app = await NestFactory.createApplicationContext(
    WaylogModule.forRoot({ databaseUrl: url, contexts: [flight], ...settings }),
    { logger: ['error', 'warn'] },
  );
  const commands = app.get(CommandBus);
  // The owner's: benchmarks empty tables.
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  let closing: Promise<void> | undefined;
  return {
    app,
    execute: (command) => commands.execute(command),
    database: app.get(FlightDatabase),
    pool,
    store: app.get<EventStore>(EVENT_STORE),
    close: () => (closing ??= Promise.all([app.close(), pool.end()]).then(() => undefined)),
  };
}

/** The address of another database on the same server. */
export function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Runs one statement on a separate connection. */
export async function sql<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}
