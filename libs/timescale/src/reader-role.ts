import pg from 'pg';
import { madeAccess, roleName, roleNames, scramVerifier, type RoleAccess } from './roles/role-names.js';

const { escapeIdentifier, escapeLiteral } = pg;

/**
 * The role that ad-hoc SQL runs as: it logs in by itself, reads the tables of schema `flight`, and owns and may nothing
 * else. `set local role` in a session of the owner would not do: the SQL could set the role back.
 */

/** A role of this name that does not carry this comment is somebody else's, and is left alone. */
const MARK = 'Made by Waylog: reads the tables of one database for ad-hoc SQL.';

/** How its sessions name themselves. */
export const READER_APPLICATION = 'waylog ad-hoc SQL';

/**
 * Of all server processes together: three of them at full load, since each runs four statements at a time; where there are
 * more, a statement that finds none is answered 503 and sent again. It is also how many cores statements can take that
 * PostgreSQL does not end, whatever processes come and go.
 */
const CONNECTION_LIMIT = 12;

/** The reader of a database is called `<database>_reader`; the middle of a name that is too long becomes its hash. */
export const readerRoleName = (database: string): string => roleName(database, 'reader');

export type ReaderAccess = RoleAccess;

/**
 * How the reader of a database logs in. Its password follows from the owner's, so that every process that knows
 * DATABASE_URL knows it, and nobody keeps another secret. A text says why there is none.
 */
export function readerAccess(databaseUrl: string): ReaderAccess | string {
  return (
    madeAccess(databaseUrl, 'reader') ??
    'DATABASE_URL carries no password for that of the reading role to follow from. Put one there, or name a role of your own in WAYLOG_READER_URL.'
  );
}

type Query = (sql: string, values?: unknown[]) => Promise<Record<string, unknown>[]>;

/**
 * Makes the reader of a database, or brings an old one up to date: also with tables that have come since, and with a
 * changed password. Answers why that was not possible, where it was not; everything else works without the reader.
 */
export async function ensureReaderRole(query: Query, databaseUrl: string): Promise<string | undefined> {
  const access = readerAccess(databaseUrl);
  if (typeof access === 'string') return access;
  const { role } = access;
  const [owner] = await query(
    `select current_user as name, r.rolsuper as super, r.rolcreaterole as may, current_database() as database,
            exists (select from pg_namespace where nspname = 'flight') as migrated
       from pg_roles r where r.rolname = current_user`,
  );
  if (!owner?.['migrated']) return 'The database has no tables yet.';
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
  // Only a superuser may name some of these for a role that exists, even to say what is so already.
  const harmless = 'nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls';
  if (!known) await query(`create role ${name} ${harmless}`);
  else if (isSuper) await query(`alter role ${name} ${harmless}`);
  await query(`alter role ${name} login connection limit ${CONNECTION_LIMIT} password ${password}`);
  await query(`comment on role ${name} is ${escapeLiteral(MARK)}`);
  for (const [setting, value] of settings) {
    await query(`alter role ${name} in database ${database} set ${setting} = ${value}`);
  }
  await query(`revoke temporary on database ${database} from public`);
  await query(`grant connect on database ${database} to ${name}`);
  await query(`revoke create on schema public from public`);
  await query(`grant usage on schema flight to ${name}`);
  await query(`grant select on all tables in schema flight to ${name}`);
  await query(`alter default privileges in schema flight grant select on tables to ${name}`);
  if (isSuper) {
    await query(`alter role ${name} in database ${database} set temp_file_limit = '256MB'`);
    // What a reader casts, and his statement with it, would stay in the server's log when the flight has been erased.
    await query(`alter role ${name} in database ${database} set log_min_messages = fatal`);
    await query(`alter role ${name} in database ${database} set log_min_error_statement = panic`);
    await keepFromPublic(query, role, String(owner['database']));
  }
  return undefined;
}

