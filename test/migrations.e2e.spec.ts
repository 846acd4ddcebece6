import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { listBackups } from '#lib/backup';
import {
  migrations,
  revert,
  schemaState,
  type MigrationInfo,
  type MigrationResponse,
} from '../migrations/index.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { useServer } from './support/server.js';
import { serverProcess } from './support/server-process.js';
import { tableHashes } from './support/tables.js';

interface Ended {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** The command line as a separate process, built by `npm test`. */
const waylog = (databaseUrl: string, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { ...process.env, DATABASE_URL: databaseUrl };
    execFile(process.execPath, ['dist/apps/cli/src/main.js', ...args], { env }, (error, output, errors) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, output, errors }),
    );
  });

const names = migrations.map((migration) => new migration().name);
const revisions = names.map((name) => name.slice(-13));

describe('the command line', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('migrates once when three processes start together on an empty database', async () => {
    await revert(database.url, names.length);
    await database.pool.query('drop extension timescaledb cascade');
    const ended = await Promise.all([1, 2, 3].map(() => waylog(database.url, 'migrate', '--json')));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0]);
    const responses = ended.map(({ output }) => JSON.parse(output) as MigrationResponse);
    expect(responses.map(({ applied }) => applied.length).sort((a, b) => a - b)).toEqual([
      0,
      0,
      names.length,
    ]);
    expect(responses.every(({ success }) => success)).toBe(true);
    const { rows } = await database.pool.query<{ name: string }>(
      `select name from waylog_migrations order by id`,
    );
    expect(rows.map(({ name }) => name)).toEqual(names);
  });

  it('migrates to a revision, back only with --yes, and reports the present one', async () => {
    const [first = ''] = revisions;
    const refused = await waylog(database.url, 'migrate', '--to', first);
    expect(refused.code).toBe(1);
    expect(refused.errors).toContain('This takes back');
    expect((await waylog(database.url, 'migrate', '--to', first, '--yes')).code).toBe(0);
    const { output } = await waylog(database.url, 'migrate', 'status', '--json');
    const status = (JSON.parse(output) as { migrations: MigrationInfo[] }).migrations;
    expect(status.filter(({ isApplied }) => isApplied).map(({ revision }) => revision)).toEqual([first]);
    expect((await waylog(database.url, 'migrate', '--down', '1')).code).toBe(0);
    expect((await waylog(database.url, 'migrate')).code).toBe(0);
    expect((await waylog(database.url, 'migrate', '--to', '17')).errors).toContain(
      'There is no migration 17',
    );
    expect((await waylog(database.url, 'migrate', '--down', '0')).code).toBe(2);
    expect((await waylog(database.url, 'migrate', '--level', 'severe')).code).toBe(2);
  });

  it('checks the schema, and ends with 3 if it is not right', async () => {
    const fine = await waylog(database.url, 'schema', 'check');
    expect(fine).toMatchObject({ code: 0, output: 'the schema is what it should be\n' });
    await database.pool.query('drop index flight.waypoints_in_time');
    const warned = await waylog(database.url, 'schema', 'check');
    expect(warned.code).toBe(0);
    expect(warned.output).toContain('Make it again: CREATE INDEX waypoints_in_time ON flight.waypoints');
    expect((await waylog(database.url, 'schema', 'check', '--level', 'strict')).code).toBe(3);
    await database.pool.query('alter table flight.waypoints drop column lat');
    const broken = await waylog(database.url, 'schema', 'check', '--json');
    expect(broken.code).toBe(3);
    expect(JSON.parse(broken.output)).toMatchObject({
      isValid: false,
      issues: expect.arrayContaining([
        expect.objectContaining({ severity: 'error', location: 'flight.waypoints.lat' }),
      ]) as object[],
    });
    const { output } = await waylog(database.url, 'schema', 'models');
    expect(output).toMatch(/flight\.frame_results +10 columns {2}hypertable by timestamp/);
  });
});

describe('the command line, before the log is rewritten', () => {
  let database: TestDatabase;
  let folder: string;
  beforeAll(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-before-'));
    expect((await waylog(database.url, 'simulate', '--frames', '10')).code).toBe(0);
  });
  afterAll(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });
  const back = () => revert(database.url, names.length - 1);
  const missing = async () => (await schemaState(database.url)).missing.length;

  it('requires a folder or an option, makes a backup that can be restored, and continues', async () => {
    await back();
    expect((await waylog(database.url, 'migrate', 'status')).output).toMatch(
      /audit chain +pending, rewrites the log/,
    );
    // Also if migrating was not requested, but happens.
    for (const args of [['migrate'], ['simulate', '--frames', '1']]) {
      expect(await waylog(database.url, ...args)).toMatchObject({
        code: 1,
        errors: expect.stringMatching(
          /AuditChain\d+ rewrites the log.*Nothing has been migrated.*migrate --backup FOLDER.*migrate --no-backup/s,
        ),
      });
      expect(await missing()).toBe(names.length - 1);
    }
    const { code, output } = await waylog(database.url, 'migrate', '--json', '--backup', folder);
    expect(code).toBe(0);
    const { backup = '' } = JSON.parse(output) as MigrationResponse;
    expect(await listBackups(folder)).toMatchObject([{ file: backup, manifest: { log: { streams: 1 } } }]);
    expect(await missing()).toBe(0);
    expect(await waylog(database.url, 'backup', 'verify', backup)).toMatchObject({ code: 0 });

    await back();
    expect((await waylog(database.url, 'migrate', '--no-backup')).code).toBe(0);
    expect(await listBackups(folder)).toHaveLength(1);
  });
});

