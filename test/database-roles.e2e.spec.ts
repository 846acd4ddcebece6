import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { madeAccess, roleName } from '#lib/timescale';
import { testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { aFlight, aFrame } from './support/samples.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';

const made = (url: string, role: 'app' | 'projector' | 'reader') => madeAccess(url, role)!.url;
const nameOf = (url: string) => new URL(url).pathname.slice(1);

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, as `npm test` has built it. */
const waylog = (env: Record<string, string>, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ['dist/apps/cli/src/main.js', ...args],
      { env: { ...process.env, ...env } },
      (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr }),
    );
  });

/** The roles of the sessions of a database, without those of the test itself. */
const users = async ({ pool }: TestDatabase) =>
  (
    await pool.query<{ name: string; application: string }>(
      `select distinct usename::text as name from pg_stat_activity
        where datname = current_database() and application_name <> 'waylog test' and application_name not like 'waylog test %'
          and backend_type = 'client backend' and usename is not null
        order by 1`,
    )
  ).rows.map(({ name }) => name);

/** Waits for a job of the server to end, and returns it. */
async function job(server: ServerProcess, started: { status: number; body: { jobId: string } }) {
  expect(started.status).toBe(202);
  for (;;) {
    const { body } = await server.call('GET', `/v1/admin/jobs/${started.body.jobId}`);
    if (body.state !== 'running') return body as { state: string; error?: string; result?: unknown };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Everything that a server does: commands, tables, `asOf` reads, rebuild, verification, retention, archives, ad-hoc
 * SQL.
 */
async function worksInAll(server: ServerProcess, flight: string): Promise<void> {
  expect((await server.call('POST', '/v1/flights', aFlight(flight, 2))).status).toBe(201);
  const { body: saved } = await server.call('PUT', `/v1/flights/${flight}/frames/0`, aFrame(0));
  const read = await server.call('GET', `/v1/flights/${flight}/frames`, undefined, {
    'waylog-min-position': String(saved.position),
  });
  expect(read).toMatchObject({ status: 200, body: [{ frameId: 0 }] });
  expect((await server.call('GET', `/v1/flights/${flight}/frames?asOf=1`)).body).toEqual([]);
  const rebuilt = await server.call('POST', '/v1/admin/projections/frame_results/rebuild');
  expect(await job(server, rebuilt)).toMatchObject({
    state: 'done',
    result: { tables: [{ identical: true }] },
  });
  const verified = await server.call('POST', '/v1/admin/verifications', { repair: true });
  expect(await job(server, verified)).toMatchObject({ state: 'done', result: { isSound: true } });
  expect((await server.call('PUT', `/v1/flights/${flight}/frames/1`, aFrame(1))).status).toBe(200);
  const set = await server.call('PATCH', '/v1/admin/hypertables/heading_history', {
    retentionPeriod: '100 days',
    chunkInterval: '1 day',
  });
  expect(set).toMatchObject({ status: 200, body: { success: true } });
  const dropped = await server.call(
    'DELETE',
    '/v1/admin/hypertables/heading_history/chunks?olderThan=2001-01-01T00:00:00Z&confirm=flight.heading_history',
  );
  expect(dropped).toMatchObject({ status: 200 });
  const archived = await server.call('POST', '/v1/admin/archives', {
    olderThan: '2100-01-01T00:00:00Z',
    tables: ['frame_results'],
  });
  const archive = await job(server, archived);
  expect(archive).toMatchObject({ state: 'done' });
  const [{ eventId } = { eventId: '' }] = (archive.result as { confirmations: { eventId: string }[] })
    .confirmations;
  expect(await job(server, await server.call('POST', `/v1/admin/archives/${eventId}/restore`))).toMatchObject(
    {
      state: 'done',
      result: { restored: 2 },
    },
  );
  expect((await server.call('POST', '/v1/admin/projectors/flight/pause', { reason: 'to see' })).status).toBe(
    200,
  );
  expect((await server.call('POST', '/v1/admin/projectors/flight/resume')).status).toBe(200);
  for (const path of [
    'health',
    'performance',
    'alerts',
    'integrity',
    'schema',
    'models',
    'rollups',
    'hypertables',
    'migrations',
  ])
    expect({ path, status: (await server.call('GET', `/v1/admin/${path}`)).status }).toEqual({
      path,
      status: 200,
    });
  expect((await server.call('GET', '/health/ready')).status).toBe(200);
}

describe('a server', () => {
  let database: TestDatabase;
  let folder: string;
  let env: Record<string, string>;
  beforeEach(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-roles-'));
    env = {
      WAYLOG_ARCHIVE_DIR: folder,
      WAYLOG_BACKUP_DIR: folder,
      WAYLOG_VERIFY_SHARE: '50',
      WAYLOG_RETENTION_INTERVAL: '1',
    };
  });
  afterEach(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it('that knows the owner works only as the application and the projector', async () => {
    const server = await serverProcess(database, env);
    const [app, projector] = [
      roleName(nameOf(database.url), 'app'),
      roleName(nameOf(database.url), 'projector'),
    ];
    const seen = new Set<string>();
    const until = new AbortController();
    const look = (async () => {
      while (!until.signal.aborted) {
        for (const name of await users(database)) seen.add(name);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    await worksInAll(server, 'steps-down').finally(() => until.abort());
    await look;
    expect([...seen].sort()).toEqual([app, projector]);
    const { body: connection } = await server.call('GET', '/v1/admin/connection');
    expect(connection).toMatchObject({ role: app, projectorRole: projector, knowsOwner: true, warnings: [] });
    const { body: ready } = await server.call('GET', '/health/ready');
    expect(ready.info.database).toMatchObject({ role: app, projectorRole: projector });
    expect(ready.info.database).not.toHaveProperty('warnings');
    expect((await server.call('GET', '/v1/admin/ad-hoc-sql')).body).toMatchObject({ available: true });
    // The owner does what only the owner can do, for as long as it takes.
    expect(await job(server, await server.call('POST', '/v1/admin/backups'))).toMatchObject({
      state: 'done',
    });
    expect(await server.call('POST', '/v1/admin/migrations', { serviceName: 'waylog' })).toMatchObject({
      status: 200,
      body: { success: true },
    });
    // The server of the database ends a session a moment after its client has gone.
    await eventually(
      async () => (await users(database)).join() === [app, projector].join(),
      () => users(database),
    );
    expect(await server.end('SIGTERM')).toBe(0);
  });

  it('that knows no owner does all its work, and says what it cannot do', async () => {
    const server = await serverProcess(made(database.url, 'app'), {
      ...env,
      WAYLOG_PROJECTOR_URL: made(database.url, 'projector'),
      WAYLOG_READER_URL: made(database.url, 'reader'),
    });
    await worksInAll(server, 'no-owner');
    expect((await server.call('GET', '/v1/admin/ad-hoc-sql')).body).toMatchObject({
      available: true,
      role: roleName(nameOf(database.url), 'reader'),
    });
    for (const [path, body] of [
      ['migrations', { serviceName: 'waylog' }],
      ['backups', undefined],
      [
        'models',
        {
          serviceName: 'weather',
          models: [
            {
              name: 'winds',
              tableName: 'winds',
              fields: { id: 'text' },
              primaryKey: ['id'],
              sourceFile: 'x',
            },
          ],
          autoCreateTables: true,
        },
      ],
    ] as const)
      expect(await server.call('POST', `/v1/admin/${path}`, body)).toMatchObject({
        status: 409,
        body: {
          code: 'database.no-owner',
          detail: expect.stringContaining('the owner of the database') as string,
        },
      });
    expect((await server.call('GET', '/v1/admin/connection')).body).toMatchObject({
      knowsOwner: false,
      warnings: [],
    });
    expect(server.output()).not.toMatch(/WARN|ERROR/);
    expect(await server.end('SIGTERM')).toBe(0);
  });

  it('whose projector has no URL says so, and answers commands and queries', async () => {
    const server = await serverProcess(made(database.url, 'app'), { ...env, WAYLOG_ROLES: 'api' });
    expect(server.output()).toContain('WAYLOG_PROJECTOR_URL is not set');
    expect((await server.call('POST', '/v1/flights', aFlight('half', 1))).status).toBe(201);
    const paused = await server.call('POST', '/v1/admin/projectors/flight/pause', { reason: 'to see' });
    expect(paused).toMatchObject({
      status: 503,
      body: {
        code: 'database.not-allowed',
        detail: expect.stringContaining('WAYLOG_PROJECTOR_URL') as string,
      },
    });
    expect((await server.call('GET', '/v1/admin/connection')).body.warnings).toEqual([
      expect.stringContaining('WAYLOG_PROJECTOR_URL is not set'),
    ]);
    await server.end('SIGTERM');
  });

  it('without roles works as the owner, and says so everywhere', async () => {
    const app = roleName(nameOf(database.url), 'app');
    await database.pool.query(`comment on role ${app} is 'somebody else'`);
    const server = await serverProcess(database, env);
    expect(server.output()).toContain('who may change and delete recorded events');
    await worksInAll(server, 'as-owner');
    const warnings = [expect.stringContaining('who may change and delete recorded events') as string];
    expect((await server.call('GET', '/health/ready')).body.info.database).toMatchObject({ warnings });
    expect((await server.call('GET', '/v1/admin/connection')).body).toMatchObject({ warnings });
    const doctor = await waylog({ DATABASE_URL: database.url }, 'doctor');
    expect(doctor.stdout).toMatch(/WARNING +roles .*who may change and delete recorded events/);
    await server.end('SIGTERM');
  });

  it('without the password of the roles does not start as the owner instead', async () => {
    await database.pool.query(`alter role ${roleName(nameOf(database.url), 'app')} password 'changed'`);
    await expect(serverProcess(database)).rejects.toThrow(
      /Waylog did not start\. The role \w+_app, .* cannot log in/,
    );
  });
});

describe('the command line', () => {
  let database: TestDatabase;
  let folder: string;
  beforeAll(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-roles-'));
  });
  afterAll(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it('shows the roles, and what is wrong with them', async () => {
    const env = { DATABASE_URL: database.url };
    expect(await waylog(env, 'roles')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^app +\w+_app /),
    });
    expect((await waylog(env, 'doctor')).stdout).toMatch(
      /ok +roles +appends as \w+_app, keeps the tables as/,
    );
    const app = roleName(nameOf(database.url), 'app');
    await database.pool.query(`grant delete on log.events to ${app}`);
    const found = await waylog(env, 'roles');
    expect(found).toMatchObject({
      code: 3,
      stdout: expect.stringContaining(`${app} may delete log.events, and should not`),
    });
    const doctor = await waylog(env, 'doctor');
    expect(doctor).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/PROBLEM +roles .* may delete log\.events, and should not/),
    });
    expect(await waylog(env, 'migrate')).toMatchObject({ code: 0 });
    expect(await waylog(env, 'roles')).toMatchObject({ code: 0 });
  });

  it('writes the URL of a role into a file that only its user can read; and works with that', async () => {
    const env = { DATABASE_URL: database.url };
    const files = { app: join(folder, 'app'), projector: join(folder, 'projector') };
    for (const [role, file] of Object.entries(files)) {
      const written = await waylog(env, 'roles', 'url', role, '--to', file);
      expect(written).toMatchObject({ code: 0, stdout: expect.stringContaining(file) });
      expect(written.stdout + written.stderr).not.toContain(
        new URL((await readFile(file, 'utf8')).trim()).password,
      );
      expect((await stat(file)).mode & 0o777).toBe(0o600);
    }
    expect(await waylog(env, 'roles', 'url', 'app', '--to', files.app)).toMatchObject({ code: 1 });
    const byFiles = {
      DATABASE_URL: '',
      DATABASE_URL_FILE: files.app,
      WAYLOG_PROJECTOR_URL_FILE: files.projector,
    };
    expect(await waylog(byFiles, 'simulate', '--frames', '10')).toMatchObject({ code: 0 });
    expect(await waylog(byFiles, 'verify', '--repair')).toMatchObject({ code: 0 });
    expect(await waylog(byFiles, 'rebuild', 'waypoints')).toMatchObject({ code: 0 });
    expect(await waylog(byFiles, 'hypertables', 'list')).toMatchObject({ code: 0 });
    expect((await waylog(byFiles, 'doctor')).stdout).toMatch(/ok +roles +appends as/);
    expect(await waylog(byFiles, 'migrate')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('only its owner may migrate'),
    });
    expect(await waylog(byFiles, 'roles', 'url', 'app')).toMatchObject({ code: 1 });
  });

  it('gives the owner of the log no way to append', async () => {
    const app = roleName(nameOf(database.url), 'app');
    await database.pool.query(`revoke insert on log.events from ${app}`);
    const appends = [
      ['simulate', '--frames', '10'],
      ['log', 'copy', '--from', 'env:FROM', '--to', 'env:DATABASE_URL'],
    ];
    const other = await testDatabase();
    expect(await waylog({ DATABASE_URL: other.url }, 'simulate', '--frames', '5')).toMatchObject({ code: 0 });
    for (const args of appends) {
      // A migration, such as before `simulate`, restores the right.
      const before = await database.pool.query(`select count(*) from log.events`);
      await database.pool.query(`revoke insert on log.events from ${app}`);
      const ended = await waylog({ DATABASE_URL: database.url, FROM: other.url }, ...args);
      if (args[0] === 'log') {
        expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('permission denied') });
        expect((await database.pool.query(`select count(*) from log.events`)).rows).toEqual(before.rows);
      } else expect(ended).toMatchObject({ code: 0 });
    }
    await other.drop();
  });
});
