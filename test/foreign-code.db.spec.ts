import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import pg from 'pg';
import { backUp, restore, verifyBackup, type Backup, type FindTool } from '#lib/backup';
import { runTool } from '../libs/backup/src/tool.js';
import { CreateFlight, SaveFrameResult } from '#lib/flight';
import { hashTable } from '#lib/projections';
import { foreignCode, madeAccess, projectorFunctions, queryOn, serverTool } from '#lib/timescale';
import { migrate, migrations, revert } from '../migrations/index.js';
import { snapshot } from '../migrations/schema-snapshot.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { startWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: process.cwd(), env: process.env });

/** Makes its caller, if it has the right, give the projector superuser rights. */
const PWN = `
  create function flight.pwn(t text) returns boolean language plpgsql as $$ begin
    if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
      execute 'alter role ROLE superuser';
    end if;
    return true;
  end $$`;

describe('code that the role of the projector has created', () => {
  let database: TestDatabase;
  let folder: string;
  let projector: pg.Client;
  let role: string;
  let good: Backup;
  const asProjector = (text: string) => projector.query(text);
  const backup = (name: string) =>
    backUp({ url: database.url, to: join(folder, `${name}.dump`), findTool, waylog: 'test' });
  const isSuper = async () =>
    (
      await database.pool.query<{ is: boolean }>(`select rolsuper as is from pg_roles where rolname = $1`, [
        role,
      ])
    ).rows[0]?.is;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-foreign-'));
    database = await testDatabase();
    const waylog = await startWaylog(database.url);
    const { position } = await waylog.execute(new CreateFlight({ flight: aFlight('a', 2) }));
    expect(position).toBeDefined();
    await waylog.execute(new SaveFrameResult({ flightId: 'a', frame: aFrame(1) }));
    await eventually(
      async () => (await database.pool.query(`select from flight.frame_results`)).rowCount !== 0,
    );
    await waylog.close();
    const access = madeAccess(database.url, 'projector');
    if (!access) throw new Error('the database has no roles');
    ({ role } = access);
    projector = new pg.Client({ connectionString: access.url });
    await projector.connect();
    good = await backUp({ url: database.url, to: folder, findTool, waylog: 'test' });
    await asProjector(PWN.replace('ROLE', role));
  });
  afterAll(async () => {
    await projector.end();
    await database.drop();
    await rm(folder, { recursive: true });
  });
  afterEach(async () => {
    expect(await isSuper()).toBe(false);
  });

  /** With the function alone, the test could not see what else is found. */
  const found = async () =>
    (await foreignCode(queryOn(database.pool))).filter((name) => name !== 'function flight.pwn(text)');

  it('is not reported if there is none', async () => {
    expect(await found()).toEqual([]);
  });

  it('is found also if the role has dropped what shows that the schema is its own', async () => {
    await asProjector(`drop schema rebuild_flight cascade; drop schema verify_flight cascade`);
    expect(await foreignCode(queryOn(database.pool))).toEqual(['function flight.pwn(text)']);
    await expect(asProjector(`delete from projection.contexts`)).rejects.toMatchObject({ code: '42501' });
    await database.pool.query(`create schema rebuild_flight authorization ${role}`);
    await database.pool.query(`create schema verify_flight authorization ${role}`);
  });

  it('does not include what TimescaleDB makes for the aggregate of before the roles, when contexts cannot be told', async () => {
    const old = await testDatabase();
    try {
      const query = queryOn(old.pool);
      const before = migrations.findIndex(({ name }) => name.startsWith('DatabaseRoles'));
      await revert(old.url, migrations.length - before);
      // As it is there on the Timescale edition, where it is there already.
      await old.pool.query(
        `create view _timescaledb_internal._partial_view_4711 as
         select flight_id, flight.path(gps_lat, gps_lon order by "timestamp") from flight.frame_results group by 1`,
      );
      expect(await foreignCode(query)).toEqual([]);
      await old.pool.query(
        `create function public.g() returns integer language sql as 'select 1';
         create view _timescaledb_internal._partial_view_4712 as select public.g()`,
      );
      expect(await foreignCode(query)).toEqual(['view _timescaledb_internal._partial_view_4712']);
      await old.pool.query(
        `drop view _timescaledb_internal._partial_view_4711, _timescaledb_internal._partial_view_4712`,
      );
      await migrate(old.url);
    } finally {
      await old.drop();
    }
  });

  it('does not include the functions that the migrations create', () => {
    const made = Object.values(snapshot).flatMap(({ makes }) =>
      Object.entries(makes).filter(([key]) => /^function (flight|rebuild_flight|verify_flight)\./.test(key)),
    );
    expect(Object.fromEntries(made.map(([key, is]) => [key.replace('function ', ''), is]))).toEqual(
      projectorFunctions,
    );
  });

  const chunk = `(select format('%I.%I', chunk_schema, chunk_name) from timescaledb_information.chunks limit 1)`;
  it.each([
    [
      'a check',
      `alter table flight.flights add constraint fine check (flight.pwn(name))`,
      'check fine of flight.flights',
      `alter table flight.flights drop constraint fine`,
    ],
    [
      'a check that calls what reads files',
      `alter table flight.flights add constraint fine check (pg_catalog.query_to_xml(name, true, true, '') is not null) not valid`,
      'check fine of flight.flights',
      `alter table flight.flights drop constraint fine`,
    ],
    [
      'a check of a chunk',
      `do $$ begin execute 'alter table ' || ${chunk} || ' add constraint fine check (flight.pwn(flight_id))'; end $$`,
      /^check fine of _timescaledb_internal/,
      `do $$ begin execute 'alter table ' || ${chunk} || ' drop constraint fine'; end $$`,
    ],
    [
      'a default',
      `alter table flight.flights alter name set default flight.pwn('x')::text`,
      'default of the column name of flight.flights',
      `alter table flight.flights alter name drop default`,
    ],
    [
      'a trigger',
      `create function flight.g() returns trigger language plpgsql as 'begin perform flight.pwn(null); return new; end'; create trigger t before insert on flight.flights for each row execute function flight.g()`,
      'trigger t of flight.flights',
      `drop trigger t on flight.flights; drop function flight.g()`,
    ],
    ['a view', `create view flight.v as select flight.pwn('x')`, 'view flight.v', `drop view flight.v`],
    [
      'a rule',
      `create rule r as on insert to flight.flights do also select flight.pwn('x')`,
      'rule r of flight.flights',
      `drop rule r on flight.flights`,
    ],
    [
      'a policy',
      `create policy p on flight.flights using (flight.pwn(name))`,
      'policy p of flight.flights',
      `drop policy p on flight.flights`,
    ],
    [
      'a domain',
      `create domain flight.d as text check (flight.pwn(value))`,
      'type flight.d',
      `drop domain flight.d`,
    ],
    [
      'a cast',
      `create function flight.c(flight.flights) returns text language plpgsql as 'begin perform flight.pwn(null); return null; end'; create cast (flight.flights as text) with function flight.c(flight.flights)`,
      'cast from flight.flights to text',
      `drop cast (flight.flights as text); drop function flight.c(flight.flights)`,
    ],
    [
      'an operator',
      `create operator flight.!! (rightarg = text, function = flight.pwn)`,
      'operator flight.!!(NONE,text)',
      `drop operator flight.!! (none, text)`,
    ],
    [
      'an index',
      `create function flight.i(t text) returns boolean language plpgsql immutable as 'begin return flight.pwn(t); end'; create index e on flight.flights (flight.i(name))`,
      'index flight.e',
      `drop index flight.e; drop function flight.i(text)`,
    ],
    [
      'a generated column',
      `create function flight.i(t text) returns boolean language plpgsql immutable as 'begin return flight.pwn(t); end'; alter table flight.flights add column more boolean generated always as (flight.i(name)) stored`,
      'generated value of the column more of flight.flights',
      `alter table flight.flights drop column more; drop function flight.i(text)`,
    ],
    [
      'statistics',
      `create function flight.i(t text) returns boolean language plpgsql immutable as 'begin return flight.pwn(t); end'; create statistics flight.s on (flight.i(name)) from flight.flights`,
      'statistics s',
      `drop statistics flight.s; drop function flight.i(text)`,
    ],
  ])('%s is named', async (_, made, name, back) => {
    await asProjector(made);
    try {
      expect(await found()).toContainEqual(typeof name === 'string' ? name : expect.stringMatching(name));
    } finally {
      await asProjector(back);
    }
  });

  it('stops a backup and a migration before they do anything', async () => {
    await asProjector(`alter table flight.flights add constraint fine check (flight.pwn(name))`);
    const refused = {
      code: 'database.foreign-code',
      message: expect.stringContaining('function flight.pwn(text)') as string,
    };
    try {
      await expect(backup('refused')).rejects.toMatchObject(refused);
      await expect(migrate(database.url)).rejects.toMatchObject(refused);
    } finally {
      await asProjector(`alter table flight.flights drop constraint fine`);
    }
  });

  it('is not called by the hash of a table, even if it is created in between', async () => {
    await asProjector(`
      create function flight.c(flight.flights) returns text language plpgsql as 'begin perform flight.pwn(null); return null; end';
      create cast (flight.flights as text) with function flight.c(flight.flights)`);
    const client = await database.pool.connect();
    try {
      expect(await hashTable(client, 'flight.flights')).toEqual(good.manifest.tables['flight.flights']);
    } finally {
      client.release();
      await asProjector(`drop cast (flight.flights as text); drop function flight.c(flight.flights)`);
    }
  });

  /** A backup without the check: a dump, and the manifest of the tables. */
  async function dumpWith(planted: string, taken: string): Promise<string> {
    const file = join(folder, `${randomUUID()}.dump`);
    await asProjector(planted);
    try {
      const dump = await findTool(database.url, 'pg_dump', ['--format=custom', '--no-password']);
      await runTool(dump, { output: [createWriteStream(file)] });
    } finally {
      await asProjector(taken);
    }
    const content = await readFile(file);
    const { manifest } = good;
    const sha256 = createHash('sha256').update(content).digest('hex');
    await writeFile(
      `${file}.json`,
      JSON.stringify({ ...manifest, dump: { file: basename(file), bytes: content.length, sha256 } }),
    );
    return file;
  }

  it.each([
    [
      'a check',
      `alter table flight.flights add constraint fine check (flight.pwn(name))`,
      `alter table flight.flights drop constraint fine`,
      /FUNCTION flight pwn\(text\)/,
    ],
    [
      'a check that calls what reads files',
      `alter table flight.flights add constraint fine check (pg_catalog.table_to_xml('flight.flights', true, true, name) is not null);
       drop function flight.pwn(text)`,
      `alter table flight.flights drop constraint fine; ${PWN}`,
      /check fine of flight.flights/,
    ],
    // The last one, as it is not removed.
    [
      'a function of the migrations, made anew',
      `drop function flight.pwn(text); drop function flight.great_circle_metres cascade;
       create function flight.great_circle_metres(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)
         returns double precision language plpgsql immutable as $$ begin
           if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
             execute 'alter role ROLE superuser';
           end if;
           return 0;
         end $$;
       alter table flight.flights add column more double precision generated always as (flight.great_circle_metres(1, 2, 3, 4)) stored`,
      `select`,
      /function flight.great_circle_metres/,
    ],
  ])('is not restored: %s', async (_, planted, taken, named) => {
    const file = await dumpWith(planted.replaceAll('ROLE', role), taken.replaceAll('ROLE', role));
    const into = Object.assign(new URL(testServerUrl()), { pathname: `/waylog_never_${process.pid}` }).href;
    const refused = {
      code: 'database.foreign-code',
      message: expect.stringMatching(named) as string,
    };
    await expect(verifyBackup({ file, url: database.url, findTool })).rejects.toMatchObject(refused);
    await expect(restore({ file, into, findTool })).rejects.toMatchObject(refused);
  });
});