describe('a server', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('does not start on a database that is newer, and says what to do', async () => {
    await database.pool.query(
      `insert into waylog_migrations (timestamp, name) values (9999999999999, 'FromTheFuture9999999999999')`,
    );
    await expect(serverProcess(database.url)).rejects.toThrow(
      /Waylog did not start\. The database has migrations that this version of Waylog does not know \(FromTheFuture9999999999999\): a newer version has been here\. Deploy that version/,
    );
    await database.pool.query(`delete from waylog_migrations where name like 'FromTheFuture%'`);
  });

  it('does not start on a database that is behind, and says what to do', async () => {
    await revert(database.url, 1);
    await expect(serverProcess(database.url)).rejects.toThrow(
      new RegExp(`lacks 1 migrations \\(${names.at(-1)}\\)\\. Run \`waylog migrate\` and start again`),
    );
  });
});

describe('migrations over HTTP', () => {
  const server = useServer();
  const post = (body: object) => server.call('POST', '/v1/admin/migrations', body);
  const [eventLog = ''] = revisions;
  /** Polls until the answer is the expected one. */
  const until = async (
    path: string,
    isRight: (answer: Awaited<ReturnType<typeof server.call>>) => boolean,
  ) => {
    for (;;) {
      const answer = await server.call('GET', path);
      if (isRight(answer)) return answer;
    }
  };

  it('are listed', async () => {
    const { status, body } = await server.call('GET', '/v1/admin/migrations');
    expect(status).toBe(200);
    expect((body as MigrationInfo[]).map(({ revision }) => revision)).toEqual(revisions);
    expect((body as MigrationInfo[]).at(-1)).toMatchObject({ isCurrent: true, isApplied: true });
  });

  it('run in the request or behind a job', async () => {
    expect(await post({ serviceName: 'flight' })).toMatchObject({
      status: 200,
      body: { success: true, applied: [], message: 'The schema is where it was asked to be; nothing ran.' },
    });
    const job = await post({ serviceName: 'flight', runInBackground: true, validationLevel: 'strict' });
    expect(job).toMatchObject({ status: 202, body: { kind: 'migrate', state: 'running' } });
    const done = await until(`/v1/admin/jobs/${job.body.jobId}`, ({ body }) => body.state !== 'running');
    expect(done.body).toMatchObject({ state: 'done', result: { success: true, serviceName: 'flight' } });
    expect(await post({ serviceName: 'nobody' })).toMatchObject({
      status: 400,
      body: { code: 'service.unknown' },
    });
    expect(await post({ serviceName: 'flight', validationLevel: 'severe' })).toMatchObject({ status: 400 });
    expect(await post({ serviceName: 'flight', targetRevision: '17' })).toMatchObject({ status: 404 });
  });

  it('drop tables only with confirmation and while no other process uses them, and never the log', async () => {
    await server.call('POST', '/v1/flights', aFlight('f1', 3));
    const { headers } = await server.call('PUT', '/v1/flights/f1/frames/0', aFrame(0));
    const position = headers.get('waylog-position') ?? '';
    await server.call('GET', '/v1/flights/f1', undefined, { 'waylog-min-position': position });
    const before = await tableHashes(server.store.url);

    const back = { serviceName: 'flight', targetRevision: eventLog };
    expect(await post(back)).toMatchObject({ status: 409, body: { code: 'migration.not-confirmed' } });
    expect(await post({ ...back, targetRevision: '0', confirmDataLoss: true })).toMatchObject({
      status: 409,
      body: { code: 'migration.log-not-empty' },
    });

    const other = new pg.Client({
      connectionString: server.store.url,
      application_name: 'waylog server 0123',
    });
    await other.connect();
    expect(await post({ ...back, confirmDataLoss: true })).toMatchObject({
      status: 409,
      body: { code: 'migration.schema-in-use' },
    });
    await other.end();
    await until('/v1/flights/f1', ({ status }) => status === 200);

    expect(await post({ ...back, confirmDataLoss: true })).toMatchObject({
      status: 200,
      body: { success: true },
    });
    const shut = await server.call('GET', '/v1/flights/f1');
    expect(shut).toMatchObject({ status: 503, body: { code: 'schema.behind' } });
    expect(shut.body.detail).toContain('Migrate forwards again');
    expect(await server.call('GET', '/health/ready')).toMatchObject({ status: 503 });
    expect(await server.call('GET', '/health/live')).toMatchObject({ status: 200 });
    expect((await schemaState(server.store.url)).missing).toEqual(names.slice(1));

    // There are events, and migrating forward rewrites the log.
    expect(await post({ serviceName: 'flight' })).toMatchObject({
      status: 409,
      body: { code: 'migration.backup-first', detail: expect.stringContaining('"withoutBackup": true') },
    });
    expect(await post({ serviceName: 'flight', withoutBackup: true })).toMatchObject({
      status: 200,
      body: { success: true, applied: names.slice(1), validationIssues: [] },
    });
    const flight = await until('/v1/flights/f1', ({ status }) => status === 200);
    expect(flight.body).toMatchObject({ id: 'f1' });
    expect(await tableHashes(server.store.url)).toEqual(before);
    expect(await server.call('PUT', '/v1/flights/f1/frames/1', aFrame(1))).toMatchObject({ status: 200 });
  });
});

