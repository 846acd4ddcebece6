import pg from 'pg';
import { madeAccess, roleName, roleNames, scramVerifier, type RoleAccess } from './roles/role-names.js';

const { escapeIdentifier, escapeLiteral } = pg;

/**
 * The role that runs ad-hoc SQL. It logs in by itself, can read the tables of the contexts, owns nothing
 * and can do nothing else. `set local role` in a session of the owner is not enough: the SQL could set the
 * role back.
 */

/** A role of this name without this comment was not created by Waylog and is left alone. */
const MARK = 'Made by Waylog: reads the tables of one database for ad-hoc SQL.';

/** The `application_name` of its sessions. */
export const READER_APPLICATION = 'waylog ad-hoc SQL';

/**
 * The limit for all server processes together: enough for three at full load, since each runs four statements
 * at a time. With more processes, a statement that finds no connection is answered 503 and can be sent again.
 * The limit also bounds how many cores are lost to statements that PostgreSQL does not end, however many
 * processes start and stop.
 */
const CONNECTION_LIMIT = 12;

/**
 * The name of the reader of a database: `<database>_reader`. If that is too long, a hash replaces the middle.
 */
export const readerRoleName = (database: string): string => roleName(database, 'reader');

export type ReaderAccess = RoleAccess;

/**
 * The login of the reader of a database. Its password derives from the owner's, so every process that knows
 * DATABASE_URL knows it, and there is no other secret to keep. A returned text says why there is no reader.
 */
export function readerAccess(databaseUrl: string): ReaderAccess | string {
  return (
    madeAccess(databaseUrl, 'reader') ??
    'DATABASE_URL carries no password for that of the reading role to follow from. Put one there, or name a role of your own in WAYLOG_READER_URL.'
  );
}

type Query = (sql: string, values?: unknown[]) => Promise<Record<string, unknown>[]>;

/**
 * Creates the reader of a database, or updates it for tables added since and for a changed password. Returns
 * the reason if that was not possible. Everything else works without the reader.
 */
export async function ensureReaderRole(
  query: Query,
  databaseUrl: string,
  contexts: readonly string[],
): Promise<string | undefined> {
  const access = readerAccess(databaseUrl);
  if (typeof access === 'string') return access;
  const { role } = access;
  const [owner] = await query(
    `select current_user as name, r.rolsuper as super, r.rolcreaterole as may, current_database() as database,
            array(select nspname::text from pg_namespace where nspname = any ($1)) as schemas
       from pg_roles r where r.rolname = current_user`,
    [contexts],
  );
  const schemas = (owner?.['schemas'] ?? []) as readonly string[];
  if (!owner || schemas.length === 0) return 'The database has no tables yet.';
  const isSuper = owner['super'] === true;
  if (!isSuper && owner['may'] !== true) {
    return `${String(owner['name'])} may not create roles, so there is none for ad-hoc SQL. Give it CREATEROLE and migrate again, or name a role of your own in WAYLOG_READER_URL.`;
  }
  const [known] = await query(
    `select shobj_description(oid, 'pg_authid') as mark from pg_roles where rolname = $1`,
    [role],
  );
  if (known && known['mark'] !== MARK) {
    return `There is a role ${role} that Waylog has not made. Rename it and migrate again, or name a role of your own in WAYLOG_READER_URL.`;
  }
  const name = escapeIdentifier(role);
  const database = escapeIdentifier(String(owner['database']));
  const password = escapeLiteral(scramVerifier(new URL(access.url).password));
  // For a role that exists, only a superuser can name some of these attributes, even with the value that they
  // already have.
  const harmless = 'nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls';
  if (!known) await query(`create role ${name} ${harmless}`);
  else if (isSuper) await query(`alter role ${name} ${harmless}`);
  await query(`alter role ${name} login connection limit ${CONNECTION_LIMIT} password ${password}`);
  await query(`comment on role ${name} is ${escapeLiteral(MARK)}`);
  for (const [setting, value] of [...settings, ['search_path', readerSearchPath(schemas)] as const]) {
    await query(`alter role ${name} in database ${database} set ${setting} = ${value}`);
  }
  await query(`revoke temporary on database ${database} from public`);
  await query(`grant connect on database ${database} to ${name}`);
  await query(`revoke create on schema public from public`);
  for (const schema of schemas.map(escapeIdentifier)) {
    await query(`grant usage on schema ${schema} to ${name}`);
    await query(`grant select on all tables in schema ${schema} to ${name}`);
    await query(`alter default privileges in schema ${schema} grant select on tables to ${name}`);
  }
  if (isSuper) {
    await query(`alter role ${name} in database ${database} set temp_file_limit = '256MB'`);
    // Otherwise a value that a reader casts would stay in the server's log, with the statement, after the
    // thing was erased.
    await query(`alter role ${name} in database ${database} set log_min_messages = fatal`);
    await query(`alter role ${name} in database ${database} set log_min_error_statement = panic`);
    await keepFromPublic(query, role, String(owner['database']));
  }
  return undefined;
}

