import { userInfo } from 'node:os';
import { isatty } from 'node:tty';
import { ConsoleLogger, type INestApplicationContext, type LogLevel } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Command } from 'commander';
import type pg from 'pg';
import { DataKeys, openEventStore, type EventStore } from '#lib/event-store';
import {
  UsageError,
  DATABASE_ACCESS,
  Opened,
  WaylogModule,
  vocabularyOf,
  type SomeTables,
  namesOfTables,
  tablesCalled,
  tablesNamed,
} from '#lib/waylog';
import {
  asTyped,
  createPool,
  endClient,
  isEventStoreUrl,
  isPostgresUrl,
  Listener,
  installation,
  messageOf,
  openSession,
  readSettings,
  readWebhookNetworks,
  repeatedParameter,
  visible,
} from '#lib/platform';
import { backUp, recipientsOf, type FindTool } from '#lib/backup';
import { databaseUp, serverTool, stepDown, type DatabaseAccess, type DatabaseOptions } from '#lib/timescale';
import { backupFirst, mayMigrate, migrate, refuseOtherSchema } from '../../../migrations/index.js';
import { projectFolder } from './application.js';
import { connectionString } from './connection-strings.js';
import { withSteps } from './progress-bar.js';
import { contexts } from '../../contexts.js';

export { UsageError };

/** Warnings are for people: standard output is for results alone. */
class StderrLogger extends ConsoleLogger {
  protected override resolveMessage(message: unknown): unknown {
    const said: unknown = super.resolveMessage(message);
    return typeof said === 'string' ? visible(said) : said;
  }

  protected override printMessages(messages: unknown[], context?: string, level?: LogLevel): void {
    super.printMessages(messages, context, level, 'stderr');
  }
}

export interface GlobalOptions {
  readonly databaseUrl?: string;
  readonly eventStore?: string;
  readonly json?: boolean;
}

/** The options of every command. Throws UsageError for a password on the command line, and a URL that can be read in two ways. */
export function globalsOf(command: Command): GlobalOptions {
  const { databaseUrl, eventStore, json } = command.optsWithGlobals<GlobalOptions>();
  const given = (name: string, option: string, value: string | undefined) =>
    value && command.getOptionValueSourceWithGlobals(name) === 'cli'
      ? connectionString(option, value)
      : value;
  const url = given('databaseUrl', '--database-url', databaseUrl);
  const repeated = url === undefined ? undefined : repeatedParameter(url);
  if (repeated !== undefined) throw new UsageError(`DATABASE_URL (or --database-url) ${repeated}.`);
  const log = given('eventStore', '--event-store', eventStore);
  return { ...(url && { databaseUrl: url }), ...(log && { eventStore: log }), ...(json && { json }) };
}

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

/** A text for people: ids, names and errors in it may come from anywhere, and a terminal obeys some of it. */
export const forPeople = (text: string): string => asTyped(visible(text));

/** Progress is for people: it never mixes with a result on standard output. */
export const progress = (line: string): void => console.error(forPeople(line));

/** The names of all tables. */
export const tableNames = (): string[] => [...namesOfTables(contexts).keys()];

/** How all tables of a context are named. */
const orContexts =
  contexts.length > 1 ? `; all of a context are ${contexts.map(({ name }) => name).join(' or ')}` : '';

/** What names tables on the command line. */
export const whichTables = (): string =>
  `which: ${tableNames().join(', ')}${orContexts}; all of them when none is named`;

/** The tables of these names, by context; all of them for no name. Throws UsageError. */
export function projectionsNamed(wanted: readonly string[]): readonly SomeTables[] {
  const unknown = wanted.filter((name) => !tablesCalled(contexts, name));
  if (unknown.length > 0)
    throw new UsageError(
      `There is no projection ${unknown.join(', ')}. There are ${tableNames().join(', ')}${orContexts}.`,
    );
  return tablesNamed(contexts, wanted);
}

/** The name of a table as it is shown. */
export const shownName = ({ projector, projection }: { projector: string; projection: string }): string =>
  contexts.length > 1 ? `${projector}.${projection}` : projection;

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
  console.log(globalsOf(command).json ? visible(JSON.stringify(result)) : forPeople(text));
}

export const databaseOptions = (command: Command): DatabaseOptions => {
  const { databaseUrl } = globalsOf(command);
  return {
    root: projectFolder(),
    instance: 'dev',
    env: { ...process.env, ...(databaseUrl && { DATABASE_URL: databaseUrl }) },
    progress,
  };
};

/** Whom backups are encrypted for: what an option says, or else the variable. Throws UsageError. */
export function recipientsFor(given?: readonly string[]): string[] {
  try {
    return recipientsOf(given?.join(',') ?? process.env['WAYLOG_BACKUP_RECIPIENTS'] ?? '');
  } catch (error) {
    throw new UsageError(`${given ? '--recipient' : 'WAYLOG_BACKUP_RECIPIENTS'}: ${messageOf(error)}`);
  }
}

export const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: projectFolder(), env: process.env });

/**
 * What is done before migrations that rewrite something: a backup into that folder, or else into WAYLOG_BACKUP_DIR. Throws
 * `migration.backup-first` where neither is named.
 */
