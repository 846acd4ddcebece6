import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { backUp, listBackups, restore, verifyBackup, type Backup, type FindTool } from '#lib/backup';
import type { EventStore } from '#lib/event-store';
import { CreateFlight, flightTables, SaveFrameResult, SaveFrameResults, SaveHeading } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import {
  capabilities,
  Hypertables,
  jobTroubles,
  queryOn,
  rightsDeviations,
  roleNames,
  serverTool,
  stepDown,
} from '#lib/timescale';
import { migrate } from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight, aFrame, at } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: process.cwd(), env: process.env });

describe('a backup', () => {
  let database: TestDatabase;
  let folder: string;
  let backup: Backup;
  const made: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-backup-'));
    database = await testDatabase();
    const waylog = await startWaylog(database.url);
    for (const id of ['a', 'b', 'c']) {
      await waylog.execute(new CreateFlight({ flight: aFlight(id, 20) }));
      // Over five weeks, so that the hypertables have several TimescaleDB chunks.
      const frames = Array.from({ length: 40 }, (_, n) =>
        aFrame(n, { timestamp: new Date(Date.parse(at(n)) + n * 86_400_000).toISOString() }),
      );
      await waylog.execute(new SaveFrameResults({ flightId: id, frames }));
      await waylog.execute(
        new SaveHeading({ flightId: id, heading: { frameId: 1, heading: 10.5, timestamp: at(1) } }),
      );
    }
    await caughtUp(waylog);
    await waylog.close();
    backup = await backUp({ url: database.url, to: folder, findTool, waylog: 'test' });
  });

  afterAll(async () => {
    for (const name of made) await sql(testServerUrl(), `drop database if exists ${name} with (force)`);
    await database.drop();
    await rm(folder, { recursive: true });
  });

  async function sql(url: string, text: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text)).rows;
    } finally {
      await client.end();
    }
  }
  const caughtUp = async ({ app }: RunningWaylog) =>
    flightOf(app).watch.waitFor(await app.get<EventStore>(EVENT_STORE).head(), 60_000);
  const urlOf = (name: string) => Object.assign(new URL(testServerUrl()), { pathname: `/${name}` }).href;
  const newName = () => {
    const name = `waylog_test_restored_${process.pid}_${made.length}`;
    made.push(name);
    return name;
  };
  const exists = async (name: string) =>
    (await sql(testServerUrl(), `select from pg_database where datname = '${name}'`)).length > 0;
  const nameOf = (url: string) => new URL(url).pathname.slice(1);
  /** The policies of TimescaleDB, and their owners. */
  const policies = async (url: string) =>
    (
      await sql(
        url,
        `select proc_name, pg_get_userbyid(owner::oid) as owner from timescaledb_information.jobs
                      where job_id >= 1000 and proc_name like 'policy%'`,
      )
    )
      .map(({ proc_name, owner }) => ({
        name: String(proc_name)
          .replace(/^policy_/, '')
          .replace('columnstore', 'compression')
          .replace(/_.*/, ''),
        owner,
      }))
      .sort((a, b) => a.name.localeCompare(b.name));
  const scheduler = (name: string) =>
    `select from pg_stat_activity where datname = '${name}' and backend_type = 'TimescaleDB Background Worker Scheduler'`;
  /** The jobs that cannot run, whether they have tried or not. */
  const neverRun = async (url: string) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await jobTroubles(queryOn(client)))
        .filter(({ what }) => !what.startsWith('its last run failed'))
        .map(({ job }) => job);
    } finally {
      await client.end();
    }
  };
  const scratches = async () =>
    (
      await sql(
        testServerUrl(),
        `select datname from pg_database where shobj_description(oid, 'pg_database') like '%${folder}%'`,
      )
    ).map(({ datname }) => datname);

  it('lists its content in its manifest', async () => {
    const { manifest, file } = backup;
    const [log] = await sql(
      database.url,
      `select max(position)::text as position, count(*)::int as events, count(distinct stream_key)::int as streams from log.events`,
    );
    expect(manifest.log).toMatchObject(log!);
    expect(manifest.log.streams).toBe(3);
    expect(manifest.tables['flight.frame_results']?.rows).toBe(120);
    expect(Object.keys(manifest.tables)).toEqual(
      expect.arrayContaining([
        'log.events',
        'log.streams',
        'projection.checkpoints',
        'public.waylog_migrations',
      ]),
    );
    expect(manifest.migrations).toHaveLength(manifest.tables['public.waylog_migrations']!.rows);
    expect(JSON.parse(await readFile(`${file}.json`, 'utf8'))).toEqual(manifest);
    expect(await readdir(folder)).toEqual([
      expect.stringMatching(/\.dump$/),
      expect.stringMatching(/\.dump\.json$/),
    ]);
    expect(await listBackups(folder)).toEqual([{ file, manifest }]);
  });

  it('is restored equal in every table, hypertables too, and the server continues where it was', async () => {
    const name = newName();
    const result = await restore({ file: backup.file, into: urlOf(name), findTool });
    expect(result).toMatchObject({ database: name, differences: [] });
    expect(result.tables).toBe(Object.keys(backup.manifest.tables).length);
    expect(await tableHashes(urlOf(name))).toEqual(await tableHashes(database.url));
    const chunks = `select hypertable_name, num_chunks::int from timescaledb_information.hypertables order by 1`;
    const before = await sql(database.url, chunks);
    expect(await sql(urlOf(name), chunks)).toEqual(before);
    expect(before).toContainEqual({ hypertable_name: 'frame_results', num_chunks: expect.any(Number) });
    expect(await sql(urlOf(name), 'show timescaledb.restoring')).toEqual([
      { 'timescaledb.restoring': 'off' },
    ]);

    const waylog = await startWaylog(urlOf(name));
    // An old stream, a new one (its key is from an identity sequence), and a time that needs a new TimescaleDB chunk.
    const old = await waylog.execute(
      new SaveFrameResult({ flightId: 'a', frame: aFrame(500, { timestamp: '2019-05-01T12:00:00Z' }) }),
    );
    // No position that was answered after the backup is given to another event.
    expect(Number(old.position)).toBeGreaterThan(1e15);
    await waylog.execute(new CreateFlight({ flight: aFlight('d', 2) }));
    await caughtUp(waylog);
    expect((await waylog.database.getFrameResults('a')).map(({ frameId }) => frameId)).toContain(500);
    expect(await waylog.database.getWaypoints('d')).toHaveLength(2);
    await waylog.close();
    expect(await scratches()).toEqual([]);
  });

  it('is restored into an existing empty database', async () => {
    const name = newName();
    await sql(testServerUrl(), `create database ${name}`);
    const result = await restore({ file: backup.file, into: urlOf(name), findTool });
    expect(result.differences).toEqual([]);
    expect(await tableHashes(urlOf(name))).toEqual(await tableHashes(database.url));
  });

  it('is not restored into a database with any content, which is named', async () => {
    const name = newName();
    await sql(testServerUrl(), `create database ${name}`);
    await sql(urlOf(name), `create table precious (n int)`);
    await expect(restore({ file: backup.file, into: urlOf(name), findTool })).rejects.toMatchObject({
      code: 'restore.not-empty',
      message: expect.stringContaining('table public.precious'),
    });
    await expect(restore({ file: backup.file, into: database.url, findTool })).rejects.toMatchObject({
      code: 'restore.not-empty',
      message: expect.stringContaining('table flight.'),
    });
    expect(await sql(urlOf(name), `select count(*)::int as n from precious`)).toEqual([{ n: 0 }]);
  });

  it('is of one moment, while writes continue', async () => {
    const waylog = await startWaylog(database.url);
    const stop = new AbortController();
    const writing = (async () => {
      for (let n = 1_000; !stop.signal.aborted; n++)
        await waylog.execute(new SaveFrameResult({ flightId: 'b', frame: aFrame(n) }));
    })();
    const busy = await backUp({ url: database.url, to: join(folder, 'busy.dump'), findTool, waylog: 'test' });
    stop.abort();
    await writing;
    await waylog.close();
    expect(busy.manifest.log.position).toBe(String(busy.manifest.log.events));
    expect((await verifyBackup({ file: busy.file, url: testServerUrl(), findTool })).differences).toEqual([]);
    for (const path of [busy.file, `${busy.file}.json`]) await rm(path);
  });

  it('is refused if one byte of the dump differs', async () => {
    const name = newName();
    const damaged = join(folder, 'damaged.dump');
    const bytes = await readFile(backup.file);
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    await writeFile(damaged, bytes);
    await expect(restore({ file: damaged, into: urlOf(name), findTool })).rejects.toMatchObject({
      code: 'backup.unfinished',
    });
    await writeFile(`${damaged}.json`, JSON.stringify(backup.manifest));
    await expect(restore({ file: damaged, into: urlOf(name), findTool })).rejects.toMatchObject({
      code: 'backup.damaged',
    });
    expect(await exists(name)).toBe(false);
    await writeFile(damaged, bytes.subarray(0, 1_000));
    expect((await listBackups(folder)).find(({ file }) => file === damaged)?.problem).toMatch(
      /has 1000 bytes/,
    );
    for (const path of [damaged, `${damaged}.json`]) await rm(path);
  });

  it('that differs from its manifest is found by verify, and not kept by restore', async () => {
    const wrong = join(folder, 'wrong.dump');
    await writeFile(wrong, await readFile(backup.file));
    const { tables } = backup.manifest;
    const frames = { ...tables['flight.frame_results']!, hash: '1:2' };
    const manifest = { ...backup.manifest, tables: { ...tables, 'flight.frame_results': frames } };
    await writeFile(`${wrong}.json`, JSON.stringify(manifest));
    const found = await verifyBackup({ file: wrong, url: testServerUrl(), findTool });
    expect(found.differences).toEqual([
      { table: 'flight.frame_results', expected: frames, restored: tables['flight.frame_results'] },
    ]);
    const name = newName();
    const restored = await restore({ file: wrong, into: urlOf(name), findTool });
    expect(restored.differences).toEqual(found.differences);
    expect(await exists(name)).toBe(false);
    expect(await scratches()).toEqual([]);
    for (const path of [wrong, `${wrong}.json`]) await rm(path);
  });

  it('restores the rights of other roles, and names missing roles', async () => {
    const role = `waylog_test_reader_${process.pid}`;
    const granted = await testDatabase();
    await granted.pool.query(`create role ${role}`);
    try {
      await granted.pool.query(`grant usage on schema flight to ${role}`);
      await granted.pool.query(`grant select on flight.frame_results to ${role}`);
      const file = join(folder, 'granted.dump');
      const { manifest } = await backUp({ url: granted.url, to: file, findTool, waylog: 'test' });
      const old = roleNames(new URL(granted.url).pathname.slice(1));
      expect(manifest.roles).toEqual([...old, role].sort());
      const name = newName();
      await restore({ file, into: urlOf(name), findTool });
      const may = `select has_table_privilege('${role}', 'flight.frame_results', 'select') as read,
                          has_table_privilege('${role}', 'flight.frame_results', 'insert') as write`;
      expect(await sql(urlOf(name), may)).toEqual([{ read: true, write: false }]);
      // Waylog's roles are those of the original database, whether they still exist or not.
      const rights = `select count(*)::integer as n
                        from (select relacl as acl from pg_class union all select nspacl from pg_namespace
                              union all select proacl from pg_proc union all select defaclacl from pg_default_acl) g,
                             aclexplode(g.acl) a
                       where a.grantee in (select oid from pg_roles where rolname in ('${old.join("', '")}'))`;
      expect(await sql(urlOf(name), rights)).toEqual([{ n: 0 }]);
      expect(await sql(granted.url, rights)).not.toEqual([{ n: 0 }]);
      expect(await rightsDeviations(queryOn(granted.pool))).toEqual([]);
      expect(await migrate(urlOf(name))).toEqual([]);
      await expect(stepDown({ databaseUrl: urlOf(name) })).resolves.toMatchObject({ warnings: [] });
      for (const gone of old) {
        await granted.pool.query(`grant ${gone} to current_user; reassign owned by ${gone} to current_user`);
        await granted.pool.query(`drop owned by ${gone}; drop role ${gone}`);
      }
      const again = newName();
      await restore({ file, into: urlOf(again), findTool });
      const left = `select from pg_roles where rolname in ('${old.join("', '")}')`;
      expect(await sql(testServerUrl(), left)).toEqual([]);
      await sql(testServerUrl(), `drop database ${again} with (force)`);

      await writeFile(`${file}.json`, JSON.stringify({ ...manifest, roles: [role, 'nobody here'] }));
      await expect(restore({ file, into: urlOf(newName()), findTool })).rejects.toMatchObject({
        code: 'restore.unsuitable',
        message: expect.stringContaining('create role "nobody here";'),
      });
      await writeFile(`${file}.json`, JSON.stringify({ ...manifest, timescaledb: '1.0.0' }));
      await expect(verifyBackup({ file, url: testServerUrl(), findTool })).rejects.toMatchObject({
        code: 'restore.unsuitable',
        message: expect.stringContaining('needs TimescaleDB 1.0.0'),
      });
      await sql(testServerUrl(), `drop database ${name} with (force)`);
      await sql(testServerUrl(), `drop role ${roleNames(name).join(', ')}`);
      for (const path of [file, `${file}.json`]) await rm(path);
    } finally {
      await granted.drop();
      await sql(testServerUrl(), `drop role ${role}`);
    }
  });

  it('restores policies that run, as the roles of the restored database', async () => {
    const origin = await testDatabase();
    try {
      const can = await capabilities(origin.pool);
      if (!can.scheduler.available) return;
      const projector = roleNames(nameOf(origin.url))[1];
      await new Hypertables(origin.pool, flightTables).change('frame_results', {
        retentionPeriod: '3650 days',
        compressionEnabled: true,
      });
      await migrate(origin.url);
      // A user's job, which is not a policy.
      await sql(
        origin.url,
        `create procedure public.nothing(job integer, config jsonb) language sql as 'select 1';
         set role ${projector}; select add_job('public.nothing', '1 day')`,
      );
      expect(await policies(origin.url)).toEqual([
        { name: 'compression', owner: projector },
        { name: 'retention', owner: projector },
      ]);
      const file = join(folder, 'policies.dump');
      await backUp({ url: origin.url, to: file, findTool, waylog: 'test' });
      // During a verification, no policy drops what is compared.
      let scheduled: unknown;
      const look = async (scratch: string) => {
        scheduled = await sql(scratch, `select job_id from timescaledb_information.jobs where scheduled`);
      };
      await verifyBackup({ file, url: testServerUrl(), findTool, look });
      expect(scheduled).toEqual([]);

      // Beside the old one; and on a server that knows none of its roles.
      for (const isNewServer of [false, true]) {
        if (isNewServer) await origin.drop();
        const name = newName();
        const { notes } = await restore({ file, into: urlOf(name), findTool });
        expect(notes).toEqual(
          isNewServer
            ? [expect.stringMatching(/^The roles of jobs \d+ of TimescaleDB are not on this server/)]
            : [],
        );
        // Its process exists before it has reported its owner.
        await eventually(async () => (await sql(testServerUrl(), scheduler(name))).length !== 0);
        // Until it has its own roles, everything belongs to the user who restored it.
        const [{ me } = { me: '' }] = await sql(urlOf(name), 'select current_user::text as me');
        expect(new Set((await policies(urlOf(name))).map(({ owner }) => owner))).toEqual(new Set([me]));
        expect(await neverRun(urlOf(name))).toEqual(isNewServer ? ['nothing'] : []);

        await migrate(urlOf(name));
        expect(new Set((await policies(urlOf(name))).map(({ owner }) => owner))).toEqual(
          new Set([roleNames(name)[1]]),
        );
        expect(await neverRun(urlOf(name))).toEqual(isNewServer ? ['nothing'] : []);
        const renamed = newName();
        await sql(testServerUrl(), `alter database ${name} rename to ${renamed}`);
        expect(await sql(testServerUrl(), scheduler(renamed))).toEqual([]);
        expect(await neverRun(urlOf(renamed))).toContain('scheduler');
        await migrate(urlOf(renamed));
        await eventually(async () => (await sql(testServerUrl(), scheduler(renamed))).length !== 0);
        expect(await neverRun(urlOf(renamed))).toEqual(isNewServer ? ['nothing'] : []);
        expect(new Set((await policies(urlOf(renamed))).map(({ owner }) => owner))).toEqual(
          new Set([roleNames(renamed)[1]]),
        );
        await sql(testServerUrl(), `drop database ${renamed} with (force)`);
        for (const role of [...roleNames(name), ...roleNames(renamed)])
          await sql(testServerUrl(), `drop role if exists ${role}`);
      }
    } finally {
      if (!origin.pool.ended) await origin.drop();
    }
  });

  it('leaves nothing behind when its restore fails half-way or is stopped', async () => {
    const name = newName();
    const failing: FindTool = async (url, tool, args) => {
      const command = await findTool(url, tool, args);
      // The schema is restored, and then it fails: the dump has no such table for strict names to find.
      return { ...command, args: [...command.args, '--strict-names', '--table=nowhere'] };
    };
    await expect(restore({ file: backup.file, into: urlOf(name), findTool: failing })).rejects.toMatchObject({
      code: 'backup.tool-failed',
    });
    expect(await exists(name)).toBe(false);

    const stop = new AbortController();
    const stopped = verifyBackup({
      file: backup.file,
      url: testServerUrl(),
      findTool,
      signal: stop.signal,
      onProgress: (step) => {
        if (step === 'restoring') stop.abort(new Error('stopped by the operator'));
      },
    });
    await expect(stopped).rejects.toThrow('stopped by the operator');
    expect(await scratches()).toEqual([]);
  });

  it('that fails leaves no file that looks like a backup', async () => {
    const target = join(folder, 'failing.dump');
    const failing: FindTool = async (url, tool, args) => findTool(url, tool, [...args, '--no-such-option']);
    await expect(
      backUp({ url: database.url, to: target, findTool: failing, waylog: 'test' }),
    ).rejects.toMatchObject({
      code: 'backup.tool-failed',
      message: expect.stringContaining('no-such-option'),
    });
    const stop = new AbortController();
    await expect(
      backUp({
        url: database.url,
        to: target,
        findTool,
        waylog: 'test',
        signal: stop.signal,
        onProgress: () => stop.abort(new Error('stopped by the operator')),
      }),
    ).rejects.toThrow('stopped by the operator');
    expect((await readdir(folder)).filter((name) => name.startsWith('failing'))).toEqual([]);
  });

  it('reports a full disk, and leaves nothing', async () => {
    const target = join(folder, 'full.dump');
    await symlink('/dev/full', `${target}.partial`);
    await expect(backUp({ url: database.url, to: target, findTool, waylog: 'test' })).rejects.toMatchObject({
      code: 'backup.not-written',
      message: expect.stringContaining('ENOSPC'),
    });
    expect((await readdir(folder)).filter((name) => name.startsWith('full'))).toEqual([]);
  });

  it('never overwrites another one', async () => {
    await expect(
      backUp({ url: database.url, to: backup.file, findTool, waylog: 'test' }),
    ).rejects.toMatchObject({ code: 'backup.exists' });
  });

  it('hides the password from the command line', async () => {
    const url = new URL(database.url);
    const { program, args } = await findTool(database.url, 'pg_dump', ['--format=custom']);
    expect(url.password).not.toBe('');
    expect([program, ...args].join(' ')).not.toContain(url.password);
  });
});
