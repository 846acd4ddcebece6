import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import pg from 'pg';
import { flightProjections, flight } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import type { WaylogError } from '#lib/platform';
import { rebuild } from '#lib/projections';
import { queryOn, readerAccess, readerRoleName, readerSessions, roleNames } from '#lib/timescale';
import { ReadOnlySql } from '../apps/server/src/gateway/read-only-sql.js';
import { migrate, migrations, revert } from '../migrations/index.js';
import { testDatabase, testServerUrl } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { eventually } from './support/eventually.js';
import { useServer } from './support/server.js';
import { flightOf } from './support/waylog.js';

const LIMIT_SECONDS = 30;
/** Quotes in a name that take PostgreSQL some seconds. */
const RUNS_ON = 500_000;

const rowsOf = ({ json }: { json: Buffer }) => (JSON.parse(json.toString()) as { rows: unknown[] }).rows;

/** Bytes that are still needed: heap and buffers after a collection. */
const memoryInUse = () => {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};

const nestedIn = (times: number, around: (inner: string) => string, inmost = '1'): string => {
  let e = inmost;
  for (let i = 0; i < times; i++) e = around(e);
  return `select ${e}`;
};
const nestedSelects = (times: number, distinct = ''): string => {
  let from = 'flight.waypoints';
  for (let i = 0; i < times; i++) from = `(select ${distinct}${i ? 'x + x' : 'lat'} as x from ${from} q)`;
  return `select x from ${from} q where x > 3`;
};
const nestedCtes = (times: number): string => {
  const cte = (i: number) =>
    i === 0 ? 'select 1 as x' : `select a.x + b.x as x from c${i - 1} a, c${i - 1} b`;
  const all = Array.from({ length: times }, (_, i) => `c${i} as not materialized (${cte(i)})`);
  return `with ${all.join(', ')} select * from c${times - 1}`;
};

