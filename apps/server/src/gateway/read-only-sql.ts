import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { IsArray, IsBoolean, IsInt, IsNumber, IsString } from 'class-validator';
import pg from 'pg';
import {
  asText,
  backendOf,
  isTransient,
  LimitsByKey,
  messageOf,
  Nested,
  Optional,
  prepareSession,
  SqlState,
  sqlStateOf,
  tooMany,
  unavailable,
  WaylogError,
} from '#lib/platform';
import { CutSessions } from './cut-sessions.js';
import { MAX_EXPANDED_SIZE, SyntaxFault } from './expanded-size.js';
import { StatementSizes } from './statement-sizes.js';
import { SqlAnswer, tooLarge, type JsonAnswer } from './sql-answer.js';
import {
  isEndless,
  READER_APPLICATION,
  readerSearchPath,
  readerAccess,
  readerRights,
  type ReaderRights,
} from '#lib/timescale';
import { contexts } from '../../../contexts.js';

export const DEFAULT_ROWS = 1_000;
export const MAX_ROWS = 10_000;
/** Of what the database sends for one statement; it also bounds the memory that one takes here. */
const MAX_SENT_BYTES = 8 * 1024 * 1024;
/** Statements at a time in this process; others wait for as long as they may run. */
const MAX_AT_ONCE = 4;
/** Of one caller, and how many more of his wait: the rest is for others. */
const MAX_OF_ONE = 2;
const MAX_WAITING_OF_ONE = 20;
/** How much longer than the server's own limit this process waits before it ends the session. */
const GRACE_MS = 500;
/** How long the answer waits for a statement that was cut to end; most do at once. */
const GONE_WITHIN_MS = 1_000;

export class SqlLimits {
  /** The longest that a statement may run, in seconds. */
  @IsNumber() readonly timeout!: number;
  @IsInt() readonly rows!: number;
  @IsInt() readonly answerBytes!: number;
  @IsInt() readonly statementsAtOnce!: number;
}

/** Whether ad-hoc SQL can be had, as whom it runs, and what it could do that it should not. */
export class ReadOnlySqlStatus {
  @IsBoolean() readonly available!: boolean;
  /** Why it is not available. */
  @Optional() @IsString() readonly reason?: string;
  @Optional() @IsString() readonly role?: string;
  @IsArray() @IsString({ each: true }) readonly weaknesses!: readonly string[];
  @Nested(() => SqlLimits) readonly limits!: SqlLimits;
}

export interface StatementOptions {
  readonly values?: readonly (string | number | boolean | null)[];
  readonly maxRows?: number;
  /** Seconds; no longer than the configured limit. */
  readonly timeout?: number | undefined;
  /** Who sends it: callers take turns. */
  readonly caller?: string;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal;
}

export interface ReadOnlySqlOptions {
  /** The password of the role that Waylog makes follows from the owner's; undefined where the process does not know it. */
  readonly ownerUrl: string | undefined;
  /** A role to run as instead of the one that Waylog makes: whoever names it answers for its weaknesses. */
  readonly readerUrl?: string | undefined;
  /** The longest that a statement may run, in seconds. */
  readonly maxTimeout: number;
  /** Connections of a member of the role: they end sessions that nobody waits for. */
  readonly pool: pg.Pool;
}

/**
 * SQL that somebody sends, run so that it can only read the tables (docs/decisions/0017): as a role that may nothing
 * else, in a READ ONLY transaction, as the query of a cursor, which can be nothing but one SELECT, WITH, VALUES or
 * TABLE, with limits on time, rows and bytes, and in a session of its own that ends with it.
 */
export class ReadOnlySql {
  readonly #pool: pg.Pool | undefined;
  readonly #noRole: string | undefined;
  readonly #turns = new LimitsByKey((caller) => Math.max(1, MAX_OF_ONE - this.#pids(caller).length));
  readonly #log = new Logger('ReadOnlySql');
  readonly #cut: CutSessions;
  readonly #sizes = new StatementSizes();
  /** Statements that were ended here and run on in the database: the backend, and who has sent it. */
  readonly #runningOn = new Map<number, string>();
  #checked: Promise<void> | undefined;
  #running = 0;