/** Drops the reader of a database and its rights, if Waylog created it. */
export async function dropReaderRole(query: Query, databaseUrl: string): Promise<void> {
  const access = readerAccess(databaseUrl);
  if (typeof access === 'string') return;
  const [known] = await query(
    `select 1 from pg_roles where rolname = $1 and shobj_description(oid, 'pg_authid') = $2`,
    [access.role, MARK],
  );
  if (!known) return;
  const name = escapeIdentifier(access.role);
  // A role that is not a superuser can revoke only from roles that it is a member of.
  await query(`grant ${name} to current_user`);
  await query(`drop owned by ${name}`);
  await query(`drop role ${name}`);
}

/** Where ad-hoc SQL finds tables that it names without a schema. */
export const readerSearchPath = (contexts: readonly string[]): string => [...contexts, 'public'].join(', ');

/**
 * Limits of every session. The SQL cannot change them: it is one SELECT, and the reader cannot call
 * set_config.
 */
const settings: readonly (readonly [string, string])[] = [
  ['default_transaction_read_only', 'on'],
  ['statement_timeout', `'60s'`],
  ['idle_in_transaction_session_timeout', `'60s'`],
  ['lock_timeout', `'2s'`],
  ['work_mem', `'16MB'`],
  ['hash_mem_multiplier', '1'],
  ['max_parallel_workers_per_gather', '0'],
  ['jit', 'off'],
];

/**
 * Functions that PostgreSQL grants to PUBLIC and that do harm even in a read-only transaction: they take the
 * locks that appends, projectors and migrations wait for, announce positions that the tables have not
 * reached, end sessions of other readers, fill the WAL, write large objects (before PostgreSQL 16), or remove
 * the limits of the session.
 */
const HARMFUL =
  '^(pg_(try_)?advisory_.*|pg_notify|pg_(cancel|terminate)_backend|pg_logical_emit_message|pg_export_snapshot|set_config|lo_.*|loread|lowrite)$';

/**
 * TimescaleDB's own functions are worse. Its drop_chunk(regclass) checks neither the owner of the chunk nor
 * whether the transaction is read-only, and merge_chunks() of 2.19 crashes the whole server. So of the
 * functions that can have an effect, the reader keeps only those that are known to read. (The schemas stay
 * open: TimescaleDB itself looks into them, as the role that runs the statement.)
 */
const TIMESCALE_READS = `'time_bucket', 'time_bucket_gapfill', 'locf', 'interpolate', 'first', 'last', 'histogram', 'show_chunks'`;

/**
 * Functions of PostgreSQL that keep running whatever ends the session. Their work is the product of the
 * lengths of two values, or a power of one. A statement can make values of a gigabyte (`repeat`), and
 * PostgreSQL checks for interrupts only between two values. Each was measured (docs/decisions/0017); linear
 * functions end within seconds.
 */
const SQL_NAMES: Readonly<Record<string, string>> = { bpchar: 'character' };
const ENDLESS: readonly string[] = [
  // One step for each character of the other value, or a search from each position.
  'translate(text, text, text)',
  ...['btrim', 'ltrim', 'rtrim'].flatMap((name) => [`${name}(text, text)`, `${name}(bytea, bytea)`]),
  ...['text', 'bytea', 'bit'].map((type) => `position(${type}, ${type})`),
  'strpos(text, text)',
  'replace(text, text, text)',
  'split_part(text, text, integer)',
  ...['string_to_array', 'string_to_table'].flatMap((name) => [
    `${name}(text, text)`,
    `${name}(text, text, text)`,
  ]),
  // LIKE and ILIKE: after each %, the rest of the pattern at each position of the text.
  ...['text', 'name', 'bpchar'].flatMap((type) =>
    ['like', 'nlike', 'iclike', 'icnlike'].map((how) => `${type}${how}(${SQL_NAMES[type] ?? type}, text)`),
  ),
  ...['like', 'notlike'].flatMap((name) =>
    ['text', 'name', 'bytea'].map((type) => `${name}(${type}, ${type === 'bytea' ? type : 'text'})`),
  ),
  'bytealike(bytea, bytea)',
  'byteanlike(bytea, bytea)',
  // Joins pairs of quotes in a name by moving everything behind them.
  'parse_ident(text, boolean)',
  'to_regclass(text)',
  'regclass(text)',
  // Measures the rest of the text for each part of the format.
  'to_timestamp(text, text)',
  'to_date(text, text)',
  // Compares each position of each word with those of all others.
  ...['', 'real[], '].flatMap((weights) => [
    `ts_rank(${weights}tsvector, tsquery)`,
    `ts_rank(${weights}tsvector, tsquery, integer)`,
  ]),
  // Compares each edge of one value with each edge of the other.
  ...['overlap', 'same', 'distance'].map((what) => `poly_${what}(polygon, polygon)`),
  'path_inter(path, path)',
  'path_distance(path, path)',
  // XPath can count all nodes at each node. XMLTABLE is not a function: the server looks for it in the text.
  'xpath(text, xml)',
  'xpath(text, xml, text[])',
  'xpath_exists(text, xml)',
  'xpath_exists(text, xml, text[])',
  'xmlexists(text, xml)',
  // Sorts accents by exchanging neighbours.
  'normalize(text, text)',
  // Looks up each element of one value among those of the other: @>, <@, &&, ?|, ?& and -.
  ...['contains', 'contained', 'overlap'].map((what) => `array${what}(anyarray, anyarray)`),
  'jsonb_contains(jsonb, jsonb)',
  'jsonb_contained(jsonb, jsonb)',
  'jsonb_exists_any(jsonb, text[])',
  'jsonb_exists_all(jsonb, text[])',
  'jsonb_delete(jsonb, text[])',
];