/** Drops the reader of a database with what it may, if there is one and Waylog has made it. */
export async function dropReaderRole(query: Query, databaseUrl: string): Promise<void> {
  const access = readerAccess(databaseUrl);
  if (typeof access === 'string') return;
  const [known] = await query(
    `select 1 from pg_roles where rolname = $1 and shobj_description(oid, 'pg_authid') = $2`,
    [access.role, MARK],
  );
  if (!known) return;
  const name = escapeIdentifier(access.role);
  // Who is no superuser may only take from a role that it is a member of.
  await query(`grant ${name} to current_user`);
  await query(`drop owned by ${name}`);
  await query(`drop role ${name}`);
}

/** Where ad-hoc SQL finds tables that it names without a schema. */
export const READER_SEARCH_PATH = 'flight, public';

/** Bounds of every session. The SQL may change none of them: it is one SELECT, and set_config is not the reader's. */
const settings: readonly (readonly [string, string])[] = [
  ['default_transaction_read_only', 'on'],
  ['statement_timeout', `'60s'`],
  ['idle_in_transaction_session_timeout', `'60s'`],
  ['lock_timeout', `'2s'`],
  ['work_mem', `'16MB'`],
  ['hash_mem_multiplier', '1'],
  ['max_parallel_workers_per_gather', '0'],
  ['jit', 'off'],
  ['search_path', READER_SEARCH_PATH],
];

/**
 * Functions that PostgreSQL lets everybody call and that do harm even in a read-only transaction: hold the locks that
 * appends, projectors and migrations wait for; announce positions that the tables have not reached; end the sessions of
 * other readers; fill the WAL; write large objects (before PostgreSQL 16); and undo the bounds of the session.
 */
const HARMFUL =
  '^(pg_(try_)?advisory_.*|pg_notify|pg_(cancel|terminate)_backend|pg_logical_emit_message|pg_export_snapshot|set_config|lo_.*|loread|lowrite)$';

/**
 * What is TimescaleDB's own is worse. Its drop_chunk(regclass) asks neither who owns the chunk nor whether the transaction
 * may write, and merge_chunks() of 2.19 ends the whole server. So nothing of it is left that may have an effect, but what
 * is known to read. (Its schemas stay open: it looks into them itself, as whoever runs a statement.)
 */
const TIMESCALE_READS = `'time_bucket', 'time_bucket_gapfill', 'locf', 'interpolate', 'first', 'last', 'histogram', 'show_chunks'`;

/**
 * Functions of PostgreSQL that run on whatever ends the session: their work is the product of the lengths of two values, or a
 * power of one, a statement makes values of a gigabyte (`repeat`), and PostgreSQL looks whether it should end only between
 * two of them. Each was measured (docs/decisions/0017); what is linear ends within seconds.
 */
const SQL_NAMES: Readonly<Record<string, string>> = { bpchar: 'character' };
const ENDLESS: readonly string[] = [
  // A place in one for each character of the other, or a search from each place.
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
  // LIKE and ILIKE: after each % the rest of the pattern, at each place of the text.
  ...['text', 'name', 'bpchar'].flatMap((type) =>
    ['like', 'nlike', 'iclike', 'icnlike'].map((how) => `${type}${how}(${SQL_NAMES[type] ?? type}, text)`),
  ),
  ...['like', 'notlike'].flatMap((name) =>
    ['text', 'name', 'bytea'].map((type) => `${name}(${type}, ${type === 'bytea' ? type : 'text'})`),
  ),
  'bytealike(bytea, bytea)',
  'byteanlike(bytea, bytea)',
  // Joins pairs of quotes in a name by moving all that is behind them.
  'parse_ident(text, boolean)',
  'to_regclass(text)',
  'regclass(text)',
  // Measures all that is left of a text for each part of the format.
  'to_timestamp(text, text)',
  'to_date(text, text)',
  // Compares each position of each word with those of all others.
  ...['', 'real[], '].flatMap((weights) => [
    `ts_rank(${weights}tsvector, tsquery)`,
    `ts_rank(${weights}tsvector, tsquery, integer)`,
  ]),
  // Compare each edge of one with each of the other.
  ...['overlap', 'same', 'distance'].map((what) => `poly_${what}(polygon, polygon)`),
  'path_inter(path, path)',
  'path_distance(path, path)',
  // XPath may count all nodes at each node. XMLTABLE is no function: the server looks for it in the text.
  'xpath(text, xml)',
  'xpath(text, xml, text[])',
  'xpath_exists(text, xml)',
  'xpath_exists(text, xml, text[])',
  'xmlexists(text, xml)',
  // Puts accents in order by exchanging neighbours.
  'normalize(text, text)',
  // Looks for each element of one among those of the other: @>, <@, &&, ?|, ?& and -.
  ...['contains', 'contained', 'overlap'].map((what) => `array${what}(anyarray, anyarray)`),
  'jsonb_contains(jsonb, jsonb)',
  'jsonb_contained(jsonb, jsonb)',
  'jsonb_exists_any(jsonb, text[])',
  'jsonb_exists_all(jsonb, text[])',
  'jsonb_delete(jsonb, text[])',
];