  constructor(private readonly options: ReadOnlySqlOptions) {
    this.#cut = new CutSessions(async (pids) => {
      const { rows } = await options.pool.query<{ pid: number }>(
        `select pid from pg_stat_activity where pid = any ($1::integer[]) and application_name = $2`,
        [pids, READER_APPLICATION],
      );
      return rows.map(({ pid }) => pid);
    });
    const access = options.readerUrl
      ? { url: options.readerUrl }
      : options.ownerUrl !== undefined
        ? readerAccess(options.ownerUrl)
        : 'this process does not know the owner of the database, from whose password that of the reading role follows. Name the role in WAYLOG_READER_URL.';
    if (typeof access === 'string') {
      this.#noRole = access;
      return;
    }
    this.#pool = new pg.Pool({
      connectionString: access.url,
      max: MAX_AT_ONCE,
      // Nothing that a statement leaves in its session reaches the next one.
      maxUses: 1,
      application_name: READER_APPLICATION,
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- the pool awaits it, which its type does not say
      onConnect: (client) =>
        prepareSession(client, {
          connectionString: access.url,
          applicationName: READER_APPLICATION,
          settings: { search_path: readerSearchPath(contexts.map(({ name }) => name)) },
        }),
      connectionTimeoutMillis: options.maxTimeout * 1_000,
    });
    this.#pool.on('error', () => undefined);
  }

  get limits(): SqlLimits {
    return {
      timeout: this.options.maxTimeout,
      rows: MAX_ROWS,
      answerBytes: MAX_SENT_BYTES,
      statementsAtOnce: MAX_AT_ONCE,
    };
  }

  /** Asks the database anew. */
  async status(): Promise<ReadOnlySqlStatus> {
    const { limits } = this;
    if (!this.#pool) return { available: false, reason: this.#noRole ?? '', weaknesses: [], limits };
    if (this.#runningOn.size >= MAX_AT_ONCE)
      return { available: false, reason: allRunOn(this.#pids()).message, weaknesses: [], limits };
    try {
      const rights = await this.#rights();
      const { role, weaknesses } = rights;
      const reason = this.#refusal(rights)?.message;
      return { available: !reason, ...(reason && { reason }), role, weaknesses, limits };
    } catch (error) {
      return { available: false, reason: loginError(error).message, weaknesses: [], limits };
    }
  }

  /**
   * Runs one statement; its rows come as JSON text. Throws `sql.unavailable`, `sql.busy`, `sql.too-many`, `sql.invalid`,
   * `sql.forbidden`, `sql.timeout`, `sql.too-expensive` and `sql.answer-too-large`.
   */
  async run(sql: string, statement: StatementOptions = {}): Promise<JsonAnswer> {
    const pool = this.#pool;
    if (!pool) throw sqlUnavailable(this.#noRole ?? '');
    await this.#check();
    const { caller = '' } = statement;
    refuseXmlTable(sql);
    this.#refuseRunningOn(caller);
    if (this.#turns.waiting(caller) >= MAX_WAITING_OF_ONE) throw tooManyStatements(caller);
    return this.#turns.run(caller, () => this.#run(pool, sql, statement));
  }

  async #run(pool: pg.Pool, sql: string, statement: StatementOptions): Promise<JsonAnswer> {
    if (statement.signal?.aborted) throw sqlTimeout(GONE);
    const { caller = '' } = statement;
    await this.#refuseTooLarge(sql, statement);
    this.#refuseRunningOn(caller);
    const maxRows = Math.min(statement.maxRows ?? DEFAULT_ROWS, MAX_ROWS);
    const timeout = Math.min(statement.timeout ?? this.options.maxTimeout, this.options.maxTimeout);
    const client = await pool.connect().catch((error: unknown) => {
      throw this.#running >= MAX_AT_ONCE ? busy(timeout, error) : loginError(error);
    });
    this.#running++;
    const guard = this.#guard(client, timeout, statement.signal);
    try {
      // As text: the driver would send a request without values in the simple protocol, which takes several statements.
      await client.query(
        `begin isolation level repeatable read read only; set local statement_timeout = ${Math.ceil(timeout * 1_000)}`,
      );
      await client.query({
        text: `declare answer no scroll cursor for ${sql}`,
        values: [...(statement.values ?? [])],
        queryMode: 'extended',
      } as pg.QueryConfig);
      const answer = new SqlAnswer(maxRows);
      for (let wanted = answer.wanted; wanted > 0; wanted = answer.wanted) {
        const { rows, fields } = await client.query<(string | null)[]>({
          text: `fetch ${wanted} from answer`,
          rowMode: 'array',
          types: asText,
        });
        answer.add(fields, rows);
        if (rows.length < wanted) break;
      }
      return answer.end();
    } catch (error) {
      throw guard.reason() ?? readingError(error, timeout);
    } finally {
      guard.end();
      const gone = guard.reason() ? this.#gone(client) : Promise.resolve();
      const leave = () => {
        this.#running--;
        client.release(true);
      };
      // Whoever sends the next one has his place, but where it runs on.
      if (await within(GONE_WITHIN_MS, gone)) leave();
      else void this.#keepPlace(backendOf(client) as number, caller, gone).then(leave, leave);
    }
  }

  async close(): Promise<void> {
    this.#cut.close();
    await this.#sizes.close();
    await this.#pool?.end();
  }

  /** Of what PostgreSQL would make too much, before it looks whether it should end. Throws `sql.too-expensive` and `sql.invalid`. */
  async #refuseTooLarge(sql: string, { caller = '', signal }: StatementOptions): Promise<void> {
    try {
      const size = await this.#sizes.of(sql, caller, signal);
      if (!(size <= MAX_EXPANDED_SIZE)) throw tooLargeForPostgres();
    } catch (error) {
      if (signal?.aborted) throw sqlTimeout(GONE, error);
      if (!(error instanceof SyntaxFault)) throw error;
      throw refused('sql.invalid', error, error.position);
    }
  }

  #gone(client: pg.PoolClient): Promise<void> {
    const pid = backendOf(client);
    return pid === undefined ? Promise.resolve() : this.#cut.gone(pid);
  }

  /** It counts as one that runs for as long as the database has it: of its caller, and of this process. */
  async #keepPlace(pid: number, caller: string, gone: Promise<void>): Promise<void> {
    this.#log.warn(
      `A statement of ad-hoc SQL of ${caller || 'this process'} was ended, and runs on in process ${pid} of the database, which has not looked whether it should end. It keeps its place until it has.`,
    );
    this.#runningOn.set(pid, caller);
    this.#turns.adjust(caller);
    await gone;
    this.#runningOn.delete(pid);
    this.#turns.adjust(caller);
  }

  #pids(caller?: string): number[] {
    return [...this.#runningOn].filter(([, by]) => caller === undefined || by === caller).map(([pid]) => pid);
  }

  /** Nobody knows when these end, so nobody waits for them. */
  #refuseRunningOn(caller: string): void {
    const own = this.#pids(caller);
    if (own.length >= MAX_OF_ONE) throw runOn(caller, own);
    const all = this.#pids();
    if (all.length >= MAX_AT_ONCE) throw allRunOn(all);
  }

  /** Once in the life of a process, or until it went well: a role that may write is not used. */
  #check(): Promise<void> {
    this.#checked ??= this.#rights().then(
      (rights) => {
        const refusal = this.#refusal(rights);
        if (refusal) throw refusal;
      },
      (error: unknown) => {
        throw loginError(error);
      },
    );
    return this.#checked.catch((error: unknown) => {
      this.#checked = undefined;
      throw error;
    });
  }

  /** A role with weaknesses is used where somebody has named it, and so has decided to. */
  #refusal({ role, tooMuch, weaknesses }: ReaderRights): WaylogError | undefined {
    if (tooMuch.length > 0) return tooMighty(role, tooMuch);
    return weaknesses.length > 0 && !this.options.readerUrl ? tooWeak(role, weaknesses) : undefined;
  }

  async #rights(): Promise<ReaderRights> {
    const client = await (this.#pool as pg.Pool).connect();
    try {
      return await readerRights(async (sql) => (await client.query<Record<string, unknown>>(sql)).rows);
    } finally {
      client.release(true);
    }
  }

  /** Ends the session when it takes too long, sends too much, or nobody waits for it any more. */
  #guard(client: pg.PoolClient, timeout: number, signal?: AbortSignal) {
    const { connection } = client as unknown as { connection: { stream: import('node:net').Socket } };
    let reason: WaylogError | undefined;
    let bytes = 0;
    const cut = (why: WaylogError) => {
      if (reason) return;
      reason = why;
      connection.stream.destroy();
      // A session whose client is gone works on until it wants to send something.
      this.options.pool
        .query(
          `select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and application_name = $2`,
          [backendOf(client), READER_APPLICATION],
        )
        .catch(() => undefined); // The limit of the server itself ends it, if anything does.
    };
    const onData = (data: Buffer) => {
      bytes += data.length;
      if (bytes > MAX_SENT_BYTES) cut(tooLarge(MAX_SENT_BYTES, 'from the database'));
    };
    const onAbort = () => cut(sqlTimeout(GONE));
    const timer = setTimeout(
      () => cut(sqlTimeout(`It was ended after ${timeout} s.`)),
      timeout * 1_000 + GRACE_MS,
    );
    connection.stream.on('data', onData);
    client.on('error', ignore);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
    return {
      reason: () => reason,
      end: () => {
        clearTimeout(timer);
        connection.stream.off('data', onData);
        signal?.removeEventListener('abort', onAbort);
      },
    };
  }
}