const ENDLESS_NAMES = new Set(ENDLESS.map((signature) => signature.slice(0, signature.indexOf('('))));

/** Whether a function of this name is revoked from the reader because its run could not be ended. */
export const isEndless = (name: string): boolean => ENDLESS_NAMES.has(name);

/** Functions that run SQL given to them as text, which cannot be checked beforehand. */
const RUNS_SQL = '^((query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite)$';

/**
 * Those functions, as a condition on pg_proc p. A name that this version of PostgreSQL lacks matches nothing.
 */
export const ENDLESS_FUNCTIONS = `(p.pronamespace = 'pg_catalog'::regnamespace
             and (p.proname || '(' || oidvectortypes(p.proargtypes) || ')' in (${ENDLESS.map(escapeLiteral).join(', ')})
                  or p.proname ~ '${RUNS_SQL}'))`;

/** As a condition on pg_proc p. */
export const HARMFUL_OF_TIMESCALE = `(p.provolatile = 'v' and p.prokind in ('f', 'p') and p.proname not in (${TIMESCALE_READS})
             and p.pronamespace <> 'pg_catalog'::regnamespace
             and exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid
                          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
                            and e.extname = 'timescaledb'))`;

/**
 * Functions that show what other sessions of a role run and have run. All ad-hoc SQL runs as one role, so
 * each caller would see the values in the statements of other callers. As a condition on pg_proc p.
 */
export const SHOWS_STATEMENTS = `(p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('pg_stat_get_activity', 'pg_stat_get_backend_activity')
             or p.proname = 'pg_stat_statements'
            and exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid
                         where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
                           and e.extname = 'pg_stat_statements'))`;

/** The functions that a role can call although it should not, as SQL names them. */
const harmfulSql = (role: string) => `
  select p.oid::regprocedure::text as name, ${ENDLESS_FUNCTIONS} as endless
    from pg_proc p
   where has_function_privilege(${role}, p.oid, 'execute')
     and (p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '${HARMFUL}'
          or ${ENDLESS_FUNCTIONS} or ${HARMFUL_OF_TIMESCALE} or ${SHOWS_STATEMENTS})
   order by 1`;

/**
 * Revokes harmful functions from PUBLIC and grants them back to the roles that work with the log. Roles
 * created by Waylog get what they need from ensureDatabaseRoles.
 */
async function keepFromPublic(query: Query, role: string, database: string): Promise<void> {
  const harmful = (await query(harmfulSql('$1::name'), [role])).map(({ name }) => name as string);
  if (harmful.length === 0) return;
  const all = `execute on routine ${harmful.join(', ')}`;
  await query(`revoke ${all} from public`);
  const workers = await query(
    `select rolname as name from pg_roles
      where not rolsuper and rolname <> all ($1) and rolname !~ '^pg_' and has_schema_privilege(oid, 'log', 'usage')`,
    [roleNames(database)],
  );
  for (const { name } of workers) await query(`grant ${all} to ${escapeIdentifier(name as string)}`);
  const [{ shows } = {}] = await query(
    `select string_agg(p.oid::regprocedure::text, ', ') as shows
       from pg_proc p where ${SHOWS_STATEMENTS} or ${ENDLESS_FUNCTIONS}`,
  );
  // Monitoring with a role of its own: LIKE is common in its queries.
  await query(`grant execute on routine ${String(shows)} to pg_monitor`);
}

