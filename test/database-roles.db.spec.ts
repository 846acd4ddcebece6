import pg from 'pg';
import { flightTables, simulateFlight, playFlight } from '#lib/flight';
import {
  Hypertables,
  jobTroubles,
  madeAccess,
  queryOn,
  rightsDeviations,
  roleName,
  roleNames,
  stepDown,
  tableRights,
  unruledTables,
  userSchemas,
} from '#lib/timescale';
import { DatabaseRoles1790000011000 } from '../migrations/1790000011000-database-roles.js';
import { migrate, mayMigrate, migrations, revert, runMigrations } from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight } from './support/samples.js';
import { startWaylog } from './support/waylog.js';

/** Runs `work` with the login of a URL. */
async function as<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const onServer = <T>(work: (client: pg.Client) => Promise<T>) => as(testServerUrl(), work);
const nameOf = (url: string) => new URL(url).pathname.slice(1);
const made = (url: string, role: 'app' | 'projector' | 'reader') => madeAccess(url, role)!.url;

const RIGHTS = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'] as const;
const DENIED = '42501';

describe('the roles of a database', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
    const waylog = await startWaylog(database.url);
    await waylog.database.insertFlight(aFlight('one', 2));
    await waylog.close();
  });
  afterAll(() => database.drop());

  /** PostgreSQL's answer to a statement of a role: the SQLSTATE, or nothing if it succeeded. */
  const answer = (role: 'app' | 'projector' | 'reader', sql: string): Promise<string | undefined> =>
    as(made(database.url, role), async (client) => {
      // The effect of a statement is rolled back; a statement that cannot run in a transaction has none here.
      await client.query('begin');
      return client.query(sql).then(
        () => undefined,
        (error: unknown) => (error as pg.DatabaseError).code,
      );
    });

  it('have exactly the rights in rights.ts, according to PostgreSQL; and rights.ts covers every table', async () => {
    const query = queryOn(database.pool);
    const schemas = [...(await userSchemas(query)), 'public', 'rebuild_flight', 'verify_flight'];
    expect(await unruledTables(query, schemas)).toEqual([]);
    const all = tableRights(['flight']);
    const [app, projector] = roleNames(nameOf(database.url));
    const { rows } = await database.pool.query<{
      name: string;
      role: string;
      owner: string;
      rights: string[];
    }>(
      `select c.oid::regclass::text as name, r.name as role, pg_get_userbyid(c.relowner) as owner,
              array(select p.name from unnest($3::text[]) as p (name)
                     where has_table_privilege(r.name, c.oid, p.name)
                        or p.name not in ('delete', 'truncate', 'trigger') and has_any_column_privilege(r.name, c.oid, p.name)
                     order by 1) as rights
         from pg_class c, unnest($1::name[]) as r (name)
        where c.relnamespace = any ($2::text[]::regnamespace[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
          and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`,
      [[app, projector], schemas, RIGHTS],
    );
    expect(rows.length).toBeGreaterThan(50);
    for (const { name, role, owner, rights } of rows) {
      const full = name.includes('.') ? name : `public.${name}`;
      const of = all[full] ?? all[full.replace(/\..*/, '.*')];
      const wanted = of?.[role === app ? 'app' : 'projector'];
      if (wanted === 'owner') expect({ full, owner }).toEqual({ full, owner: projector });
      else expect({ full, role, rights }).toEqual({ full, role, rights: [...(wanted ?? [])].sort() });
    }
    expect(await rightsDeviations(query)).toEqual([]);
  });

  it('fail that check if a table is not covered, or a right is missing or extra', async () => {
    const query = queryOn(database.pool);
    await database.pool.query(`create table log.forgotten (a integer)`);
    expect(await unruledTables(query, ['log'])).toEqual(['log.forgotten']);
    await database.pool.query(`drop table log.forgotten`);
    const app = roleName(nameOf(database.url), 'app');
    await database.pool.query(
      `grant update (data) on log.events to ${app}; revoke insert on log.streams from ${app}`,
    );
    expect(await rightsDeviations(query)).toEqual([
      { role: app, table: 'log.events', right: 'update', has: true },
      { role: app, table: 'log.streams', right: 'insert', has: false },
    ]);
    await database.pool.query(
      `revoke update (data) on log.events from ${app}; grant truncate on log.events to ${app}`,
    );
    await database.pool.query(`create function log.later() returns integer language sql as 'select 1'`);
    // A migration restores them, and a function of the log is the application's alone.
    await migrate(database.url);
    const { rows } = await database.pool.query(
      `select distinct r.role, has_function_privilege(r.name, p.oid, 'execute') as may
         from pg_proc p, (values ('app', $1::name), ('projector', $2::name)) as r (role, name)
        where p.pronamespace = 'log'::regnamespace order by 1`,
      roleNames(nameOf(database.url)).slice(0, 2),
    );
    expect(rows).toEqual([
      { role: 'app', may: true },
      { role: 'projector', may: false },
    ]);
    await database.pool.query(`drop function log.later()`);
    expect(await rightsDeviations(query)).toEqual([]);
  });

  it.each([
    `update log.events set data = '{}'`,
    `delete from log.events`,
    `truncate log.events`,
    `update log.streams set stream_id = 'x'`,
    `delete from log.streams`,
    `truncate log.streams cascade`,
    `alter table log.events disable trigger all`,
    `alter table log.events add column x integer`,
    `alter table log.events drop constraint events_pkey`,
    `alter table log.events enable row level security`,
    `create rule forget as on insert to log.events do instead nothing`,
    `create trigger forget before insert on log.events for each row execute function suppress_redundant_updates_trigger()`,
    `create index on log.events (type)`,
    `drop table log.events`,
    `create or replace function log.append_expected(bigint[], integer[], bigint[], integer[], uuid[], text, integer[], text, text)
       returns bigint language sql as 'select 1::bigint'`,
    `set session_replication_role = replica`,
    `set role pg_write_server_files`,
    `create table log.mine (a integer)`,
    `create table flight.mine (a integer)`,
    `create table public.mine (a integer)`,
    `create temporary table mine (a integer)`,
    `create schema mine`,
    `drop extension timescaledb`,
    `update flight.flights set name = 'x'`,
    `delete from flight.flights`,
    `update projection.checkpoints set position = '0'`,
    `delete from projection.stream_revisions`,
    `insert into registry.models (service_name, name, definition) values ('a', 'b', '{}')`,
    `delete from public.waylog_migrations`,
    `copy log.events to '/tmp/events'`,
    `copy log.events to program 'cat'`,
    `select pg_read_file('postgresql.conf')`,
    `select lo_create(0)`,
    `select pg_switch_wal()`,
    `create role mine`,
    `alter role current_user superuser`,
  ])('refuse to the application: %s', async (sql) => {
    expect(await answer('app', sql)).toBe(DENIED);
  });

  it.each([
    `select * from log.events`,
    `select * from flight.frame_results, flight.frame_minutes`,
    `select * from projection.parked_streams`,
    `insert into log.streams (stream_id) values ('mine')`,
    `delete from log.snapshots`,
    `select pg_advisory_xact_lock(1), pg_notify('x', ''), set_config('synchronous_commit', 'off', true)`,
  ])('allow the application: %s', async (sql) => {
    expect(await answer('app', sql)).toBeUndefined();
  });

  it.each([
    `insert into log.events select position + 1000, stream_key, revision + 1000, id, type, schema_version, recorded_at, data, metadata from log.events`,
    `insert into log.streams (stream_id) values ('mine')`,
    `update log.events set data = '{}'`,
    `delete from log.events`,
    `truncate log.events`,
    `alter table log.events disable trigger all`,
    `drop table log.events`,
    `drop schema log cascade`,
    `insert into log.snapshots (stream_id, version, revision, state) values ('a', 1, 1, '')`,
    `create table log.mine (a integer)`,
    `create table public.mine (a integer)`,
    `create schema mine`,
    `set session_replication_role = replica`,
    `delete from public.waylog_migrations`,
    `drop table projection.checkpoints`,
    `copy flight.flights to program 'cat'`,
  ])('refuse to the projector: %s', async (sql) => {
    expect(await answer('projector', sql)).toBe(DENIED);
  });

  it.each([
    `select log.append('a', '{-1}', '{1}', '{0}', array[gen_random_uuid()], 'x', '{1}', '{}', '{}')`,
    `select log.append_expected('{1}', '{0}', '{1}', '{1}', array[gen_random_uuid()], 'x', '{1}', '{}', '{}')`,
  ])('let only the application append: %s', async (sql) => {
    expect(await answer('projector', sql)).toBe(DENIED);
    expect(await answer('app', sql)).toBeUndefined();
  });

  it.each([
    `select * from flight.flights`,
    `delete from flight.flights`,
    `create table flight.mine (a integer)`,
    `create table rebuild_flight.mine (a integer)`,
    `create temporary table mine (a integer)`,
    `select drop_chunks('flight.frame_results'::regclass, older_than => interval '100 years')`,
    `delete from log.snapshots`,
  ])('allow the projector: %s', async (sql) => {
    expect(await answer('projector', sql)).toBeUndefined();
  });

  it('leave no row that PostgreSQL refuses in its log, which no erasure reaches', async () => {
    const setting = async (role: 'app' | 'projector' | 'reader', name: string) =>
      (await as(made(database.url, role), (client) => client.query<Record<string, string>>(`show ${name}`)))
        .rows[0]?.[name];
    for (const role of ['app', 'projector'] as const)
      expect(await setting(role, 'log_error_verbosity')).toBe('terse');
    // A reader chooses what its errors quote.
    expect(await setting('reader', 'log_min_messages')).toBe('fatal');
    expect(await setting('reader', 'log_min_error_statement')).toBe('panic');
  });

  it('give ad-hoc SQL nothing new', async () => {
    expect(await answer('reader', 'select * from flight.flights')).toBeUndefined();
    for (const table of [
      'log.events',
      'projection.checkpoints',
      'timescale.hypertables',
      'public.waylog_migrations',
    ])
      expect(await answer('reader', `select * from ${table}`)).toBe(DENIED);
    for (const role of ['app', 'projector'] as const)
      expect(await answer('reader', `set role ${roleName(nameOf(database.url), role)}`)).toBe(DENIED);
  });

  it('are used by a process whatever its URL', async () => {
    const name = nameOf(database.url);
    const projectorUrl = made(database.url, 'projector');
    const both = { app: { role: roleName(name, 'app') }, projector: { role: roleName(name, 'projector') } };
    expect(await stepDown({ databaseUrl: database.url })).toMatchObject({
      ...both,
      ownerUrl: database.url,
      warnings: [],
    });
    const apart = await stepDown({ databaseUrl: made(database.url, 'app'), projectorUrl });
    expect(apart).toMatchObject({ ...both, warnings: [] });
    expect(apart.ownerUrl).toBeUndefined();
    const alone = await stepDown({ databaseUrl: made(database.url, 'app') });
    expect(alone.warnings).toEqual([expect.stringContaining('WAYLOG_PROJECTOR_URL is not set')]);
    const mighty = await stepDown({ databaseUrl: made(database.url, 'app'), projectorUrl: database.url });
    expect(mighty.warnings).toEqual([expect.stringContaining('WAYLOG_PROJECTOR_URL logs in as')]);
  });

  it('cause an error if the URL of the owner does not lead to them', async () => {
    const other = await testDatabase();
    const app = roleName(nameOf(other.url), 'app');
    try {
      await onServer((client) => client.query(`alter role ${app} password 'changed'`));
      await expect(stepDown({ databaseUrl: other.url })).rejects.toMatchObject({
        code: 'database.role-refused',
        message: expect.stringContaining('waylog migrate') as string,
      });
      await migrate(other.url);
      await expect(stepDown({ databaseUrl: other.url })).resolves.toMatchObject({ warnings: [] });
      await onServer((client) =>
        client.query(`comment on role ${app} is 'For Waylog, with a password of its own'`),
      );
      await onServer((client) => client.query(`alter role ${app} password 'changed'`));
      await expect(stepDown({ databaseUrl: other.url })).rejects.toMatchObject({
        code: 'database.owner-at-work',
      });
      // A migration keeps the password of a role that an administrator created.
      await migrate(other.url);
      const url = new URL(made(other.url, 'app'));
      url.password = 'changed';
      await expect(as(url.href, () => Promise.resolve('in'))).resolves.toBe('in');
    } finally {
      await other.drop();
    }
  });

  it('are not taken from another user who has roles of that name: everything then works as the owner, with a warning', async () => {
    const other = await testDatabase();
    const app = roleName(nameOf(other.url), 'app');
    await onServer((client) => client.query(`comment on role ${app} is 'the app of somebody else'`));
    const lines: string[] = [];
    await migrate(other.url, { progress: (line) => lines.push(line) });
    expect(lines).toEqual([expect.stringContaining(`There is a role ${app} that Waylog has not made`)]);
    const access = await stepDown({ databaseUrl: other.url });
    expect(access).toMatchObject({ app: { url: other.url }, projector: { url: other.url } });
    expect(access.warnings).toEqual([expect.stringContaining('may change and delete recorded events')]);
    const waylog = await startWaylog(other.url);
    expect(await waylog.database.insertFlight(aFlight('as-owner'))).toBe('as-owner');
    await waylog.close();
    await other.drop();
  });

  it('are removed by the `down` of their migration, and created again', async () => {
    const other = await testDatabase();
    const [app, projector] = roleNames(nameOf(other.url));
    const waylog = await startWaylog(other.url);
    await waylog.database.insertFlight(aFlight('stays', 1));
    await waylog.close();
    await revert(
      other.url,
      migrations.length - migrations.findIndex(({ name }) => name.startsWith('DatabaseRoles')),
    );
    const { rows } = await other.pool.query(
      `select c.oid::regclass from pg_class c, unnest(array[$1, $2]::name[]) as r (name)
        where c.relnamespace in ('log'::regnamespace, 'flight'::regnamespace, 'projection'::regnamespace)
          and (c.relowner = r.name::regrole or has_table_privilege(r.name, c.oid, 'select'))`,
      [app, projector],
    );
    expect(rows).toEqual([]);
    await expect(as(made(other.url, 'app'), () => Promise.resolve())).rejects.toThrow(
      /not permitted to log in/,
    );
    // An older Waylog would work as the owner.
    await other.pool.query(`update flight.flights set name = 'x'`);
    await migrate(other.url);
    expect(await rightsDeviations(queryOn(other.pool))).toEqual([]);
    const again = await startWaylog(other.url);
    await again.database.insertFlight(aFlight('comes'));
    expect((await again.database.queryFlights({}, 10, 0)).map(({ id }) => id).sort()).toEqual([
      'comes',
      'stays',
    ]);
    await again.close();
    await other.drop();
  });

  it('are created for several databases at once', async () => {
    const databases = await Promise.all([testDatabase(), testDatabase(), testDatabase(), testDatabase()]);
    const lines: string[] = [];
    await Promise.all(
      databases.flatMap(({ url }) =>
        [1, 2, 3].map(() => migrate(url, { progress: (line) => lines.push(line) })),
      ),
    );
    expect(lines.filter((line) => !line.includes('another process'))).toEqual([]);
    for (const { url, pool } of databases) {
      expect(await rightsDeviations(queryOn(pool))).toEqual([]);
      await expect(stepDown({ databaseUrl: url })).resolves.toMatchObject({ warnings: [] });
    }
    await Promise.all(databases.map(({ drop }) => drop()));
  });

  it('are created for a database whose name needs quotes', async () => {
    const name = `waylog_test_r"q' ${process.pid}`;
    const url = new URL(testServerUrl());
    url.pathname = `/${encodeURIComponent(name)}`;
    const id = pg.escapeIdentifier;
    await onServer((client) => client.query(`create database ${id(name)}`));
    try {
      const lines: string[] = [];
      await migrate(url.href);
      await migrate(url.href, { progress: (line) => lines.push(line) });
      expect(lines).toEqual([]);
      expect(await stepDown({ databaseUrl: url.href })).toMatchObject({
        app: { role: `${name}_app` },
        warnings: [],
      });
    } finally {
      await onServer(async (client) => {
        await client.query(`drop database ${id(name)} with (force)`);
        for (const role of roleNames(name)) await client.query(`drop role if exists ${id(role)}`);
      });
    }
  });
});