export const backUpBefore =
  (url: string, folder = process.env['WAYLOG_BACKUP_DIR']) =>
  async (what: string): Promise<string> => {
    if (!folder)
      throw backupFirst(
        what,
        'Name a folder for a backup first: `waylog migrate --backup FOLDER`, or WAYLOG_BACKUP_DIR. If you have one (`waylog backup --to FOLDER`, `waylog backup verify FILE`), or want none: `waylog migrate --no-backup`.',
      );
    const { file } = await untilInterrupted((signal) =>
      withSteps('bytes', (onProgress) =>
        backUp({
          url,
          to: `${folder.replace(/\/+$/, '')}/`,
          findTool,
          recipients: recipientsFor(),
          waylog: installation().version,
          signal,
          onProgress,
        }),
      ),
    );
    return file;
  };

/** The URL of a running database at the newest schema: brought there by its owner, asked of it by others. */
async function readyDatabase(command: Command): Promise<string> {
  const { url } = await databaseUp(databaseOptions(command));
  if (await mayMigrate(url)) await migrate(url, { progress, contexts, onRewriting: backUpBefore(url) });
  else await refuseOtherSchema(url);
  return url;
}

/** As whom to work on a database. */
export const accessTo = (databaseUrl: string): Promise<DatabaseAccess> =>
  stepDown({ databaseUrl, projectorUrl: projectorUrl() });

/** Who keeps the tables, where DATABASE_URL is the application role's. Throws UsageError for what is no URL. */
function projectorUrl(): string | undefined {
  const url = process.env['WAYLOG_PROJECTOR_URL'];
  if (!url) return undefined;
  if (isPostgresUrl(url)) return url;
  throw new UsageError('WAYLOG_PROJECTOR_URL takes postgres://user:password@host:5432/database.');
}

/** Runs `work` in a session of whoever the URL logs in as. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog cli' });
  try {
    return await work(client);
  } finally {
    await endClient(client);
  }
}

/** What an operator asks for may take long, and Ctrl-C ends it. */
export const operatorPool = (url: string): pg.Pool =>
  createPool({
    connectionString: url,
    size: 4,
    applicationName: 'waylog cli',
    statementTimeoutMs: 0,
    connectTimeoutMs: 5_000,
  });

/**
 * Runs `work` with connections to the database as it is, as the role that keeps the tables: it is started where needed, but
 * not migrated.
 */
export async function withDatabase<T>(
  command: Command,
  work: (database: { readonly pool: pg.Pool }) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  const { projector } = await accessTo(url);
  const pool = operatorPool(projector.url);
  try {
    return await work({ pool });
  } finally {
    await pool.end();
  }
}

/**
 * As `withDatabase`, in the role that appends and reads the log, which is also the one that keeps keys. The schema must be the
 * newest.
 */
export async function withApplicationRole<T>(
  command: Command,
  work: (pool: pg.Pool) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  await refuseOtherSchema(url);
  const { app } = await accessTo(url);
  const pool = operatorPool(app.url);
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

export interface LogPlace {
  /** The database; the log is in it, unless `eventStore` says that it is elsewhere. */
  readonly url: string;
  readonly eventStore?: string | undefined;
  /** Events as they were written: of whatever version, and what is sealed stays sealed. */
  readonly isRaw?: boolean;
}

/** Runs `work` with a log as it is; no projector runs. */
export async function withStore<T>(
  { url, eventStore, isRaw = false }: LogPlace,
  work: (store: EventStore) => Promise<T>,
): Promise<T> {
  // Elsewhere the database has only snapshots, and need not be there at all.
  const app = eventStore === undefined || !isRaw ? (await accessTo(url)).app.url : url;
  const pool = operatorPool(app);
  const listener = new Listener(app, 'waylog cli');
  const store = await openEventStore({
    eventStore,
    pool,
    listener,
    vocabulary: vocabularyOf(contexts),
    onWarning: progress,
    ...(!isRaw && { keys: new DataKeys(pool) }),
  });
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
  work: (app: INestApplicationContext) => Promise<T>,
): Promise<T> {
  return inWaylog(await readyDatabase(command), eventStoreOf(command), true, work);
}

/**
 * As `withWaylog`, for looking at a database and mending it: nothing is migrated, and no projector runs here, so that it
 * is the state of the system that is seen. `tablesUrl` is that of the role that keeps the tables. Throws `schema.behind` and
 * `schema.newer-than-code`.
 */
export async function withOperations<T>(
  command: Command,
  work: (app: INestApplicationContext, tablesUrl: string) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  await refuseOtherSchema(url);
  return inWaylog(url, eventStoreOf(command), false, work);
}

async function inWaylog<T>(
  databaseUrl: string,
  eventStore: string | undefined,
  projector: boolean,
  work: (app: INestApplicationContext, tablesUrl: string) => Promise<T>,
): Promise<T> {
  const opened = new Opened();
  const module = WaylogModule.forRoot({
    databaseUrl,
    opened,
    projectorUrl: projectorUrl(),
    eventStore,
    poolSize: 10,
    applicationName: 'waylog cli',
    projector,
    reactors: false,
    waitForLog: false,
    contexts,
    settings: readSettings(process.env, contexts),
    webhookNetworks: readWebhookNetworks(process.env),
  });
  const app = await opened.orClose(
    NestFactory.createApplicationContext(module, {
      logger: new StderrLogger({ logLevels: ['error', 'warn'], colors: isatty(2) }),
      abortOnError: false,
    }),
  );
  try {
    return await work(app, app.get<DatabaseAccess>(DATABASE_ACCESS).projector.url);
  } finally {
    await app.close();
  }
}