const ENDLESS_NAMES = new Set(ENDLESS.map((signature) => signature.slice(0, signature.indexOf('('))));

/** Whether a function has this name that the reader may not call because nobody could end it. */
export const isEndless = (name: string): boolean => ENDLESS_NAMES.has(name);

/** Functions that run SQL which they are given as text, so that nobody can look into it before. */
const RUNS_SQL = '^((query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?|ts_stat|ts_rewrite)$';

/** Those, as a condition on pg_proc p. A name that a version of PostgreSQL does not have is none of its functions. */
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
 * Functions that show what other sessions of a role run and have run. All ad-hoc SQL is of one role, so that whoever sends
 * some would read the values that others put into theirs. As a condition on pg_proc p.
 */
export const SHOWS_STATEMENTS = `(p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('pg_stat_get_activity', 'pg_stat_get_backend_activity')
             or p.proname = 'pg_stat_statements'
            and exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid
                         where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
                           and e.extname = 'pg_stat_statements'))`;

/** The functions that a role may call though it should not, as SQL names them. */
const harmfulSql = (role: string) => `
  select p.oid::regprocedure::text as name, ${ENDLESS_FUNCTIONS} as endless
    from pg_proc p
   where has_function_privilege(${role}, p.oid, 'execute')
     and (p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '${HARMFUL}'
          or ${ENDLESS_FUNCTIONS} or ${HARMFUL_OF_TIMESCALE} or ${SHOWS_STATEMENTS})
   order by 1`;

/**
 * Takes what is harmful from everybody, and gives it back to the roles that work with the log. Those that Waylog makes for
 * that get what they need by ensureDatabaseRoles.
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
  // Whoever watches the database with a role of its own, in whose queries LIKE is common.
  await query(`grant execute on routine ${String(shows)} to pg_monitor`);
}

/** No statement of ad-hoc SQL may run for longer (WAYLOG_SQL_TIMEOUT), and this much more until it was ended. */
export const READER_MAX_SECONDS = 75;

/** A session of ad-hoc SQL, and for how long its statement has run. */
export interface ReaderSession {
  readonly pid: number;
  readonly seconds: number;
}

/** Those of all processes, the oldest first; asked by a role that sees other sessions. */
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

/** What an operator does about statements that nothing has ended. */
export const endReaderSessions = (pids: readonly number[] = []): string =>
  `PostgreSQL was told to end ${pids.length > 0 ? `process ${pids.join(' and ')}` : 'it'}, which it does only where it looks for that. ` +
  `What is left is to wait, or, on the machine of the database, \`kill -9 ${pids.join(' ') || 'PID'}\`: that ends all sessions, and PostgreSQL recovers within seconds from its WAL; nothing that was answered is lost. ` +
  'Until then rebuilds, migrations, a shutdown of the database and vacuum wait for it. See docs/how-to/query-with-sql.md.';

export interface ReaderRights {
  readonly role: string;
  /** What it may that no role for ad-hoc SQL must: it is not used. */
  readonly tooMuch: readonly string[];
  /** Harm that it can do and cannot be kept from here: such as functions that only a superuser could take from everybody. */
  readonly weaknesses: readonly string[];
}

/** What the role of a session may, asked in that session. */
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
