import pg from 'pg';
import { unavailable } from './errors.js';

/**
 * What every session of Waylog is set to, whatever the server, the database or the role say. They are set with statements
 * after the login and not in the startup packet, which poolers do not pass on.
 */
const settings = {
  // By these, times are text that can be read, numbers come back to the last bit, and arrays as they were sent.
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  client_encoding: 'UTF8',
  // An append sees what was committed before it got its lock.
  default_transaction_isolation: 'read committed',
  jit: 'off',
  // Whoever wants a limit says so: one that somebody has set for people would end a rebuild.
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
} as const;

/**
 * What depends on the server, or on what the setting is. A block, as the role of ad-hoc SQL may not call `set_config`.
 *
 * What was answered is on the disk: `off` is raised. Stronger ones stay, and so does `local`, which waits for the same disk and
 * no standby (docs/decisions/0036). What is in no schema of ours is in public, or where TimescaleDB was installed.
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
  // Not known before PostgreSQL 17.
  transaction_timeout: (value) => value === '' || value === '0',
  search_path: (value) => /^public(,|$)/.test(value),
};

/**
 * By its keepalives the database server finds within half a minute that a process has gone without a word, and lets go of its
 * locks: after two hours otherwise, in which no other process could lead a projector. Without meaning on a local socket.
 */
const keepalives = { tcp_keepalives_idle: '10', tcp_keepalives_interval: '5', tcp_keepalives_count: '3' };

/** And the other way round: a process finds that a database server has gone, in minutes instead of hours. */
export const keepAlive = { keepAlive: true, keepAliveInitialDelayMillis: 10_000 } as const;

const CONNECT_TIMEOUT_MS = 5_000;

/** Further settings of a session, or others than usual, as `set` takes them: `{ synchronous_commit: 'off' }`. */
export type SessionSettings = Readonly<Record<string, string>>;

export interface SessionOptions {
  readonly connectionString: string;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  readonly settings?: SessionSettings;
  /** The longest that the login, and each of the first statements, may take; default 5 s. */
  readonly connectTimeoutMs?: number;
  /** The longest that this process waits for an answer; for any time by default. */
  readonly queryTimeoutMs?: number;
}

/**
 * A session whose settings are known to be right; the caller ends it. Nothing else makes a connection: but for `createPool`,
 * which has the same done to each of its own.
 *
 * @throws WaylogError `database.session-settings` where the session is not as it was set, and `database.transaction-pooling`
 *   where a pooler gives every transaction another one
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

/** Sets a new session, looks whether that has come true, and who is at its other end: one round trip. */
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

/** A list, such as that of DateStyle, is one value to `set` for each of its items. */
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

/** The server's process behind a session, as pg_stat_activity shows it: behind a pooler the driver knows another number. */
export const backendOf = (client: pg.ClientBase): number | undefined => backends.get(client);

/** Whether a pooler is in between: a server tells its own process at the login, a pooler something that it has made up. */
export const isPooled = (client: pg.ClientBase): boolean =>
  (client as unknown as { processID: number }).processID !== backendOf(client);

/** Places that are known to keep a session together. */
const looked = new Map<string, Promise<void>>();

/** Asked once in the life of a process, or until it went well. */
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

/** The pooler hands on whichever server connection is free; a few tries, in case others come in between. */
const TRIES = 5;

/**
 * A session that has no transaction open keeps its server connection, unless the pooler gives it to others meanwhile: so a
 * second one begins a transaction, which gets that very connection, or makes the first one find itself on another.
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
