import pg from 'pg';
import { unavailable } from './errors.js';

/**
 * The settings of every session of Waylog, whatever the server, the database or the role set. They are set by
 * statements after the login, not in the startup packet, which poolers do not pass on.
 */
const settings = {
  // With these, times are readable text, numbers come back to the last bit, and arrays as they were sent.
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  client_encoding: 'UTF8',
  // An append must see what was committed before it got its lock.
  default_transaction_isolation: 'read committed',
  jit: 'off',
  // Code that needs a limit sets it: a limit that an administrator set for people would end a rebuild.
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
} as const;

/**
 * Settings that depend on the server or on their present value. A block, as the role of ad-hoc SQL cannot call
 * `set_config`.
 *
 * Everything answered is on disk: `off` is raised. Stronger values stay, and so does `local`, which waits for the same
 * disk and no standby (docs/decisions/0036). Objects outside our schemas are in public, or where TimescaleDB was
 * installed.
 */
const setConditionally = `do $$
  declare
    elsewhere text := (select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
                        where e.extname = 'timescaledb' and n.nspname <> 'public');
  begin
    if current_setting('synchronous_commit') = 'off' then set synchronous_commit = 'on'; end if;
    if current_setting('server_version_num')::integer >= 170000 then set transaction_timeout = 0; end if;
    execute 'set search_path = public' || coalesce(', ' || quote_ident(elsewhere), '');
  end $$`;

const isConditionallyRight: Readonly<Record<string, (value: string) => boolean>> = {
  synchronous_commit: (value) => value !== 'off',
  // Unknown before PostgreSQL 17.
  transaction_timeout: (value) => value === '' || value === '0',
  search_path: (value) => /^public(,|$)/.test(value),
};

/**
 * With these keepalives the database server notices within half a minute that a process died, and releases its locks.
 * By default it takes two hours, in which no other process could lead a projector. Without effect on a local socket.
 */
const keepalives = { tcp_keepalives_idle: '10', tcp_keepalives_interval: '5', tcp_keepalives_count: '3' };

/** The reverse: a process notices that a database server died, in minutes instead of hours. */
export const keepAlive = { keepAlive: true, keepAliveInitialDelayMillis: 10_000 } as const;

const CONNECT_TIMEOUT_MS = 5_000;

/** Additional or different settings of a session, in the form of `set`: `{ synchronous_commit: 'off' }`. */
export type SessionSettings = Readonly<Record<string, string>>;

export interface SessionOptions {
  readonly connectionString: string;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  readonly settings?: SessionSettings;
  /** The longest that the login, and each of the first statements, can take; default 5 s. */
  readonly connectTimeoutMs?: number;
  /** The longest that this process waits for an answer; no limit by default. */
  readonly queryTimeoutMs?: number;
}

/**
 * Opens a session and checks its settings; the caller ends it. Nothing else makes a connection, except `createPool`,
 * which sets up each of its connections in the same way.
 *
 * @throws WaylogError `database.session-settings` if the session does not have the settings, and
 * `database.transaction-pooling` if a pooler gives every transaction another one
 */
export async function openSession(options: SessionOptions): Promise<pg.Client> {
  const client = await connect(options);
  try {
    await prepareSession(client, options);
    return client;
  } catch (error) {
    await endClient(client);
    throw error;
  }
}

async function connect(options: SessionOptions): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: options.connectionString,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    ...(options.queryTimeoutMs !== undefined && { query_timeout: options.queryTimeoutMs }),
    ...keepAlive,
  });
  // A lost connection fails the next query on it; without a listener it would end the process.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Sets up a new session, checks its settings, and asks which server process is at its other end: one round trip. */
export async function prepareSession(
  client: pg.ClientBase,
  options: Omit<SessionOptions, 'queryTimeoutMs'>,
): Promise<void> {
  const wanted: SessionSettings = { ...settings, ...options.settings };
  const set = [
    setConditionally,
    ...Object.entries({ ...keepalives, ...wanted }).map(
      ([name, value]) => `set ${pg.escapeIdentifier(name)} = ${literals(name, value)}`,
    ),
  ];
  const names = [...new Set([...Object.keys(wanted), ...Object.keys(isConditionallyRight)])];
  const look = `select pg_backend_pid() as pid, ${names.map((name) => `current_setting(${pg.escapeLiteral(name)}, true)`).join(', ')}`;
  const results = (await client.query({
    text: [...set, look].join('; '),
    rowMode: 'array',
    query_timeout: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
  } as pg.QueryArrayConfig)) as unknown as pg.QueryArrayResult<[number, ...string[]]>[];
  const [pid, ...values] = results.at(-1)?.rows[0] ?? [0];
  for (const [i, name] of names.entries()) {
    const is = values[i] ?? '';
    const want = wanted[name];
    const isRight = want === undefined ? isConditionallyRight[name]?.(is) : isSame(is, want);
    if (!isRight) throw wrongSetting(name, is, want);
  }
  backends.set(client, pid);
  if (isPooled(client)) await refuseTransactionPooling(client, pid, options);
}

