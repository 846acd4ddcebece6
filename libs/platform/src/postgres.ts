import type { EventEmitter } from 'node:events';
import { isNativeError } from 'node:util/types';
import pg from 'pg';
import { messageOf, unavailable, WaylogError } from './errors.js';
import { retry } from './retry.js';
import { endClient, keepAlive, prepareSession } from './session.js';

/** The SQLSTATEs that Waylog reacts to, by name. */
export const SqlState = {
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  adminShutdown: '57P01',
  crashShutdown: '57P02',
  cannotConnectNow: '57P03',
  ioError: '58030',
  insufficientPrivilege: '42501',
  readOnlyTransaction: '25006',
  outOfMemory: '53200',
  undefinedColumn: '42703',
  undefinedTable: '42P01',
} as const;

const transientStates: ReadonlySet<string> = new Set([
  SqlState.serializationFailure,
  SqlState.deadlockDetected,
  SqlState.lockNotAvailable,
  SqlState.queryCanceled,
  SqlState.adminShutdown,
  SqlState.crashShutdown,
  SqlState.cannotConnectNow,
  SqlState.ioError,
  SqlState.readOnlyTransaction,
]);

/**
 * A failed connection, or no more room on disk, in memory or for connections, which can become free again. A
 * limit that a statement has hit (53400) is neither.
 */
const transientClasses = /^(08|53(?!400))/;

const transientSystemCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOENT',
  'EAI_AGAIN',
]);

// node-postgres reports a lost or refused connection as a plain Error: only the text identifies it.
const lostConnection =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|Client has encountered a connection error|Cannot use a pool after calling end/;

/**
 * True for failures that can pass within a moment: a lost or refused connection, a server restart, a
 * deadlock, a time limit, a full disk, a fail-over in progress. It does not say whether the statement took
 * effect: repeat only what is harmless to repeat.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isTransient);
  // Also an error of another realm, as Node's errors are in a test.
  if (!isNativeError(error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (transientStates.has(code) || transientClasses.test(code) || transientSystemCodes.has(code)) return true;
  return lostConnection.test(error.message);
}

/**
 * True if PostgreSQL refused a value (a bad number, a violated constraint, too large): repeating does not
 * help.
 */
export const isDataError = (error: unknown): boolean => /^(22|23|54)/.test(sqlStateOf(error) ?? '');

/**
 * True if a transaction ran out of time, memory, locks ("out of shared memory") or what TimescaleDB lets it
 * decompress: half of its work may succeed. A retry shows whether that was the cause, or whether the database
 * is short of it for all sessions.
 */
export const isTooMuch = (error: unknown): boolean =>
  /^(57014|53000|53200|53400)$/.test(sqlStateOf(error) ?? '') ||
  (error instanceof Error && error.message === 'Query read timeout');

/** The SQLSTATE of an error, if a PostgreSQL server sent it. */
export const sqlStateOf = (error: unknown): string | undefined =>
  error instanceof pg.DatabaseError ? error.code : undefined;

export interface PoolOptions {
  readonly connectionString: string;
  readonly size: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  /** How long a statement may run before the server cancels it; 0 for any time. */
  readonly statementTimeoutMs: number;
  /** How long to wait for a connection, new or in use. */
  readonly connectTimeoutMs: number;
  /**
   * The age at which connections are replaced, so that none survives a fail-over or a change of its role's
   * rights; default an hour.
   */
  readonly maxAgeSeconds?: number;
  /** Every transaction is READ ONLY; default false. */
  readonly readOnly?: boolean;
  /** Called when an idle connection breaks; the pool replaces it. */
  readonly onIdleError?: (error: Error) => void;
}

/**
 * Values stay the text that PostgreSQL sent: the reader of a column knows its type, and nothing is lost in
 * conversion.
 */
export const asText: pg.CustomTypesConfig = { getTypeParser: () => (value: unknown) => value };