describe('ad-hoc SQL', () => {
  const server = useServer({ WAYLOG_SQL_TIMEOUT: String(LIMIT_SECONDS), WAYLOG_VERIFY_SHARE: '0' });
  const run = (sql: string, parameters: object = {}, more: object = {}) =>
    server.call('POST', '/v1/queries', { query: sql, parameters, serviceName: 'analyst', ...more });
  const owner = async (sql: string, values: unknown[] = []) =>
    (await server.store.pool.query<Record<string, unknown>>(sql, values)).rows;
  const settled = async () =>
    flightOf(server.app).watch.waitFor(await server.app.get<EventStore>(EVENT_STORE).head(), 60_000);
  /** A client with the reader's own login: what an attacker with more than the endpoint could do. */
  const asReader = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const access = readerAccess(server.store.url);
    if (typeof access === 'string') throw new Error(access);
    const client = new pg.Client({ connectionString: access.url });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  };

  beforeAll(async () => {
    await server.call('POST', '/v1/flights', aFlight('sql', 3));
    await server.call('PUT', '/v1/flights/sql/frames/1', aFrame(1));
    await settled();
  });

  it('answers rows with their columns, in the best JSON form', async () => {
    const { status, body } = await run(
      `select frame_id, confidence, refined, "timestamp", count(*) over () as n, gps_lat::numeric as lat,
              null as nothing, '{"a": [1]}'::jsonb as json, 'infinity'::float8 as far, 'infinity'::timestamptz as ever
         from frame_results where flight_id = $1 and frame_id >= $2`,
      { values: ['sql', 0] },
    );
    expect({ status, ...body }).toMatchObject({
      status: 200,
      success: true,
      rowCount: 1,
      cacheHit: false,
      data: {
        truncated: false,
        rows: [
          {
            frame_id: 1,
            confidence: 0.75,
            refined: false,
            timestamp: aFrame(1).timestamp,
            n: '1',
            lat: String(aFrame(1).gpsCenter.lat),
            nothing: null,
            json: { a: [1] },
            far: 'Infinity',
            ever: 'infinity',
          },
        ],
      },
    });
    expect((body.data.columns as { name: string }[]).map(({ name }) => name)).toHaveLength(10);
    expect((await run('values (1, true)')).body.data.rows).toEqual([{ column1: 1, column2: true }]);
    expect((await run('with f as (select id from flights) select * from f;')).body.rowCount).toBe(1);
    expect((await run(`select id from flights where id = 'nobody'`)).body.data).toMatchObject({
      rows: [],
      columns: [{ name: 'id' }],
    });
  });

  it('passes JSON on unchanged, even if it is nested too deep for a parser', async () => {
    const depth = 4_000;
    const query = `select (repeat('[', ${depth}) || repeat(']', ${depth}))::json as deep, '{"a":  1e400}'::json as odd`;
    const answer = await fetch(`${server.url}/v1/queries`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query, serviceName: 'analyst' }),
    });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(
      `"deep":${'['.repeat(depth)}${']'.repeat(depth)},"odd":{"a":  1e400}`,
    );
  });

  it('reports what is wrong with a statement', async () => {
    expect(await run('select * from nothing')).toMatchObject({
      status: 400,
      body: { code: 'sql.invalid', errors: [{ field: 'query' }] },
    });
    expect((await run('select * from nothing')).body.detail).toContain('does not exist (at character 15)');
    expect((await run('select 1 as a, 2 as a')).body.detail).toContain('two columns called a');
    expect((await run('select $1::integer', { values: ['x'] })).status).toBe(400);
    // More or fewer values than parameters: a fault of the statement, not of the database.
    for (const [sql, values] of [
      ['select 1', ['x']],
      ['select $1, $2', ['x']],
      ['select $1', []],
    ] as const)
      expect(await run(sql, { values })).toMatchObject({
        status: 400,
        body: { code: 'sql.invalid', detail: expect.stringContaining('parameters') as string },
      });
    expect((await run('select 1', { values: [{}] })).body.errors).toMatchObject([
      { field: 'parameters.values[0]' },
    ]);
    expect((await run('select 1', { maxRows: 10_001 })).body.errors).toMatchObject([
      { field: 'parameters.maxRows' },
    ]);
  });

  /** Each of these is refused, with its code; the text is the database's. */
  const breakouts: readonly (readonly [what: string, sql: string, code: string, why: RegExp])[] = [
    ['a second statement', 'select 1; drop table flight.waypoints', 'sql.invalid', /multiple commands/],
    ['a second statement that reads', 'select 1; select 2', 'sql.invalid', /multiple commands/],
    [
      'the end of the transaction',
      'select 1; commit; delete from flights',
      'sql.invalid',
      /multiple commands/,
    ],
    [
      'a WITH that deletes',
      'with gone as (delete from waypoints returning 1) select * from gone',
      'sql.invalid',
      /data-modifying/,
    ],
    [
      'a WITH that inserts',
      `with x as (insert into geofences select * from geofences returning 1) select * from x`,
      'sql.invalid',
      /data-modifying/,
    ],
    ['SELECT INTO', 'select * into copied from flights', 'sql.invalid', /INTO/],
    ['row locks', 'select * from flights for update', 'sql.forbidden', /read-only|permission/],
    [
      'writing again',
      `select set_config('transaction_read_only', 'off', true)`,
      'sql.forbidden',
      /set_config/,
    ],
    ['another role', `select set_config('role', 'waylog', true)`, 'sql.forbidden', /set_config/],
    [
      'another user',
      `select set_config('session_authorization', 'waylog', true)`,
      'sql.forbidden',
      /set_config/,
    ],
    [
      'no time limit',
      `select set_config('statement_timeout', '0', false), pg_sleep(60)`,
      'sql.forbidden',
      /set_config/,
    ],
    ['more memory', `select set_config('work_mem', '100GB', true)`, 'sql.forbidden', /set_config/],
    ['the log', 'select * from log.events', 'sql.forbidden', /schema log/],
    ['the snapshots', 'select * from log.snapshots', 'sql.forbidden', /schema log/],
    [
      'the functions of the log',
      `select log.append('', '{}', '{}', '{}', '{}', '', '{}', '', '')`,
      'sql.forbidden',
      /schema log/,
    ],
    ['the checkpoints', 'select * from projection.checkpoints', 'sql.forbidden', /schema projection/],
    ['the migrations', 'select * from public.waylog_migrations', 'sql.forbidden', /permission denied/],
    ['password hashes', 'select * from pg_authid', 'sql.forbidden', /pg_authid/],
    ['password hashes by their view', 'select * from pg_shadow', 'sql.forbidden', /pg_shadow/],
    ['passwords of foreign servers', 'select * from pg_user_mapping', 'sql.forbidden', /pg_user_mapping/],
    ['the access rules', 'select * from pg_hba_file_rules', 'sql.forbidden', /permission denied/],
    ['a file', `select pg_read_file('/etc/passwd')`, 'sql.forbidden', /pg_read_file/],
    ['a file in bytes', `select pg_read_binary_file('PG_VERSION')`, 'sql.forbidden', /pg_read_binary_file/],
    ['a folder', `select pg_ls_dir('.')`, 'sql.forbidden', /pg_ls_dir/],
    ['the data folder', `select current_setting('data_directory')`, 'sql.forbidden', /data_directory/],
    ['a file as a large object', `select lo_import('/etc/passwd')`, 'sql.forbidden', /lo_import/],
    ['a new large object', 'select lo_creat(-1)', 'sql.forbidden', /lo_creat/],
    ['a large object from bytes', `select lo_from_bytea(0, 'x')`, 'sql.forbidden', /lo_from_bytea/],
    ['the append lock', 'select pg_advisory_xact_lock(7239100402)', 'sql.forbidden', /advisory/],
    ['a lock of the session', 'select pg_advisory_lock(7239100401)', 'sql.forbidden', /advisory/],
    ['a lock if it is free', 'select pg_try_advisory_lock(1, 2)', 'sql.forbidden', /advisory/],
    ['a shared lock', 'select pg_try_advisory_xact_lock_shared(7239100402)', 'sql.forbidden', /advisory/],
    [
      'a forged position',
      `select pg_notify('waylog_checkpoints', 'flight 99999999 0')`,
      'sql.forbidden',
      /pg_notify/,
    ],
    ['the end of sessions', 'select pg_terminate_backend(1)', 'sql.forbidden', /pg_terminate/],
    ['the end of statements', 'select pg_cancel_backend(pg_backend_pid())', 'sql.forbidden', /pg_cancel/],
    ['a reload', 'select pg_reload_conf()', 'sql.forbidden', /pg_reload_conf/],
    ['another log file', 'select pg_rotate_logfile()', 'sql.forbidden', /pg_rotate_logfile/],
    [
      'WAL',
      `select pg_logical_emit_message(false, 'a', repeat('x', 1000))`,
      'sql.forbidden',
      /pg_logical_emit/,
    ],
    ['a replication slot', `select pg_create_physical_replication_slot('x')`, 'sql.forbidden', /replication/],
    ['a snapshot for others', 'select pg_export_snapshot()', 'sql.forbidden', /pg_export_snapshot/],
    ['a sequence', `select nextval('log.streams_stream_key_seq')`, 'sql.forbidden', /schema log/],
    ...['query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema'].map(
      (name) =>
        [`SQL in ${name}`, `select ${name}('select 1', true, true, '')`, 'sql.forbidden', /to_xml/] as const,
    ),
    ['a table as XML', `select table_to_xml('flights', true, true, '')`, 'sql.forbidden', /table_to_xml/],
    [
      'SQL of text search',
      `select ts_stat('select to_tsvector(id) from flights')`,
      'sql.forbidden',
      /ts_stat/,
    ],
    ['SQL that rewrites', `select ts_rewrite('a', 'select ''a'', ''b''')`, 'sql.forbidden', /ts_rewrite/],
    [
      'XPath in a table',
      `select * from xmltable('//a' passing xmlparse(document '<a/>') columns x text path '.')`,
      'sql.forbidden',
      /XMLTABLE/,
    ],
    [
      'dropping chunks',
      `select drop_chunks('flight.frame_results', older_than => now())`,
      'sql.forbidden',
      /./,
    ],
    [
      'another chunk interval',
      `select set_chunk_time_interval('flight.frame_results', interval '1 day')`,
      'sql.forbidden',
      /./,
    ],
    [
      'workers stopped',
      'select _timescaledb_functions.stop_background_workers()',
      'sql.forbidden',
      /workers/,
    ],
    [
      'workers restarted',
      'select _timescaledb_functions.restart_background_workers()',
      'sql.forbidden',
      /workers/,
    ],
    ['the restoring mode', 'select timescaledb_pre_restore()', 'sql.forbidden', /./],
    [
      'dropping a chunk by the inside of TimescaleDB',
      `select _timescaledb_functions.drop_chunk(c) from show_chunks('flight.frame_results') c`,
      'sql.forbidden',
      /drop_chunk/,
    ],
    [
      'dropping a chunk by its old name',
      `select _timescaledb_internal.drop_chunk(c) from show_chunks('flight.frame_results') c`,
      'sql.forbidden',
      /drop_chunk/,
    ],
    ['a job', `select add_job('pg_catalog.now', '1h')`, 'sql.forbidden', /add_job/],
    ['the end of a job', `select delete_job(1)`, 'sql.forbidden', /delete_job/],
    ['another database', `select dblink('dbname=postgres', 'select 1')`, 'sql.invalid', /does not exist/],
  ];
  /** PostgreSQL does not end these when it should: each ran on for seconds or hours after a limit of 300 ms. */
  it.each([
    ['translate', `select translate(id, 'a', 'b') from flights`],
    ['btrim', `select trim(both 'a' from id) from flights`],
    ['ltrim', `select ltrim(id, 'a') from flights`],
    ['rtrim', `select rtrim(id, 'a') from flights`],
    ['btrim', `select trim(both 'a'::bytea from id::bytea) from flights`],
    ['ltrim', `select ltrim(id::bytea, 'a') from flights`],
    ['rtrim', `select rtrim(id::bytea, 'a') from flights`],
    ['position', `select position('a' in id) from flights`],
    ['position', `select position('a'::bytea in id::bytea) from flights`],
    ['position', `select position(b'1' in b'0101')`],
    ['strpos', `select strpos(id, 'a') from flights`],
    ['replace', `select replace(id, 'a', 'b') from flights`],
    ['split_part', `select split_part(id, 'a', 1) from flights`],
    ['string_to_array', `select string_to_array(id, 'a') from flights`],
    ['string_to_array', `select string_to_array(id, 'a', 'b') from flights`],
    ['string_to_table', `select string_to_table(id, 'a') from flights`],
    ['normalize', 'select normalize(id) from flights'],
    ['textlike', `select id like '%a' from flights`],
    ['textnlike', `select id not like '%a' from flights`],
    ['texticlike', `select id ilike '%a' from flights`],
    ['texticnlike', `select id not ilike '%a' from flights`],
    ['bpcharlike', `select 'a'::char(9) like id from flights`],
    ['bytealike', `select id::bytea like '%a' from flights`],
    ['namelike', `select datname like '%a' from pg_database`],
    ['like', `select "like"(id, '%a') from flights`],
    ['parse_ident', 'select parse_ident(id) from flights'],
    ['to_regclass', 'select to_regclass(id) from flights'],
    ['regclass', 'select id::regclass from flights'],
    ['to_timestamp', `select to_timestamp(id, 'YYYY') from flights`],
    ['to_date', `select to_date(id, 'YYYY') from flights`],
    ['ts_rank', `select ts_rank(to_tsvector(id), 'a') from flights`],
    ['poly_overlap', `select '((0,0),(1,1))'::polygon && '((0,0),(1,1))'::polygon`],
    ['poly_same', `select '((0,0),(1,1))'::polygon ~= '((0,0),(1,1))'::polygon`],
    ['poly_distance', `select '((0,0),(1,1))'::polygon <-> '((0,0),(1,1))'::polygon`],
    ['path_distance', `select '((0,0),(1,1))'::path <-> '((0,0),(1,1))'::path`],
    ['xpath', `select xpath('//a', xmlparse(document '<a/>'))`],
    ['xpath_exists', `select xpath_exists('//a', xmlparse(document '<a/>'))`],
    ['xmlexists', `select xmlexists('//a' passing xmlparse(document '<a/>'))`],
    ['arraycontains', 'select array[1] @> array[frame_id] from frame_results'],
    ['arraycontained', 'select array[1] <@ array[frame_id] from frame_results'],
    ['arrayoverlap', 'select array[1] && array[frame_id] from frame_results'],
    ['jsonb_contains', `select to_jsonb(id) @> '"a"' from flights`],
    ['jsonb_contained', `select to_jsonb(id) <@ '"a"' from flights`],
    ['jsonb_exists_any', `select to_jsonb(id) ?| array['a'] from flights`],
    ['jsonb_exists_all', `select to_jsonb(id) ?& array['a'] from flights`],
    ['jsonb_delete', `select '["a"]'::jsonb - array['a']`],
  ])('refuses what could not be ended: %s (%s)', async (name, sql) => {
    const { status, body } = await run(sql);
    expect({ sql, status, code: body.code as string }).toEqual({ sql, status: 403, code: 'sql.forbidden' });
    expect(body.detail).toContain(`function ${name}`);
  });

  it('lets the working roles use what it revokes from PUBLIC', async () => {
    const roles = roleNames(new URL(server.store.url).pathname.slice(1));
    expect(
      await owner(
        `select r.rolname as role from pg_roles r
          where r.rolname = any ($1) and has_function_privilege(r.oid, 'translate(text, text, text)', 'execute')
            and has_function_privilege(r.oid, 'arraycontains(anyarray, anyarray)', 'execute') order by 1`,
        [roles],
      ),
    ).toEqual(
      roles
        .filter((role) => !role.endsWith('reader'))
        .sort()
        .map((role) => ({ role })),
    );
  });

  it.each(breakouts)('refuses %s', async (_what, sql, code, why) => {
    const { status, body } = await run(sql);
    expect({ sql, status, code: body.code as string }).toEqual({
      sql,
      status: code === 'sql.forbidden' ? 403 : 400,
      code,
    });
    expect(body.detail).toMatch(why);
  });

  it('accepts only queries', async () => {
    for (const sql of [
      'insert into flight.flights default values',
      'update flight.flights set name = 1',
      'delete from flight.flights',
      'truncate flight.flights',
      'drop table flight.flights',
      'create table x (a integer)',
      'create temporary table x (a integer)',
      'set role waylog',
      'set session authorization waylog',
      'reset role',
      'copy flight.flights to stdout',
      `copy flight.flights to program 'id'`,
      `copy flight.flights from '/etc/passwd'`,
      'listen waylog_events',
      'notify waylog_events',
      'prepare transaction $$x$$',
      'do $$ begin perform 1; end $$',
      'explain analyze delete from flight.flights',
      'call pg_sleep(1)',
      'vacuum',
      'begin',
      '(select 1)',
      'table flight.flights',
      '/* */ select 1',
    ]) {
      expect([sql, (await run(sql)).body.code]).toEqual([sql, 'query.unknown']);
    }
    expect(await owner('select count(*)::integer as n from flight.flights')).toEqual([{ n: 1 }]);
  });

  it('uses a role that can do none of that in its own session either', async () => {
    const denied = [
      'insert into flight.flights select * from flight.flights',
      'update flight.waypoints set lat = 1',
      'delete from flight.waypoints',
      'truncate flight.waypoints',
      'drop table flight.waypoints',
      'create table flight.x (a integer)',
      'create table public.x (a integer)',
      'create temporary table x (a integer)',
      'create schema x',
      'create function public.x() returns integer language sql as $$ select 1 $$',
      'alter role waylog with superuser',
      'create role x',
      'set role waylog',
      'set session authorization waylog',
      `copy flight.flights to program 'id'`,
      `copy flight.flights to '/tmp/x'`,
      `copy public.waylog_migrations to stdout`,
      'select * from log.events',
      `select lo_create(0)`,
      `select pg_notify('waylog_checkpoints', 'flight 99999999 0')`,
      'select pg_advisory_lock(7239100402)',
      `set temp_file_limit = -1`,
      `alter system set work_mem = '1GB'`,
      `select drop_chunks('flight.frame_results', older_than => now())`,
      `select set_chunk_time_interval('flight.frame_results', interval '1 day')`,
      `select create_hypertable('flight.waypoints', by_range('timestamp'))`,
      `select _timescaledb_functions.drop_chunk(c) from show_chunks('flight.frame_results') c`,
      `call merge_chunks(null::regclass, null::regclass)`,
      `call run_job(1)`,
      `comment on table flight.flights is 'x'`,
    ];
    await asReader(async (client) => {
      // Even if it makes its transactions writable: that setting is a help, not the protection.
      await client.query('set default_transaction_read_only = off');
      for (const sql of denied) {
        const refusal = await client.query(sql).then(
          () => 'not refused',
          (error: unknown) => (error as pg.DatabaseError).message,
        );
        expect([sql, refusal]).toEqual([
          sql,
          expect.stringMatching(
            /permission denied|must be owner|must be superuser|must have|only roles with|must be/i,
          ),
        ]);
      }
      const { rows } = await client.query('select count(*)::integer as n from flight.frame_results');
      expect(rows).toEqual([{ n: 1 }]);
    });
  });

  it.each([
    'select query from pg_stat_activity',
    'select query from pg_stat_get_activity(null)',
    'select pg_stat_get_backend_activity(pg_stat_get_backend_idset())',
    'select query from pg_stat_statements',
    'select query from pg_stat_statements(true)',
  ])('shows nothing of what others run or have run: %s', async (sql) => {
    expect(await run(sql)).toMatchObject({ status: 403, body: { code: 'sql.forbidden' } });
    await asReader(async (client) => {
      await expect(client.query(sql)).rejects.toThrow('permission denied for function pg_stat');
    });
    // Monitoring sees it.
    const watching = await owner(
      `select pg_get_userbyid(a.grantee) as role, p.proname as name
         from pg_proc p, aclexplode(p.proacl) a
        where p.proname in ('pg_stat_get_activity', 'pg_stat_get_backend_activity', 'pg_stat_statements')`,
    );
    const [app, projector] = ['app', 'projector'].map((role) =>
      roleNames(new URL(server.store.url).pathname.slice(1)).find((name) => name.endsWith(role)),
    );
    for (const role of [projector, 'pg_monitor'])
      expect(watching).toEqual(
        expect.arrayContaining(
          ['pg_stat_get_activity', 'pg_stat_get_backend_activity', 'pg_stat_statements'].map((name) => ({
            role,
            name,
          })),
        ),
      );
    expect(watching.filter((each) => each['role'] === app)).toEqual([
      { role: app, name: 'pg_stat_get_activity' },
    ]);
  });

  it('shows nothing of large objects', async () => {
    expect((await run('select count(*)::integer as n from pg_largeobject_metadata')).status).toBeLessThan(
      404,
    );
  });

  it.each([`select has_database_privilege('nope', 'connect')`, `select pg_database_size('nope')`])(
    'is not reported as unavailable because a statement names what does not exist: %s',
    async (sql) => {
      expect(await run(sql)).toMatchObject({ status: 400, body: { code: 'sql.invalid' } });
    },
  );

  describe('has limits', () => {
    it('of statements per caller, so that others have their turns', async () => {
      const sql = server.app.get(ReadOnlySql);
      const gone = new AbortController();
      const of = (caller: string, statement: string) =>
        sql.run(statement, { caller, timeout: 600, signal: gone.signal }).then(
          () => 'answered',
          (error: unknown) => (error as WaylogError).code,
        );
      await sql.run('select 1');
      const many = Array.from({ length: 22 }, () => of('a', 'select pg_sleep(600)'));
      expect(await of('a', 'select 1')).toBe('sql.too-many');
      expect(await of('b', 'select 1')).toBe('answered');
      gone.abort();
      expect(await Promise.all(many)).toEqual(many.map(() => 'sql.timeout'));
      expect(rowsOf(await sql.run('select 1 as one', { caller: 'a' }))).toEqual([{ one: 1 }]);
    });

    it('of time', async () => {
      for (const sql of [
        'select pg_sleep(600)',
        'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b',
      ]) {
        expect([sql, (await run(sql, {}, { timeout: 0.3 })).body]).toMatchObject([
          sql,
          { status: 400, code: 'sql.timeout' },
        ]);
      }
      const strict = new ReadOnlySql({
        ownerUrl: server.store.url,
        maxTimeout: 0.3,
        pool: server.store.pool,
      });
      await expect(strict.run('select pg_sleep(600)', { timeout: 600 })).rejects.toMatchObject({
        code: 'sql.timeout',
      });
      await strict.close();
    });

    it.each([
      ['a sub-select in a sub-select', nestedSelects(30)],
      ['DISTINCT in DISTINCT, with a condition outside', nestedSelects(30, 'distinct ')],
      ['a CTE in a CTE', nestedCtes(25)],
      ['BETWEEN in BETWEEN', nestedIn(60, (e) => `(${e} between 0 and 2)::int`)],
      ['BETWEEN SYMMETRIC in it', nestedIn(30, (e) => `(${e} between symmetric 0 and 2)::int`)],
      ['a row of all that a row has', nestedIn(60, (e) => `row((${e}).*, 1)`, 'row(1, 2)')],
      [
        'a scalar sub-select in a sub-select',
        nestedIn(30, (e) => `(select x + x from (select ${e} as x) q)`),
      ],
    ])('of the expanded size before it runs: %s', async (_, sql) => {
      expect(await run(sql)).toMatchObject({ status: 400, body: { code: 'sql.too-expensive' } });
    });

    it('of memory of the database, which are not failures of the service', async () => {
      // The error of a statement without memory, without using it up.
      await owner(`create function flight.no_room() returns int language plpgsql as
        $$ begin raise exception 'out of memory' using errcode = 'out_of_memory'; end $$`);
      const answer = await run('select flight.no_room()').finally(() =>
        owner('drop function flight.no_room()'),
      );
      expect(answer.body).toMatchObject({ status: 400, code: 'sql.too-expensive' });
    });

    it('of connections of all servers, reported as such', async () => {
      const role = pg.escapeIdentifier(readerRoleName(new URL(server.store.url).pathname.slice(1)));
      const other = new ReadOnlySql({ ownerUrl: server.store.url, maxTimeout: 5, pool: server.store.pool });
      await owner(`alter role ${role} connection limit 0`);
      try {
        await expect(other.run('select 1', {})).rejects.toMatchObject({
          code: 'sql.busy',
          kind: 'unavailable',
          data: { retryAfterSeconds: 5 },
        });
      } finally {
        await owner(`alter role ${role} connection limit 12`);
        await other.close();
      }
    });

    it('of rows', async () => {
      const sql = 'select n from generate_series(1, 20000) n';
      const some = (await run(sql)).body;
      expect([some.rowCount, some.data.truncated]).toEqual([1_000, true]);
      const few = (await run(sql, { maxRows: 2 })).body;
      expect(few.data).toMatchObject({ truncated: true, rows: [{ n: 1 }, { n: 2 }] });
      expect((await run(`${sql} limit 1000`)).body.data.truncated).toBe(false);
      expect((await run(sql, { maxRows: 10_000 })).body.rowCount).toBe(10_000);
    });

    it('of JSON text, however few bytes the database sends', async () => {
      // Many columns with long names, with only nulls in them.
      const many = (n: number, rows: number) =>
        `select * from ${Array.from({ length: n }, (_, i) => `(select null as "${'x'.repeat(50)}${i}") _${i}`).join()}, generate_series(1, ${rows}) n`;
      expect((await run(many(200, 10), { maxRows: 10 })).body.data.rows).toHaveLength(10);
      const { status, body } = await run(many(200, 10_000), { maxRows: 10_000 });
      expect([status, body.code]).toEqual([400, 'sql.answer-too-large']);
    });

    it('of memory for answers that are kept, whatever they contain', async () => {
      const before = memoryInUse();
      for (let n = 0; n < 5; n++) {
        // 4 MB of text; as objects 60 MB.
        const sql = `select jsonb_agg(jsonb_build_object()) as j, ${n} as n from generate_series(1, 1000000)`;
        expect((await run(sql, {}, { useCache: true })).status).toBe(200);
      }
      expect((memoryInUse() - before) / 2 ** 20).toBeLessThan(100);
    });

    it('of bytes, before they fill the memory of the server', async () => {
      const before = memoryInUse();
      const oneValue = `select repeat(repeat('x', 1000), 50000) as x`;
      // 5 GB: who read all of it would have no memory, or no time, left for this answer.
      const manyRows = `select repeat('x', 100000) as x from generate_series(1, 50000)`;
      for (const sql of [oneValue, manyRows]) {
        expect(await run(sql)).toMatchObject({ status: 400, body: { code: 'sql.answer-too-large' } });
      }
      expect((memoryInUse() - before) / 2 ** 20).toBeLessThan(100);
      const message = await run(`select repeat('x', 3000000)::integer`);
      expect(message.body.detail.length).toBeLessThan(1_000);
    });

    it('of files for data that does not fit into memory', async () => {
      const sql = `select count(*) from (select distinct repeat(md5(n::text), 100) from generate_series(1, 10000000) n) x`;
      const { body } = await run(sql);
      expect(['sql.too-expensive', 'sql.timeout']).toContain(body.code);
    });

    it('of concurrent statements; others wait', async () => {
      const many = await Promise.all(
        Array.from({ length: 12 }, () => run('select pg_sleep(0.05)::text as x')),
      );
      expect(many.map(({ status }) => status)).toEqual(many.map(() => 200));
    });
  });

  it('ends a statement when its caller disconnects', async () => {
    const running = async () =>
      (
        await owner(
          `select pid from pg_stat_activity where query like '%fetch%' and usename = $1 and state = 'active'`,
          [readerRoleName(new URL(server.store.url).pathname.slice(1))],
        )
      ).length;
    const gone = new AbortController();
    const request = fetch(`${server.url}/v1/queries`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'select pg_sleep(600)', serviceName: 'analyst' }),
      signal: gone.signal,
    }).catch((error: unknown) => error);
    const until = async (is: (n: number) => boolean) => {
      for (let looks = 0; looks < 2_000; looks++) if (is(await running())) return true;
      return false;
    };
    expect(await until((n) => n > 0)).toBe(true);
    gone.abort();
    expect(await request).toBeInstanceOf(DOMException);
    expect(await until((n) => n === 0)).toBe(true);
    expect((await run('select 1 as one')).body.data.rows).toEqual([{ one: 1 }]);
  });

  it('keeps the place of a statement that does not end: of its caller, and of the process', async () => {
    const sql = new ReadOnlySql({ ownerUrl: server.store.url, maxTimeout: 20, pool: server.store.pool });
    const answered = (caller: string, statement = 'select 1', timeout?: number) =>
      sql.run(statement, { caller, timeout }).then(
        () => ({ code: 'answered', message: '' }),
        (error: unknown) => error as WaylogError,
      );
    // A name with many quotes, which no right can prevent: for some seconds PostgreSQL does not check for interrupts.
    const runsOn = `select ('"a' || repeat('""', ${RUNS_ON}) || '"')::regproc`;
    expect(await Promise.all(['a', 'b', 'a', 'b'].map((caller) => answered(caller, runsOn, 0.2)))).toEqual(
      Array.from({ length: 4 }, () => expect.objectContaining({ code: 'sql.timeout' }) as unknown),
    );
    const sessions = await readerSessions(queryOn(server.store.pool));
    const pids = sessions.map(({ pid }) => pid);
    expect(sessions.map(({ seconds }) => seconds > 0.2)).toEqual([true, true, true, true]);
    const own = await answered('a');
    expect(own.code).toBe('sql.too-many');
    expect(pids.filter((pid) => own.message.includes(String(pid)))).toHaveLength(2);
    const other = await answered('c');
    expect(other.code).toBe('sql.busy');
    expect(pids.filter((pid) => other.message.includes(String(pid)))).toHaveLength(4);
    expect(await sql.status()).toMatchObject({ available: false, reason: other.message });
    // Until the database no longer has them.
    for (const caller of ['c', 'a', 'b']) {
      let code: string;
      do {
        await owner('select 1');
        ({ code } = await answered(caller));
      } while (code === 'sql.busy' || code === 'sql.too-many');
      expect(code).toBe('answered');
    }
    // A caller has a place again once one of its two is gone: the other can run a little longer.
    await eventually(async () => {
      const left = await readerSessions(queryOn(server.store.pool));
      return !left.some(({ pid }) => pids.includes(pid));
    });
    await sql.close();
  });

  it('leaves nothing in a session for the next statement', async () => {
    const pid = async () => (await run('select pg_backend_pid() as pid')).body.data.rows[0].pid as number;
    expect(await pid()).not.toBe(await pid());
  });

  it('continues to read after rebuilds have replaced tables, and reads later tables', async () => {
    const tables = flightProjections.map(({ table }) => table.name);
    const counts = async () => {
      const all: unknown[] = [];
      for (const table of tables) {
        const { status, body } = await run(`select count(*)::integer as n from ${table}`);
        all.push([table, status, body.data?.rows[0].n]);
      }
      return all;
    };
    const before = await counts();
    expect(before).toContainEqual(['frame_results', 200, 1]);
    await rebuild({
      projector: flight.name,
      projections: flightProjections,
      store: server.app.get<EventStore>(EVENT_STORE),
      connectionString: server.store.url,
    });
    expect(await counts()).toEqual(before);
    // Also a chunk that is created after the swap.
    await server.call('PUT', '/v1/flights/sql/frames/2', { ...aFrame(2), timestamp: '2024-01-01T00:00:00Z' });
    await settled();
    expect((await run('select count(*)::integer as n from frame_results')).body.data.rows).toEqual([
      { n: 2 },
    ]);
    await owner('create table flight.later as select 7 as n');
    await owner('create view flight.seen as select n from flight.later');
    expect((await run('select * from later join seen using (n)')).body.data.rows).toEqual([{ n: 7 }]);
    await owner('drop table flight.later cascade');
  });

  it('reports whether it is available, and what its role could do that it should not', async () => {
    const { body } = await server.call('GET', '/v1/admin/ad-hoc-sql');
    expect(body).toMatchObject({
      available: true,
      role: readerRoleName(new URL(server.store.url).pathname.slice(1)),
      weaknesses: [],
      limits: { timeout: LIMIT_SECONDS, rows: 10_000 },
    });
    await owner('grant execute on function pg_catalog.pg_notify(text, text) to public');
    const { weaknesses } = (await server.call('GET', '/v1/admin/ad-hoc-sql')).body;
    expect(weaknesses).toEqual([expect.stringContaining('pg_notify')]);
    await migrate(server.store.url);
    expect((await server.call('GET', '/v1/admin/ad-hoc-sql')).body.weaknesses).toEqual([]);
  });

  it('refuses a role that can do more than read', async () => {
    const role = readerRoleName(new URL(server.store.url).pathname.slice(1));
    const fresh = (readerUrl?: string) =>
      new ReadOnlySql({ ownerUrl: server.store.url, readerUrl, maxTimeout: 5, pool: server.store.pool });
    const refusal = async (sql: ReadOnlySql) => {
      const { available, reason } = await sql.status();
      const error = await sql.run('select 1').then(
        () => undefined,
        (e: unknown) => e as Error,
      );
      await sql.close();
      expect([available, error]).toMatchObject([false, { code: 'sql.unavailable' }]);
      return reason;
    };
    expect(await refusal(fresh(server.store.url))).toContain('is a superuser');
    for (const [grant, revoke, what] of [
      ['grant pg_read_all_data to R', 'revoke pg_read_all_data from R', 'pg_read_all_data'],
      ['grant insert on flight.flights to R', 'revoke insert on flight.flights from R', 'may write to'],
      ['grant usage on schema log to R', 'revoke usage on schema log from R', 'schema log'],
      ['alter role R createrole', 'alter role R nocreaterole', 'may create roles'],
      [
        'grant create on schema public to R',
        'revoke create on schema public from R',
        'create in schema public',
      ],
    ] as const) {
      await owner(grant.replace(' R', ` ${role}`));
      expect(await refusal(fresh())).toContain(what);
      await owner(revoke.replace(' R', ` ${role}`));
    }
    const sql = fresh();
    expect(rowsOf(await sql.run('select 1 as one'))).toEqual([{ one: 1 }]);
    await sql.close();
  });

  it('is not available, with the reason, without a role', async () => {
    const url = new URL(server.store.url);
    url.password = '';
    const without = new ReadOnlySql({ ownerUrl: url.href, maxTimeout: 5, pool: server.store.pool });
    expect(await without.status()).toMatchObject({
      available: false,
      reason: expect.stringContaining('no password') as string,
    });
    await expect(without.run('select 1')).rejects.toMatchObject({ code: 'sql.unavailable' });
    url.password = 'another';
    const other = new ReadOnlySql({ ownerUrl: url.href, maxTimeout: 5, pool: server.store.pool });
    await expect(other.run('select 1')).rejects.toMatchObject({
      code: 'sql.unavailable',
      message: expect.stringContaining('waylog migrate') as string,
    });
    await other.close();
  });
});