const ignore = () => undefined;

/** Whether it has come by then. */
const within = async (ms: number, coming: Promise<void>): Promise<boolean> => {
  const done = new AbortController();
  const late = sleep(ms, false, { signal: done.signal }).catch(() => false);
  const isThere = await Promise.race([coming.then(() => true), late]);
  done.abort();
  return isThere;
};

const sqlUnavailable = (reason: string, cause?: unknown) =>
  unavailable(
    'sql.unavailable',
    `Ad-hoc SQL is not available: ${reason} The queries by name are.`,
    { retryAfterSeconds: 60 },
    cause,
  );

const tooMighty = (role: string, tooMuch: readonly string[]) =>
  sqlUnavailable(
    `the role ${role} may more than read the tables (it ${tooMuch.join('; it ')}). Take that from it, or name another in WAYLOG_READER_URL.`,
  );

const tooWeak = (role: string, weaknesses: readonly string[]) =>
  sqlUnavailable(
    `${role} could do harm. ${weaknesses.join(' ')} Or decide to live with it, and name a role in WAYLOG_READER_URL.`,
  );

const GONE = 'The caller has gone.';

/** The statement's fault and not the server's: who sends it again gets the same. */
const sqlTimeout = (how: string, cause?: unknown) => {
  const message = `took too long. ${how} It changed nothing. Ask for less: for one thing, and for a time that the indexes know`;
  return new WaylogError(
    'sql.timeout',
    'invalid',
    `The statement ${message}.`,
    { errors: [{ field: 'query', message }] },
    { cause },
  );
};