/** A pool whose sessions are set up as by `openSession`. */
export function createPool(options: PoolOptions): pg.Pool {
  const {
    connectionString,
    applicationName,
    statementTimeoutMs,
    connectTimeoutMs,
    maxAgeSeconds = 3_600,
  } = options;
  const prepare = (client: pg.ClientBase) =>
    prepareSession(client, {
      connectionString,
      applicationName,
      connectTimeoutMs,
      settings: {
        statement_timeout: String(statementTimeoutMs),
        ...(options.readOnly && { default_transaction_read_only: 'on' }),
      },
    });
  const pool = new pg.Pool({
    connectionString,
    max: options.size,
    application_name: applicationName,
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- the pool awaits it, which its type does not say
    onConnect: prepare,
    // The server's limit comes first. This one is for a server that no longer answers at all.
    ...(statementTimeoutMs > 0 && { query_timeout: statementTimeoutMs + 5_000 }),
    connectionTimeoutMillis: connectTimeoutMs,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: maxAgeSeconds,
    ...keepAlive,
  });
  const since = new WeakMap<pg.ClientBase, number>();
  pool.on('connect', (client) => {
    since.set(client, performance.now());
    // The pool listens while nobody uses it. One that is lost between two statements of a transaction would end the process;
    // the next statement fails.
    client.on('error', () => undefined);
    // Whatever the caller does about the refusal, this session must be closed.
    connectionOf(client).on('errorMessage', ({ code }) => {
      if (code === SqlState.readOnlyTransaction) renewSessions(pool);
    });
  });
  pool.on('release', (error: unknown, client) => {
    // The pool does not keep a session that is ending.
    if ((since.get(client) ?? 0) <= (renewedAt.get(pool) ?? -1)) endClient(client);
    // The server left one session without an answer, so the others may be dead too. Finding out would take as
    // long for each.
    else if (error instanceof Error && error.message === 'Query read timeout') dropIdle(pool);
  });
  // node-postgres removes it from the pool. Without a listener it would end the process.
  pool.on('error', (error) => options.onIdleError?.(error));
  return pool;
}

const connectionOf = (client: pg.ClientBase) =>
  (client as unknown as { connection: EventEmitter<{ errorMessage: [{ readonly code?: string }] }> })
    .connection;

const renewedAt = new WeakMap<pg.Pool, number>();

/**
 * Closes all sessions that a pool has now, those in use when they are returned. A session that began while
 * the database was read-only stays read-only, whatever the database is since.
 */
export function renewSessions(pool: pg.Pool): void {
  renewedAt.set(pool, performance.now());
  dropIdle(pool);
}

/** Why the database accepts no writes, and what to do about it; undefined if it accepts them. */
export async function whyReadOnly(pool: pg.Pool): Promise<string | undefined> {
  const ask = async () =>
    (await pool.query<{ standby: boolean; refuses: boolean; by: string }>(readOnlySql)).rows[0];
  if (!(await ask())?.refuses) return undefined;
  // Perhaps only this session is read-only, because it began before the database was writable again.
  renewSessions(pool);
  const now = await ask();
  if (!now?.refuses) return undefined;
  return now.standby
    ? 'The database is a standby (pg_is_in_recovery), which takes no writes: DATABASE_URL has to lead to the primary server. While a fail-over is under way this passes by itself.'
    : `The database takes no writes: default_transaction_read_only is on (${now.by}). Where it should take them: \`set default_transaction_read_only = off; alter database NAME reset default_transaction_read_only\`, in one session, or the same of the role or the server.`;
}

const readOnlySql = `
  select pg_is_in_recovery() as standby, current_setting('transaction_read_only')::boolean as refuses, source as by
    from pg_settings where name = 'default_transaction_read_only'`;

/** Closes the idle connections. The pool hands out an idle connection without checking the network. */
function dropIdle(pool: pg.Pool): void {
  for (let idle = pool.idleCount; idle > 0; idle--)
    pool.connect().then(
      (client) => client.release(true),
      () => undefined,
    );
}

