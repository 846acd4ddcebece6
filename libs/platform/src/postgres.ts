import pg from 'pg';
import { messageOf, unavailable, WaylogError } from './errors.js';
import { retry } from './retry.js';

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
]);

/**
 * A connection that failed; and no more room, on disk, in memory or for connections, which comes back when somebody makes
 * some. A limit that a statement has run into (53400) is none of those.
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

// node-postgres reports a lost or refused connection as a plain Error; the text is all there is to know it by.
const lostConnection =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|Client has encountered a connection error|Cannot use a pool after calling end/;

/**
 * True for failures that may be gone a moment later: a lost or refused connection, a server that restarts, a deadlock,
 * a time limit, a full disk. It says nothing about whether the statement took effect: only what is harmless when repeated may be.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isTransient);
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (transientStates.has(code) || transientClasses.test(code) || transientSystemCodes.has(code)) return true;
  return lostConnection.test(error.message);
}

/** True when PostgreSQL refused a value (a bad number, a broken constraint, too large): repeating will not help. */
export const isDataError = (error: unknown): boolean => /^(22|23|54)/.test(sqlStateOf(error) ?? '');

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
  /** How long to wait for a connection, be it a new one or one that is in use. */
  readonly connectTimeoutMs: number;
  /** Told when a connection breaks that nobody uses; the pool replaces it. */
  readonly onIdleError?: (error: Error) => void;
}

/** Connections are made anew after this long, so that none outlives a fail-over or a change of its role's rights. */
const MAX_CONNECTION_AGE_SECONDS = 3_600;

/**
 * What every session of Waylog has in common. Time zone and style make timestamps readable as text. By its keepalives the
 * database server finds within half a minute that a process has gone without a word, and lets go of its locks: after two
 * hours otherwise, in which no other process could lead a projector.
 */
export const sessionOptions =
  '-c timezone=UTC -c datestyle=ISO -c default_transaction_isolation=read\\ committed -c jit=off ' +
  '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3';

/** And the other way round: a process finds that a database server has gone, in minutes instead of hours. */
export const keepAlive = { keepAlive: true, keepAliveInitialDelayMillis: 10_000 } as const;

/** Values stay the text that PostgreSQL sent: whoever reads a column knows its type, and nothing is lost on the way. */
export const asText: pg.CustomTypesConfig = { getTypeParser: () => (value: unknown) => value };

export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    max: options.size,
    application_name: options.applicationName,
    options: sessionOptions,
    statement_timeout: options.statementTimeoutMs,
    // The server's limit comes first; this one is for a server that no longer answers at all.
    ...(options.statementTimeoutMs > 0 && { query_timeout: options.statementTimeoutMs + 5_000 }),
    connectionTimeoutMillis: options.connectTimeoutMs,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: MAX_CONNECTION_AGE_SECONDS,
    ...keepAlive,
  });
  // The server has left one without an answer, so the others may be dead as well: each would cost as long to find out.
  pool.on('release', (error: unknown) => {
    if (error instanceof Error && error.message === 'Query read timeout') dropIdle(pool);
  });
  // node-postgres takes it out of the pool; without a listener it would end the process.
  pool.on('error', (error) => options.onIdleError?.(error));
  return pool;
}

/** Closes the connections that nobody uses. Asking for one gets an idle one, without a look at the network. */
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
 * The fingerprint of rows as SQL, over their md5 in a column `h`: two sums of 64 bits of each, so the same whatever their
 * order, in constant memory.
 */
export const rowsHash = {
  first: half(1),
  second: half(17),
  text: `${half(1)} || ':' || ${half(17)}`,
} as const;

/** A server that has gone silent never closes a connection; after this long it is cut. */
const END_GRACE_MS = 2_000;

/** Ends a connection, in the end by force: a stop must not wait for a database that no longer answers. */
export async function endClient(client: pg.Client): Promise<void> {
  const ended = client.end().catch(() => undefined);
  const cut = setTimeout(() => {
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }, END_GRACE_MS);
  await ended;
  clearTimeout(cut);
}

/** A pool, or one connection. */
export type Queryable = Pick<pg.Pool, 'query'> | Pick<pg.ClientBase, 'query'>;

export type TextRow = (string | null)[];

/**
 * Runs one read with up to three attempts on transient failures; rows come as arrays of text. With a name it is prepared
 * once a connection.
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

/** Three attempts with backoff for an operation that is harmless when repeated; then `database.unavailable`. */
export async function databaseCall<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await retry(operation, { attempts: 3, baseDelayMs: 100, maxDelayMs: 1_000, retryIf: isTransient });
  } catch (error) {
    throw isTransient(error) ? databaseUnavailable(error) : error;
  }
}

export const databaseUnavailable = (cause: unknown): WaylogError =>
  unavailable(
    'database.unavailable',
    `The database did not answer after three attempts (${messageOf(cause)}). Try again in a moment; a command ` +
      `that may have been recorded is safe to send again with the same command id.`,
    {},
    cause,
  );