describe('migrations over HTTP with a folder for backups', () => {
  const folder = join(tmpdir(), `waylog-migration-backups-${process.pid}`);
  const server = useServer({ WAYLOG_BACKUP_DIR: folder });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('make a backup before the log is rewritten, or do not run', async () => {
    await server.call('POST', '/v1/flights', aFlight('f1', 3));
    const post = (body: object) =>
      server.call('POST', '/v1/admin/migrations', { serviceName: 'flight', ...body });
    const targetRevision = revisions[0];
    expect((await post({ targetRevision, confirmDataLoss: true })).status).toBe(200);
    expect(await post({})).toMatchObject({ status: 503, body: { code: 'backup.not-written' } });
    expect((await schemaState(server.store.url)).missing).toEqual(names.slice(1));
    await mkdir(folder);
    const { status, body } = await post({});
    expect({ status, body }).toMatchObject({ status: 200, body: { success: true, applied: names.slice(1) } });
    const [backup] = await listBackups(folder);
    expect(body.backup).toBe(backup?.file);
    expect(backup?.manifest).toMatchObject({ migrations: names.slice(0, 1), log: { events: 6 } });
    expect(backup?.manifest).not.toHaveProperty('scheduled');
  });
});

describe('models and schema over HTTP', () => {
  const server = useServer();

  it('list, register and validate', async () => {
    const model = {
      name: 'notes',
      tableName: 'notes',
      fields: { id: 'uuid', flight_id: 'text not null' },
      primaryKey: ['id'],
      relationships: ['flight_id -> flight.flights.id'],
      sourceFile: 'src/notes.ts',
    };
    const request = { serviceName: 'notebook', models: [model], autoCreateTables: true };
    expect(await server.call('POST', '/v1/admin/models', request)).toMatchObject({
      status: 201,
      body: { serviceName: 'notebook', models: [{ tableName: 'notebook.notes', isHypertable: false }] },
    });
    const { body } = await server.call('GET', '/v1/admin/models');
    expect(body.map(({ serviceName }: { serviceName: string }) => serviceName)).toEqual([
      'flight',
      'waylog',
      'notebook',
    ]);
    expect(
      await server.call('POST', '/v1/admin/models', {
        ...request,
        models: [{ ...model, fields: { id: 'money' } }],
      }),
    ).toMatchObject({ status: 400, body: { code: 'input.invalid' } });
    expect(
      await server.call('POST', '/v1/admin/models', { ...request, serviceName: 'flight' }),
    ).toMatchObject({
      status: 409,
      body: { code: 'service.reserved' },
    });
    expect(await server.call('GET', '/v1/admin/schema')).toMatchObject({
      status: 200,
      body: { isValid: true, issues: [], validationLevel: 'basic' },
    });
    const taken = (service: string, name: string) =>
      server.call('DELETE', `/v1/admin/models/${service}/${name}`);
    expect(await taken('notebook', 'notes')).toMatchObject({ status: 204 });
    expect((await server.call('GET', '/v1/admin/models')).body).toHaveLength(2);
    expect((await server.store.pool.query('select from notebook.notes')).rowCount).toBe(0);
    expect(await taken('notebook', 'notes')).toMatchObject({
      status: 404,
      body: { code: 'model.not-found' },
    });
    expect(await taken('flight', 'waypoints')).toMatchObject({
      status: 409,
      body: { code: 'service.reserved' },
    });
    expect((await server.call('POST', '/v1/admin/models', request)).status).toBe(201);
    await server.store.pool.query('drop index flight.waypoints_in_time');
    expect(await server.call('GET', '/v1/admin/schema?level=strict')).toMatchObject({
      status: 200,
      body: { isValid: false, issues: [{ category: 'missing-index' }], validationLevel: 'strict' },
    });
    expect(await server.call('GET', '/v1/admin/schema?level=severe')).toMatchObject({ status: 400 });
  });
});