/** In `set`, a list such as that of DateStyle is one value for each of its items. */
const literals = (name: string, value: string): string =>
  (name === 'DateStyle' || name === 'search_path' ? value.split(', ') : [value])
    .map(pg.escapeLiteral)
    .join(', ');

/** PostgreSQL shows durations with a unit: 30000 is `30s`. */
const isSame = (is: string, wanted: string): boolean => is === wanted || milliseconds(is) === Number(wanted);

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

const milliseconds = (text: string): number | undefined => {
  const [, number, unit] = /^(\d+)(ms|s|min|h|d)$/.exec(text) ?? [];
  return unit === undefined ? undefined : Number(number) * (UNITS[unit] ?? NaN);
};

const wrongSetting = (name: string, is: string, wanted = 'another value') =>
  unavailable(
    'database.session-settings',
    `A session of the database has ${name} ${is} right after it was set to ${wanted}, on which it rests that times and numbers ` +
      `are read rightly, and that what is answered is kept. Nothing is done with it. See what is between Waylog and PostgreSQL (docs/how-to/poolers.md).`,
    { setting: name, value: is },
  );

const backends = new WeakMap<pg.ClientBase, number>();

/**
 * The server's process behind a session, as pg_stat_activity shows it. Behind a pooler the driver has another number.
 */
export const backendOf = (client: pg.ClientBase): number | undefined => backends.get(client);

/** Whether a pooler is in between: a server reports its own process at the login, a pooler invents a number. */
export const isPooled = (client: pg.ClientBase): boolean =>
  (client as unknown as { processID: number }).processID !== backendOf(client);

/** Places that are known to keep a session together. */
const looked = new Map<string, Promise<void>>();

/** Asked once per process, or until it succeeds. */
async function refuseTransactionPooling(
  client: pg.ClientBase,
  pid: number,
  options: Omit<SessionOptions, 'queryTimeoutMs'>,
): Promise<void> {
  const { connectionString } = options;
  let look = looked.get(connectionString);
  if (!look) {
    look = lookForTransactionPooling(client, pid, options);
    looked.set(connectionString, look);
    look.catch(() => looked.delete(connectionString));
  }
  await look;
}

/** A pooler hands out any free server connection, so this takes a few tries, in case other sessions interfere. */
const TRIES = 10;

/**
 * A session without an open transaction keeps its server connection, unless the pooler gives it to others. So a second
 * session begins a transaction: it gets that very connection, or the first session ends up on another one.
 */
async function lookForTransactionPooling(
  client: pg.ClientBase,
  pid: number,
  { connectionString, applicationName, connectTimeoutMs = CONNECT_TIMEOUT_MS }: SessionOptions,
): Promise<void> {
  const ask = async (session: pg.ClientBase, text: string) => {
    const query = { text, query_timeout: connectTimeoutMs } as pg.QueryConfig;
    return (await session.query<{ pid: number }>(query)).rows[0]?.pid;
  };
  const pidSql = 'select pg_backend_pid() as pid';
  const other = await connect({ connectionString, applicationName, connectTimeoutMs });
  try {
    for (let i = 0; i < TRIES; i++) {
      // A pooler that goes round its connections shows it here; one that takes the last one used, in the next statement.
      for (const _ of ['one', 'another']) if ((await ask(client, pidSql)) !== pid) throw transactionPooling();
      await ask(other, 'begin').catch((error: unknown) => {
        throw /statement pooling/.test(String(error)) ? transactionPooling(error) : error;
      });
      if ((await ask(other, pidSql)) === pid || (await ask(client, pidSql)) !== pid)
        throw transactionPooling();
      await ask(other, 'rollback');
    }
  } finally {
    await endClient(other);
  }
}

const transactionPooling = (cause?: unknown) =>
  unavailable(
    'database.transaction-pooling',
    'The pooler before the database gives every transaction another session (pool_mode=transaction), and Waylog needs one that ' +
      'stays: for its settings, prepared statements, LISTEN and the advisory locks by which one process leads. Give Waylog a ' +
      'pool with pool_mode=session, or the address of PostgreSQL itself (docs/how-to/poolers.md).',
    { retryAfterSeconds: 30 },
    cause,
  );

/** A server that stopped answering never closes a connection; after this long it is cut. */
const END_GRACE_MS = 2_000;

/** Ends a connection, by force if necessary: a stop must not wait for a database that no longer answers. */
export async function endClient(client: pg.Client): Promise<void> {
  const ended = client.end().catch(() => undefined);
  const cut = setTimeout(() => {
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }, END_GRACE_MS);
  await ended;
  clearTimeout(cut);
}