const busy = (seconds: number, cause: unknown) =>
  unavailable(
    'sql.busy',
    `${MAX_AT_ONCE} statements of ad-hoc SQL run at a time, and none has ended within ${seconds} s. Send it again. The queries by name are not concerned.`,
    { retryAfterSeconds: 5 },
    cause,
  );

const tooManyStatements = (caller: string) =>
  tooMany(
    'sql.too-many',
    `${caller || 'This process'} has ${MAX_OF_ONE} statements of ad-hoc SQL under way, and ${MAX_WAITING_OF_ONE} more wait. Send it again when some have ended.`,
    1,
  );

/**
 * XPath can be made to run for hours, and PostgreSQL does not end it. The functions that take it are not the reader's;
 * XMLTABLE is part of the grammar, so that it stands in the text as such, and no right can be taken.
 */
const refuseXmlTable = (sql: string): void => {
  if (!/xmltable/i.test(sql)) return;
  const message = 'XMLTABLE is refused, also as part of a name or a text: PostgreSQL could not end it';
  throw new WaylogError('sql.forbidden', 'forbidden', `The statement was refused: ${message}.`, {
    errors: [{ field: 'query', message }],
  });
};

const tooLargeForPostgres = () =>
  refused(
    'sql.too-expensive',
    new Error(
      `PostgreSQL might make more than ${MAX_EXPANDED_SIZE.toLocaleString('en')} parts of it, in memory that nothing bounds: it ` +
        'copies what a sub-select computes to each place that names it, the left side of BETWEEN and IN to each comparison, and a ' +
        'value with .* to each of its columns. Nested, copies are copied. Nest less of these, or compute once in a CTE that is ' +
        'AS MATERIALIZED',
    ),
  );