describe('the role that reads', () => {
  const admin = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client({ connectionString: testServerUrl() });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  };
  const exists = (role: string) =>
    admin(
      async (client) =>
        (await client.query('select 1 from pg_roles where rolname = $1', [role])).rowCount === 1,
    );

  it('has a name for every database, however long', () => {
    expect(readerRoleName('waylog')).toBe('waylog_reader');
    const long = ['a', 'b'].map((end) => readerRoleName('ø'.repeat(31) + end));
    expect(long.every((name) => Buffer.byteLength(name) <= 63)).toBe(true);
    expect(long[0]).not.toBe(long[1]);
    expect(readerAccess('postgres://me:secret@host/a%22b?sslmode=require')).toMatchObject({
      role: 'a"b_reader',
      url: expect.stringMatching(
        /^postgres:\/\/a%22b_reader:[0-9a-f]{64}@host\/a%22b\?sslmode=require$/,
      ) as string,
    });
  });

  it('is created and dropped by the migrations, for several databases at once', async () => {
    const databases = await Promise.all([testDatabase(), testDatabase(), testDatabase()]);
    const roles = databases.map(({ url }) => readerRoleName(new URL(url).pathname.slice(1)));
    for (const role of roles) expect(await exists(role)).toBe(true);
    await Promise.all(databases.map(({ url }) => Promise.all([migrate(url), migrate(url)])));
    await Promise.all(databases.map(({ url }) => revert(url, migrations.length)));
    for (const role of roles) expect(await exists(role)).toBe(false);
    await Promise.all(databases.map(({ url }) => migrate(url)));
    for (const role of roles) expect(await exists(role)).toBe(true);
    await Promise.all(databases.map(({ drop }) => drop()));
    for (const role of roles) expect(await exists(role)).toBe(false);
  });

  it('is created for a database whose name needs quotes', async () => {
    const name = `waylog_test_"q' ${process.pid}`;
    const url = new URL(testServerUrl());
    url.pathname = `/${encodeURIComponent(name)}`;
    await admin((client) => client.query(`create database ${pg.escapeIdentifier(name)}`));
    try {
      await migrate(url.href);
      const pool = new pg.Pool({ connectionString: url.href });
      const sql = new ReadOnlySql({ ownerUrl: url.href, maxTimeout: 5, pool });
      expect(rowsOf(await sql.run('select count(*)::integer as n from flights'))).toEqual([{ n: 0 }]);
      await sql.close();
      await pool.end();
    } finally {
      await admin(async (client) => {
        await client.query(`drop database ${pg.escapeIdentifier(name)} with (force)`);
        const made = roleNames(name).map((role) => pg.escapeIdentifier(role));
        await client.query(`drop role if exists ${made.join(', ')}`);
      });
    }
  });

  it('is not taken from another user who has a role of that name', async () => {
    const database = await testDatabase();
    const role = readerRoleName(new URL(database.url).pathname.slice(1));
    await admin((client) => client.query(`comment on role ${role} is 'the reader of somebody else'`));
    const lines: string[] = [];
    await migrate(database.url, { progress: (line) => lines.push(line) });
    expect(lines).toEqual([expect.stringContaining(`There is a role ${role} that Waylog has not made`)]);
    await database.drop();
  });

  it('is created by an owner that is not a superuser, with a report of what could not be revoked', async () => {
    const owner = `waylog_test_owner_${process.pid}`;
    const name = `waylog_test_owned_${process.pid}`;
    const url = new URL(testServerUrl());
    await admin(async (client) => {
      await client.query(`create role ${owner} login createrole password 'secret'`);
      await client.query(`create database ${name} owner ${owner}`);
    });
    url.pathname = `/${name}`;
    const extension = new pg.Client({ connectionString: url.href });
    await extension.connect();
    await extension.query('create extension timescaledb');
    await extension.end();
    url.username = owner;
    url.password = 'secret';
    const pool = new pg.Pool({ connectionString: url.href });
    const access = readerAccess(url.href);
    if (typeof access === 'string') throw new Error(access);
    const sql = new ReadOnlySql({ ownerUrl: url.href, readerUrl: access.url, maxTimeout: 5, pool });
    try {
      await migrate(url.href);
      await migrate(url.href);
      const made = new ReadOnlySql({ ownerUrl: url.href, maxTimeout: 5, pool });
      const unused = await made.status();
      expect(unused).toMatchObject({ available: false, role: `${name}_reader` });
      expect(unused.reason).toContain('pg_notify');
      await expect(made.run('select 1')).rejects.toMatchObject({ code: 'sql.unavailable' });
      await made.close();
      // An operator who names the role has accepted that.
      const status = await sql.status();
      expect(status).toMatchObject({ available: true, role: `${name}_reader` });
      expect(status.weaknesses).toEqual([expect.stringContaining('pg_notify')]);
      expect(rowsOf(await sql.run('select count(*)::integer as n from flights'))).toEqual([{ n: 0 }]);
      await expect(sql.run('select * from log.events')).rejects.toMatchObject({ code: 'sql.forbidden' });
      // The limit was set before the statement began: changing it now has no effect.
      await expect(
        sql.run(`select set_config('statement_timeout', '0', false), pg_sleep(60)`, { timeout: 0.3 }),
      ).rejects.toMatchObject({ code: 'sql.timeout' });
      await expect(sql.run(`select set_config('transaction_read_only', 'off', true)`)).rejects.toMatchObject({
        code: 'sql.invalid',
      });
      await revert(url.href, migrations.length);
      expect(await exists(`${name}_reader`)).toBe(false);
      await admin((client) => client.query(`alter role ${owner} nocreaterole`));
      const lines: string[] = [];
      await migrate(url.href, { progress: (line) => lines.push(line) });
      expect(lines.at(-1)).toContain('may not create roles');
    } finally {
      await sql.close();
      await pool.end();
      await admin(async (client) => {
        await client.query(`drop database ${name} with (force)`);
        await client.query(`drop role if exists ${roleNames(name).join(', ')}`);
        await client.query(`drop role ${owner}`);
      });
    }
  });
});