/** Runs `work` in a transaction of this session: all of it is committed, or nothing. */
export async function inTransaction<T>(
  client: Pick<pg.ClientBase, 'query'>,
  work: () => Promise<T>,
): Promise<T> {
  await client.query('begin');
  try {
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

const half = (start: number): string =>
  `coalesce(sum(('x' || substr(h, ${start}, 16))::bit(64)::bigint::numeric), 0)`;

/**
 * The fingerprint of rows as SQL, over their md5 in a column `h`: two sums of 64 bits each. It does not
 * depend on the order of the rows and needs constant memory.
 */
export const rowsHash = {
  first: half(1),
  second: half(17),
  text: `${half(1)} || ':' || ${half(17)}`,
} as const;

/** A pool or a connection. */
export type Queryable = Pick<pg.Pool, 'query'> | Pick<pg.ClientBase, 'query'>;

export type TextRow = (string | null)[];

/**
 * Runs one read with up to three attempts on transient failures. Rows come as arrays of text. A query with a
 * name is prepared once per connection.
 */
export function readRows(
  pool: Queryable,
  name: string | undefined,
  text: string,
  values: unknown[],
): Promise<TextRow[]> {
  return databaseCall(() =>
    (pool as pg.Pool)
      .query<TextRow>({
        ...(name !== undefined && { name }),
        text,
        values,
        rowMode: 'array',
        types: asText,
      } as pg.QueryArrayConfig)
      .then(({ rows }) => rows),
  );
}

/**
 * Makes up to three attempts, with backoff, at an operation that is harmless to repeat; then throws
 * `database.unavailable`.
 */
export async function databaseCall<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await retry(operation, { attempts: 3, baseDelayMs: 100, maxDelayMs: 1_000, retryIf: isTransient });
  } catch (error) {
    throw isTransient(error) ? databaseUnavailable(error) : error;
  }
}

/**
 * Why work failed that is not retried, in a sentence for the person who asked for it: a database that accepts
 * no writes, has no room, or cannot be reached gives only the request, or nothing.
 */
export const failureOf = (error: unknown): unknown => {
  const state = sqlStateOf(error);
  if (state === SqlState.readOnlyTransaction || state === SqlState.outOfMemory)
    return databaseUnavailable(error);
  return isTransient(error)
    ? unavailable(
        'database.unavailable',
        `The database did not answer, or the connection to it was lost (${messageOf(error)}). Start this again.`,
        {},
        error,
      )
    : error;
};

/** The error that reports a failure which can pass within a moment. */
export function databaseUnavailable(cause: unknown): WaylogError {
  const said = messageOf(cause);
  const told = (code: string, detail: string) => unavailable(code, detail, {}, cause);
  const again = 'a command that may have been recorded is safe to send again with the same command id';
  switch (sqlStateOf(cause)) {
    case SqlState.readOnlyTransaction:
      return told(
        'database.read-only',
        `The database takes no writes now (${said}): it is a standby, a fail-over is under way, or somebody has made ` +
          `it read-only. Nothing was recorded. Try again in a moment; /health/ready and \`waylog doctor\` say which it is.`,
      );
    case SqlState.outOfMemory:
      return /shared memory/.test(said)
        ? told(
            'database.too-few-locks',
            `The database has run out of locks (${said}): a transaction takes one for each table, TimescaleDB chunk and index that ` +
              `it opens. Set max_locks_per_transaction of PostgreSQL higher and restart it, or have fewer chunks ` +
              `(\`waylog archive run --help\`); \`waylog doctor\` says how many it takes. Later it may go through, when others have ` +
              `let go of theirs; ${again}.`,
          )
        : told(
            'database.out-of-memory',
            `The database has no memory left for this (${said}). Give its machine more, or let it do less at a time: fewer ` +
              `connections, a lower work_mem. Try again in a moment; ${again}.`,
          );
    default:
      return told(
        'database.unavailable',
        `The database did not answer after three attempts (${said}). Try again in a moment; ${again}.`,
      );
  }
}
