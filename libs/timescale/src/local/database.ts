import { access, constants, readdir, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';

import type { ClientBase } from 'pg';

import { withoutSecrets } from '#lib/platform';

import type { Edition } from '../capabilities.js';
import { aptUnusable } from './apt.js';
import { treeAt } from './binaries.js';
import { chooseSource, type Source } from './choose.js';
import { connected } from './connect.js';
import { DatabaseError, reasonOf } from './database-error.js';
import {
  type Command,
  deleteDocker,
  dockerLog,
  dockerTool,
  dockerUnusable,
  isRunning,
  startDocker,
  stopDocker,
} from './docker.js';
import { makeFolder } from './files.js';
import { checkUrl, factsOf, withoutPassword } from './external.js';
import {
  type Instance,
  type InstanceRecord,
  instanceFolder,
  lockOf,
  readRecord,
  urlOf,
  dataOf,
  logOf,
} from './instance.js';
import { withLock } from './lock.js';
import { runningPid } from './postmaster.js';
import { deletePrivate, startPrivate, stopPrivate, type StopMode } from './private-server.js';
import type { Progress } from './progress.js';
import { libpqEnv } from './server-tool.js';

export interface DatabaseOptions extends Instance {
  /** Usually `process.env`: DATABASE_URL, XDG_CACHE_HOME, PATH and what Docker reads. */
  readonly env: NodeJS.ProcessEnv;
  /** Called with progress messages, line by line. */
  readonly progress?: Progress;
  /** Stops a download or an unpacking; what is complete by then is kept. */
  readonly signal?: AbortSignal | undefined;
}

/** A TimescaleDB that takes connections. */
export interface Database {
  readonly source: Source;
  /** `postgres://user:password@host:port/database`. The role is a superuser unless `source` is `url`. */
  readonly url: string;
  /**
   * Whether `databaseDown`, `databaseKill` and `databaseReset` work: false for a server that Waylog does not manage.
   */
  readonly stoppable: boolean;
  /**
   * Where the server logs: a file, or the command that shows it; undefined for a server that Waylog does not manage.
   */
  readonly log: string | undefined;
}

/** What `waylog db status` shows. */
export interface DatabaseStatus {
  /** Undefined if the instance has not been created yet. */
  readonly source: Source | undefined;
  readonly running: boolean;
  /** Without its password. */
  readonly url?: string;
  readonly pid?: number;
  readonly port?: number;
  /** Such as `17.11 (Debian 17.11-0+deb13u1)`. */
  readonly postgresql?: string;
  /** The version in the database, or the one that the migrations will create. */
  readonly timescaledb?: string;
  readonly edition?: Edition;
  /** Private server: everything in the data folder, with the log of changes (WAL); otherwise the databases. */
  readonly dataBytes?: number;
  readonly dataFolder?: string;
  readonly log?: string;
  /** Why some of this is missing for a running server. */
  readonly trouble?: string;
}

/**
 * Makes sure that the instance's database runs and accepts connections, by the first way that applies: DATABASE_URL,
 * Docker, a private server from Debian's packages. Idempotent, and safe if several processes do it at once. The server
 * outlives the caller. The migrations create the extension itself.
 *
 * @throws DatabaseError with the code and a sentence that says what, why and what to do
 */
export async function databaseUp(options: DatabaseOptions): Promise<Database> {
  const url = options.env['DATABASE_URL'];
  if (url) {
    await checkUrl(url);
    return { source: 'url', url, stoppable: false, log: undefined };
  }
  return locked(options, async (record) => describe(options, await up(options, record, record?.source)));
}

/**
 * Stops the instance's server and keeps its data.
 *
 * @returns false if it did not run
 */
export const databaseDown = (options: DatabaseOptions): Promise<boolean> => databaseKill(options, 'fast');

/**
 * Stops the instance's server: `fast` cleanly, `immediate` as if it had crashed (the next start recovers from the
 * write-ahead log). Returns when the server has ended.
 *
 * @returns false if it did not run
 */
export async function databaseKill(options: DatabaseOptions, mode: StopMode): Promise<boolean> {
  mustBeOurs(options);
  return locked(options, async (record) => record !== undefined && stop(options, record, mode));
}

/**
 * Stops the instance's server, deletes all its data and starts it empty. The way is chosen again; port and password
 * stay if it is the same one.
 */
export async function databaseReset(options: DatabaseOptions): Promise<Database> {
  mustBeOurs(options);
  return locked(options, async (record) => {
    if (record?.source === 'docker') await deleteDocker(options, record, options.env);
    if (record?.source === 'private') {
      await stopPrivate(record, 'immediate');
      await deletePrivate(record);
    }
    return describe(options, await up(options, record, undefined));
  });
}

/** Describes the instance's database. Starts nothing, and does not fail if the database is down. */
export async function databaseStatus(options: DatabaseOptions): Promise<DatabaseStatus> {
  const external = options.env['DATABASE_URL'];
  if (external) return { source: 'url', url: withoutPassword(external), ...(await asked(external, true)) };
  const record = await readRecord(options);
  if (!record) return { source: undefined, running: false };
  const url = urlOf(record);
  const base = { source: record.source, url: withoutPassword(url), port: record.port };
  if (record.source === 'docker') {
    const running = await isRunning(options, record, options.env).catch(() => false);
    return { ...base, running, log: dockerLog(options), ...(running && (await asked(url, true))) };
  }
  const pid = await runningPid(record);
  return {
    ...base,
    running: pid !== undefined,
    dataFolder: dataOf(record),
    dataBytes: await sizeOf(dataOf(record)),
    log: logOf(record),
    ...(pid !== undefined && { pid, ...(await asked(url, false)), running: true }),
  };
}

/**
 * The names of the programs that have a session on the instance's server, each once. Empty if the server cannot be
 * asked.
 */
export async function databaseUsers(options: DatabaseOptions): Promise<string[]> {
  const record = await readRecord(options);
  if (!record) return [];
  try {
    return await connected(urlOf(record), async (client) => {
      const { rows } = await client.query<{ name: string }>(
        `select distinct application_name as name from pg_stat_activity
          where backend_type = 'client backend' and pid <> pg_backend_pid() order by 1`,
      );
      return rows.map(({ name }) => name || 'a program without a name');
    });
  } catch {
    // If the server does not answer, there are no sessions to warn of.
    return [];
  }
}

/** How to open `psql` on the instance's database. */
export const psqlCommand = (options: DatabaseOptions, args: readonly string[] = []): Promise<Command> =>
  toolCommand(options, 'psql', args);

/**
 * How to run one of PostgreSQL's own programs (`psql`, `pg_dump`, `pg_restore`, `pgbench`, ...) against the instance's
 * database. The password is passed by environment, so that no process list shows it. With Docker the program runs in
 * the container, so paths in `args` are the container's: use standard input and output.
 *
 * @throws DatabaseError `database.instance` if the instance has not been created yet
 */
export async function toolCommand(
  options: DatabaseOptions,
  tool: string,
  args: readonly string[] = [],
): Promise<Command> {
  const external = options.env['DATABASE_URL'];
  if (external)
    return { program: tool, args: [...args], env: { ...withoutSecrets(options.env), ...libpqEnv(external) } };
  const record = await readRecord(options);
  if (!record) {
    throw new DatabaseError('database.instance', {
      what: `There is no database instance '${options.instance}'.`,
      why: `It has never been started from ${options.root}.`,
      todo: 'Run `waylog db up` first.',
    });
  }
  if (record.source === 'docker') return dockerTool(options, record, tool, args, options.env);
  const env = { ...withoutSecrets(options.env), ...libpqEnv(urlOf(record)) };
  return { program: join(treeAt(record.tree).bin, tool), args: [...args], env };
}

async function up(
  options: DatabaseOptions,
  record: InstanceRecord | undefined,
  madeBy: InstanceRecord['source'] | undefined,
): Promise<InstanceRecord> {
  const { env, signal, progress = () => undefined } = options;
  const source = await chooseSource(
    { databaseUrl: undefined, madeBy },
    { docker: () => dockerUnusable(options, env), private: aptUnusable },
  );
  if (source === 'docker') {
    return startDocker(options, record?.source === 'docker' ? record : undefined, { env, progress, signal });
  }
  return startPrivate(options, record?.source === 'private' ? record : undefined, { env, progress, signal });
}

function stop(options: DatabaseOptions, record: InstanceRecord, mode: StopMode): Promise<boolean> {
  return record.source === 'docker'
    ? stopDocker(options, record, mode, options.env)
    : stopPrivate(record, mode);
}

function describe(of: Instance, record: InstanceRecord): Database {
  const log = record.source === 'docker' ? dockerLog(of) : logOf(record);
  return { source: record.source, url: urlOf(record), stoppable: true, log };
}

/** Runs `work` on the instance's record while no other process works on the instance. */
async function locked<T>(
  options: DatabaseOptions,
  work: (record: InstanceRecord | undefined) => Promise<T>,
): Promise<T> {
  await mustBeWritable(options);
  return withLock(lockOf(options), async () => work(await readRecord(options)), {
    signal: options.signal,
    onWait: (pid) =>
      options.progress?.(`[db] waiting for process ${pid}, which is at work on ${instanceFolder(options)}`),
  });
}

async function mustBeWritable(of: Instance): Promise<void> {
  const folder = instanceFolder(of);
  try {
    await makeFolder(folder);
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new DatabaseError(
      'database.instance',
      {
        what: `The database instance '${of.instance}' of ${of.root} cannot be handled by ${userInfo().username}.`,
        why: `${folder}: ${reasonOf(error)}`,
        todo: 'Run this as the user who made it, or from a checkout of your own, or set DATABASE_URL.',
      },
      { cause: error },
    );
  }
}

function mustBeOurs(options: DatabaseOptions): void {
  const url = options.env['DATABASE_URL'];
  if (!url) return;
  throw new DatabaseError('database.instance', {
    what: `The server at DATABASE_URL (${withoutPassword(url)}) is not ours to stop or to empty.`,
    why: 'DATABASE_URL names a server that somebody else runs.',
    todo: 'Stop it where it was started, or unset DATABASE_URL to handle the instance of this checkout.',
  });
}

type Answers = Pick<
  DatabaseStatus,
  'running' | 'postgresql' | 'timescaledb' | 'edition' | 'dataBytes' | 'trouble'
>;

async function asked(url: string, withSize: boolean): Promise<Answers> {
  try {
    return await connected(url, async (client) => {
      const { postgresql, installed, available } = await factsOf(client);
      const timescaledb = installed ?? available;
      const edition = await editionOf(client, timescaledb);
      return {
        running: true,
        postgresql,
        ...(timescaledb !== null && { timescaledb }),
        ...(edition && { edition }),
        ...(withSize && { dataBytes: await databasesSize(client) }),
      };
    });
  } catch (error) {
    return { running: false, trouble: reasonOf(error) };
  }
}

/** The setting comes with the library, which is loaded where the extension is; elsewhere a superuser can load it. */
async function editionOf(client: ClientBase, version: string | null): Promise<Edition | undefined> {
  const query = `select current_setting('timescaledb.license', true) as license`;
  const ask = async () => (await client.query<{ license: string | null }>(query)).rows[0]?.license;
  let license = await ask();
  if (!license && version !== null && /^[\w.-]+$/.test(version)) {
    await client.query(`load '$libdir/timescaledb-${version}'`).catch(() => undefined);
    license = await ask();
  }
  return license === 'apache' || license === 'timescale' ? license : undefined;
}

async function databasesSize(client: ClientBase): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>(
    `select coalesce(sum(pg_database_size(oid)), 0) as bytes from pg_database where has_database_privilege(oid, 'connect')`,
  );
  return Number(rows[0]?.bytes ?? 0);
}

/** Files can appear and disappear meanwhile. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        (s) => s.size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