const processes = (pids: readonly number[]): string =>
  `${pids.length === 1 ? 'process' : 'processes'} ${pids.join(', ')} of the database`;

const runOn = (caller: string, pids: readonly number[]) =>
  tooMany(
    'sql.too-many',
    `${caller || 'This process'} has ${pids.length} statements of ad-hoc SQL that were ended and run on (${processes(pids)}): PostgreSQL ends one only where it looks whether it should. Until it has, no other is taken of this caller. An operator can end them: see docs/how-to/query-with-sql.md.`,
    60,
  );

const allRunOn = (pids: readonly number[]) =>
  unavailable(
    'sql.busy',
    `${pids.length} statements of ad-hoc SQL were ended and run on (${processes(pids)}): PostgreSQL ends one only where it looks whether it should. Until it has, this server takes no other. An operator can end them: see docs/how-to/query-with-sql.md. The queries by name are not concerned.`,
    { retryAfterSeconds: 60 },
  );

/** `position` is the character of the statement, from 1. */
const refused = (code: string, error: Error, position?: number) => {
  const where = position === undefined ? '' : ` (at character ${position})`;
  const message = error.message.slice(0, 500) + where + insteadOf(error.message);
  return new WaylogError(
    code,
    code === 'sql.forbidden' ? 'forbidden' : 'invalid',
    `The statement was refused: ${message}`,
    { errors: [{ field: 'query', message }] },
    { cause: error },
  );
};

/** The same for what the database refuses, which counts from the beginning of the cursor. */
const refusedByDatabase = (code: string, error: pg.DatabaseError) =>
  refused(code, error, error.position ? Number(error.position) - PREFIX_LENGTH : undefined);

/** An operator such as LIKE is refused by the name of its function, which nobody has written. */
const insteadOf = (message: string): string => {
  const name = /^permission denied for function "?(\w+)"?$/.exec(message)?.[1];
  return name !== undefined && isEndless(name)
    ? `. With long values PostgreSQL could not end it: docs/how-to/query-with-sql.md says what to use in place of it, such as ~ in place of LIKE`
    : '';
};

const PREFIX_LENGTH = 'declare answer no scroll cursor for '.length;

const TOO_MANY_CONNECTIONS = '53300';

/** What it means that there is no session. */
function loginError(error: unknown): WaylogError {
  if (sqlStateOf(error) === TOO_MANY_CONNECTIONS)
    return unavailable(
      'sql.busy',
      `The reading role has no connection left: those of all servers together are taken (${messageOf(error)}). Send it again. The queries by name are not concerned.`,
      { retryAfterSeconds: 5 },
      error,
    );
  return /^(28|3D)/.test(sqlStateOf(error) ?? '')
    ? sqlUnavailable(
        `the reading role cannot log in (${messageOf(error)}). Run \`waylog migrate\`, which makes it.`,
        error,
      )
    : readingError(error);
}

/** More or fewer values than the statement has places for are a violation of the protocol, as what a pooler says of a lost server is. */
const isWrongCount = ({ code, routine }: pg.DatabaseError): boolean =>
  code === '08P01' && routine === 'exec_bind_message';

/** What an error of the database means to whoever sent the statement. */
function readingError(error: unknown, timeout?: number): WaylogError {
  if (error instanceof WaylogError) return error;
  const state = sqlStateOf(error) ?? '';
  if (state === '57014') return sqlTimeout(`It was ended after ${timeout} s.`, error);
  // Before what may be gone a moment later: a READ ONLY transaction is what the statement is run in.
  if (state === '42501' || state === '25006')
    return refusedByDatabase('sql.forbidden', error as pg.DatabaseError);
  // Its own, as a limit of time is: a database that is short of memory for everybody fails other requests, too.
  if (state === SqlState.outOfMemory)
    return refusedByDatabase('sql.too-expensive', error as pg.DatabaseError);
  if (!(error instanceof pg.DatabaseError) || (isTransient(error) && !isWrongCount(error))) {
    return sqlUnavailable(
      `the database does not answer (${messageOf(error)}). Try again in a moment.`,
      error,
    );
  }
  return refusedByDatabase(/^5[34]/.test(state) ? 'sql.too-expensive' : 'sql.invalid', error);
}