describe('an owner that is not a superuser', () => {
  /** A database of such an owner, with the extension, which only a superuser can create. */
  async function owned(kind: string, attributes: string) {
    const owner = `waylog_test_${kind}_${process.pid}`;
    const name = `waylog_test_${kind}_db_${process.pid}`;
    await onServer(async (client) => {
      await client.query(`create role ${owner} login ${attributes} password 'secret'`);
      await client.query(`create database ${name} owner ${owner}`);
    });
    const url = new URL(testServerUrl());
    url.pathname = `/${name}`;
    await as(url.href, (client) => client.query('create extension timescaledb'));
    url.username = owner;
    url.password = 'secret';
    return {
      name,
      owner,
      url: url.href,
      drop: () =>
        onServer(async (client) => {
          await client.query(`drop database ${name} with (force)`);
          await client.query(`drop role if exists ${roleNames(name).join(', ')}`);
          await client.query(`drop role ${owner}`);
        }),
    };
  }

  /** As a superuser. */
  const letGiveChunks = async ({ name }: { readonly name: string }) => {
    const url = new URL(testServerUrl());
    url.pathname = `/${name}`;
    await as(url.href, (client) =>
      client.query(`grant create on schema _timescaledb_internal to ${name}_projector`),
    );
  };

  /** Policies that run as a role which cannot change their table. */
  const jobsAway = async (client: pg.Client) =>
    (await jobTroubles(queryOn(client))).filter(({ what }) => what.startsWith('it works as'));

  let flights = 0;

  /** Commands, and tables that follow them. */
  async function works(options: { databaseUrl: string; projectorUrl?: string }): Promise<void> {
    const waylog = await startWaylog(options.databaseUrl, { projectorUrl: options.projectorUrl });
    try {
      const id = `f${++flights}`;
      expect(await waylog.database.insertFlight(aFlight(id, 3))).toBe(id);
      await playFlight(simulateFlight({ flightId: `${id}-sim`, seed: 1, frames: 30 }), waylog.execute, {
        speed: Infinity,
      });
      await waylog.database.saveHeading(id, 0, 1, '2026-05-01T12:00:00Z');
      const found = (await waylog.database.queryFlights({}, 10, 0)).map((flight) => flight.id);
      expect(found).toEqual(expect.arrayContaining([id, `${id}-sim`]));
    } finally {
      await waylog.close();
    }
  }

  it('creates the roles if it has that right, and each later run keeps them right', async () => {
    const it = await owned('maker', 'createrole');
    try {
      const lines: string[] = [];
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.filter((line) => !line.startsWith('migrated'))).toEqual([]);
      const access = await stepDown({ databaseUrl: it.url });
      expect(access).toMatchObject({
        app: { role: `${it.name}_app` },
        projector: { role: `${it.name}_projector` },
        warnings: [],
      });
      await works({ databaseUrl: it.url });
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.filter((line) => !line.startsWith('migrated'))).toEqual([]);
      await as(it.url, async (client) => {
        // A later migration alters tables that belong to the projector, and creates others among them.
        await client.query(
          `alter table flight.waypoints add column note text; create table flight.notes (a integer)`,
        );
        await migrate(it.url);
        expect(await rightsDeviations(queryOn(client))).toEqual([]);
        const { rows } = await client.query<{ owner: string }>(
          `select pg_get_userbyid(relowner) as owner from pg_class where oid = 'flight.notes'::regclass`,
        );
        expect(rows[0]?.owner).toBe(`${it.name}_projector`);
        await client.query(`drop table flight.notes; alter table flight.waypoints drop column note`);
      });
      // Down to before the roles.
      const names = migrations.map((migration) => migration.name);
      await revert(it.url, names.length - names.indexOf(DatabaseRoles1790000011000.name));
      // The hypertables have chunks by now, which only a superuser, or a role with that right, can give away.
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.at(-1)).toContain(
        `grant create on schema _timescaledb_internal to "${it.name}_projector"`,
      );
      expect((await stepDown({ databaseUrl: it.url })).warnings).toEqual([
        expect.stringContaining('may change and delete recorded events'),
      ]);
      await letGiveChunks(it);
      lines.length = 0;
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.filter((line) => !line.startsWith('migrated'))).toEqual([]);
      await works({ databaseUrl: it.url });
    } finally {
      await it.drop();
    }
  });

  it('passes tables and policies on to the roles of a database that was renamed', async () => {
    const it = await owned('former', 'createrole');
    const renamed = { name: `${it.name}_renamed` };
    try {
      await migrate(it.url);
      const pool = new pg.Pool({ connectionString: made(it.url, 'projector') });
      await new Hypertables(pool, flightTables).change('heading_history', { retentionPeriod: '3650 days' });
      await pool.end();
      await onServer((client) => client.query(`alter database ${it.name} rename to ${renamed.name}`));
      const url = Object.assign(new URL(it.url), { pathname: `/${renamed.name}` }).href;
      const lines: string[] = [];
      await migrate(url, { progress: (line) => lines.push(line) });
      expect(lines).toEqual([]);
      await as(url, async (client) => {
        expect(await rightsDeviations(queryOn(client))).toEqual([]);
        expect(await jobsAway(client)).toEqual([]);
      });
      await works({ databaseUrl: url });
    } finally {
      await onServer(async (client) => {
        await client.query(`drop database if exists ${renamed.name} with (force)`);
        await client.query(`drop role if exists ${roleNames(renamed.name).join(', ')}`);
        await client.query(`create database ${it.name}`);
      });
      await it.drop();
    }
  });

  it('without that right works as itself, says so, and uses roles that an administrator has created for Waylog', async () => {
    const it = await owned('plain', '');
    try {
      const lines: string[] = [];
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.join('\n')).toContain(`${it.owner} may not create roles. Give it CREATEROLE, or make`);
      const access = await stepDown({ databaseUrl: it.url });
      expect(access.warnings).toEqual([expect.stringContaining('may change and delete recorded events')]);
      await works({ databaseUrl: it.url });
      // docs/how-to/database-roles.md, "By hand"
      const [app, projector] = roleNames(it.name);
      await onServer((client) =>
        client.query(`
          create role ${app} login password 'a';
          create role ${projector} login password 'b';
          comment on role ${app} is 'For Waylog';
          comment on role ${projector} is 'For Waylog';
          grant ${app}, ${projector} to ${it.owner}`),
      );
      await letGiveChunks(it);
      lines.length = 0;
      await migrate(it.url, { progress: (line) => lines.push(line) });
      expect(lines.filter((line) => !line.startsWith('ad-hoc SQL'))).toEqual([]);
      await as(it.url, async (client) => expect(await rightsDeviations(queryOn(client))).toEqual([]));
      const login = (role: string | undefined, password: string) => {
        const url = new URL(it.url);
        url.username = role ?? '';
        url.password = password;
        return url.href;
      };
      const urls = { databaseUrl: login(app, 'a'), projectorUrl: login(projector, 'b') };
      expect(await stepDown(urls)).toMatchObject({
        app: { role: app },
        projector: { role: projector },
        warnings: [],
      });
      await works(urls);
      // From now on no process appends as the owner.
      await expect(startWaylog(it.url)).rejects.toMatchObject({ code: 'database.owner-at-work' });
    } finally {
      await it.drop();
    }
  });

  it('is the only one who migrates', async () => {
    const database = await testDatabase();
    const app = made(database.url, 'app');
    expect(await mayMigrate(database.url)).toBe(true);
    expect(await mayMigrate(app)).toBe(false);
    await expect(runMigrations(app, { serviceName: 'waylog' })).rejects.toMatchObject({
      code: 'migration.not-owner',
    });
    await database.drop();
  });
});