/**
 * No statement of ad-hoc SQL can run for longer than WAYLOG_SQL_TIMEOUT, plus this time until it was ended.
 */
export const READER_MAX_SECONDS = 75;

/** A session of ad-hoc SQL, and how long its statement has run. */
export interface ReaderSession {
  readonly pid: number;
  readonly seconds: number;
}

/** The sessions of all processes, the oldest first. The asking role must be able to see other sessions. */
export async function readerSessions(query: Query): Promise<ReaderSession[]> {
  const rows = await query(
    `select pid, extract(epoch from clock_timestamp() - xact_start)::double precision as seconds
       from pg_stat_activity
      where datname = current_database() and application_name = $1 and xact_start is not null
      order by xact_start`,
    [READER_APPLICATION],
  );
  return rows.map(({ pid, seconds }) => ({ pid: pid as number, seconds: seconds as number }));
}

/** What an operator does about statements that could not be ended. */
export const endReaderSessions = (pids: readonly number[] = []): string =>
  `PostgreSQL was told to end ${pids.length > 0 ? `process ${pids.join(' and ')}` : 'it'}, which it does only where it looks for that. ` +
  `What is left is to wait, or, on the machine of the database, \`kill -9 ${pids.join(' ') || 'PID'}\`: that ends all sessions, and PostgreSQL recovers within seconds from its WAL; nothing that was answered is lost. ` +
  'Until then rebuilds, migrations, a shutdown of the database and vacuum wait for it. See docs/how-to/query-with-sql.md.';

export interface ReaderRights {
  readonly role: string;
  /** A right that no role for ad-hoc SQL is allowed to have: the role is not used. */
  readonly tooMuch: readonly string[];
  /**
   * Harm that the role can do and that cannot be prevented from here, such as functions that only a superuser
   * could revoke from PUBLIC.
   */
  readonly weaknesses: readonly string[];
}

/** The rights of the role of a session, queried in that session. */
export async function readerRights(query: Query): Promise<ReaderRights> {
  const [row] = await query(`
    select current_user as role,
           concat_ws('; ',
             case when r.rolsuper then 'is a superuser' end,
             case when r.rolcreaterole then 'may create roles' end,
             case when r.rolcreatedb then 'may create databases' end,
             case when r.rolreplication then 'may replicate' end,
             case when r.rolbypassrls then 'passes by row security' end,
             case when has_database_privilege(current_database(), 'create') then 'may create schemas' end,
             (select 'is a member of ' || string_agg(m.roleid::regrole::text, ', ')
                from pg_auth_members m where m.member = r.oid having count(*) > 0),
             (select 'may create in schema ' || string_agg(n.nspname, ', ')
                from pg_namespace n where has_schema_privilege(n.oid, 'create') having count(*) > 0),
             (select 'may look into schema ' || string_agg(n.nspname, ', ')
                from pg_namespace n
               where n.nspname in ('log', 'projection', 'access') and has_schema_privilege(n.oid, 'usage') having count(*) > 0),
             (select 'may write to ' || string_agg(c.oid::regclass::text, ', ')
                from pg_class c
               where c.relkind in ('r', 'p', 'v', 'f') and c.oid >= 16384
                 and has_table_privilege(c.oid, 'insert, update, delete, truncate') having count(*) > 0)
           ) as too_much
      from pg_roles r where r.rolname = current_user`);
  const callable = await query(harmfulSql('current_user'));
  const endless = callable.filter((row) => row['endless'] === true).length;
  const harmful = [
    ...callable.filter((row) => row['endless'] !== true).map(({ name }) => name as string),
    ...(endless > 0 ? [`${endless} functions that PostgreSQL may not end in time, such as LIKE`] : []),
  ];
  const [{ temp, outside } = {}] = await query(`
    select has_database_privilege(current_database(), 'temporary') as temp,
           (select string_agg(extname, ', ') from pg_extension
             where extname in ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack')) as outside`);
  const tooMuch = row?.['too_much'] as string;
  return {
    role: String(row?.['role']),
    tooMuch: tooMuch ? tooMuch.split('; ') : [],
    weaknesses: [
      ...(harmful.length > 0
        ? [
            `It may use ${harmful.join(', ')}. A superuser can take that from everybody: migrate once as one, or revoke it from public.`,
          ]
        : []),
      ...(temp ? ['It may make temporary tables: revoke temporary on the database from public.'] : []),
      ...(typeof outside === 'string'
        ? [`The database has extensions that reach outside: ${outside}. Revoke their functions from public.`]
        : []),
    ],
  };
}
