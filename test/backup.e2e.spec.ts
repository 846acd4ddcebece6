import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { listBackups, type BackupManifest } from '#lib/backup';
import { SaveFrameResult } from '#lib/flight';
import { allEvents, openFlightLog } from './support/flight-log.js';
import { revert } from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { httpClient, useServer } from './support/server.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { startWaylog } from './support/waylog.js';
import { readConfig } from '#lib/platform';
import { madeAccess } from '#lib/timescale';
import { checkDatabase } from '../apps/cli/src/doctor.js';
import type { HealthResponse } from '../apps/server/src/admin/status.js';
import type { Alert } from '../apps/server/src/operations/alerts.js';
import { ScheduledWork } from '../apps/server/src/operations/scheduled-work.js';
import { startServer } from '../apps/server/src/server.js';
import { eventually } from './support/eventually.js';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, as `npm test` has built it. */
const waylog = (databaseUrl: string, ...args: string[]): Promise<Ended> =>
  waylogWith({}, databaseUrl, ...args);

const waylogWith = (env: Record<string, string>, databaseUrl: string, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ['dist/apps/cli/src/main.js', ...args],
      { env: { ...process.env, ...env, DATABASE_URL: databaseUrl } },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
      },
    );
  });

describe('backups over HTTP', () => {
  const folder = join(tmpdir(), `waylog-backups-${process.pid}`);
  const server = useServer({ WAYLOG_BACKUP_DIR: folder });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const ended = async (jobId: string) => {
    for (;;) {
      const { body } = await server.call('GET', `/v1/admin/jobs/${jobId}`);
      if (body.state !== 'running') return body;
      await sleep(20);
    }
  };

  it('fail with the reason while the folder is not there', async () => {
    const { status, body } = await server.call('POST', '/v1/admin/backups');
    expect(status).toBe(202);
    expect(await ended(String(body.jobId))).toMatchObject({
      state: 'failed',
      errorMessage: expect.stringContaining('could not be written'),
    });
    expect(await server.call('GET', '/v1/admin/backups')).toMatchObject({
      status: 404,
      body: { code: 'backup.no-folder' },
    });
  });

  it('are made as a job and listed', async () => {
    await mkdir(folder);
    await server.call('POST', '/v1/flights', aFlight('kept', 3));
    const { body: started } = await server.call('POST', '/v1/admin/backups');
    expect(await server.call('POST', '/v1/admin/backups')).toMatchObject({
      status: 409,
      body: { code: 'backup.running' },
    });
    const job = await ended(String(started.jobId));
    expect(job).toMatchObject({ kind: 'backup', state: 'done', progress: 1 });
    expect(job).not.toHaveProperty('step');
    const { status, body } = await server.call('GET', '/v1/admin/backups');
    expect(status).toBe(200);
    expect(body).toEqual([job.result]);
    expect(body[0].manifest.log).toMatchObject({ streams: 1, events: 6 });
  });
});

describe('backups over HTTP, encrypted', () => {
  const folder = join(tmpdir(), `waylog-backups-encrypted-${process.pid}`);
  const recipient = 'age1mcqymtfr2xfawwxtp370pxj09lj3z3m0x47vn7aaz04vah4v74ts4htslx';
  const server = useServer({ WAYLOG_BACKUP_DIR: folder, WAYLOG_BACKUP_RECIPIENTS: recipient });
  beforeAll(() => mkdir(folder));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('name their recipients', async () => {
    await server.call('POST', '/v1/admin/backups');
    await eventually(async () => (await server.call('GET', '/v1/admin/backups')).body[0]?.manifest);
    const { body } = await server.call('GET', '/v1/admin/backups');
    expect(body[0].manifest.dump.encryption).toEqual({ format: 'age', recipients: [recipient] });
  });

  it('do not start with an invalid key', async () => {
    const config = readConfig({ DATABASE_URL: server.store.url, WAYLOG_BACKUP_RECIPIENTS: 'age1wrong' });
    await expect(startServer(config)).rejects.toMatchObject({ code: 'backup.recipient-invalid' });
  });
});

describe('a server with scheduled backups', () => {
  const folder = join(tmpdir(), `waylog-backups-scheduled-${process.pid}`);
  const env = { WAYLOG_BACKUP_DIR: folder, WAYLOG_BACKUP_INTERVAL: '24', WAYLOG_BACKUP_KEEP: '2' };
  const server = useServer(env);
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const alert = async () =>
    ((await server.call('GET', '/v1/admin/alerts')).body as Alert[]).find(
      ({ name }) => name === 'BackupFailed',
    );
  const health = async () => (await server.call('GET', '/v1/admin/health')).body as HealthResponse;
  const metrics = async () => String((await server.call('GET', '/metrics')).body);
  const doctor = async () =>
    (
      await checkDatabase({ pool: server.store.pool, url: server.store.url, eventStore: undefined }, env)
    ).filter(({ check }) => check === 'backups');

  it('reports a failed backup and the reason everywhere', async () => {
    await eventually(async () => (await health()).backupProblem !== undefined);
    expect(await health()).toMatchObject({
      status: 'degraded',
      firing: ['BackupFailed'],
      backupProblem: expect.stringMatching(/^The last scheduled backup failed: .*waylog-backups-scheduled/),
    });
    expect(await alert()).toMatchObject({
      state: 'firing',
      severity: 'warning',
      remedy: expect.stringContaining('waylog-backups-scheduled'),
    });
    expect(await metrics()).toMatch(/^waylog_backup_failed 1$/m);
    expect(await metrics()).toMatch(/^waylog_backup_age_seconds Nan$/m);
    expect(await doctor()).toMatchObject([{ level: 'problem', what: expect.stringContaining('cannot be') }]);
  });

  it('makes one when it starts and there is none, and reports the time of the newest', async () => {
    await mkdir(folder);
    expect(await doctor()).toMatchObject([
      { level: 'problem', what: expect.stringContaining('no complete one') },
    ]);
    // The first server tries again only later, and another one tries at its start, after the first has ended.
    server.app.get(ScheduledWork).onModuleDestroy();
    const other = await startServer(
      readConfig({ DATABASE_URL: server.store.url, PORT: '0', WAYLOG_ADMIN_KEY: ADMIN_KEY, ...env }),
    );
    try {
      const url = await other.getUrl();
      const ask = async (path: string) => (await httpClient(() => url).call('GET', path)).body;
      await eventually(async () => (await ask('/v1/admin/health')).lastBackupAt);
      const [backup] = await listBackups(folder);
      expect(await ask('/v1/admin/health')).toMatchObject({
        firing: [],
        lastBackupAt: backup?.manifest?.createdAt,
      });
      expect(await ask('/metrics')).toMatch(/^waylog_backup_failed 0$/m);
      expect(await ask('/metrics')).toMatch(/^waylog_backup_age_seconds \d+\.?\d*$/m);
      expect(await doctor()).toMatchObject([{ level: 'ok', what: expect.stringContaining('24 h') }]);
    } finally {
      await other.close();
    }
  });
});

describe('a server with configured backups that does not know the owner', () => {
  it('reports it when it starts, and continues to report it', async () => {
    const database = await testDatabase();
    const app = await startServer(
      readConfig({
        DATABASE_URL: madeAccess(database.url, 'app')!.url,
        WAYLOG_PROJECTOR_URL: madeAccess(database.url, 'projector')!.url,
        PORT: '0',
        WAYLOG_ADMIN_KEY: ADMIN_KEY,
        WAYLOG_BACKUP_DIR: '/backups',
        WAYLOG_BACKUP_INTERVAL: '24',
      }),
    );
    try {
      const url = await app.getUrl();
      const { body } = await httpClient(() => url).call('GET', '/v1/admin/health');
      expect(body).toMatchObject({
        firing: ['BackupFailed'],
        backupProblem: expect.stringContaining('leave WAYLOG_BACKUP_INTERVAL out here'),
      });
    } finally {
      await app.close();
      await database.drop();
    }
  });
});

describe('backups over HTTP without a folder', () => {
  const server = useServer();

  it('are refused with what to do', async () => {
    for (const method of ['GET', 'POST']) {
      expect(await server.call(method, '/v1/admin/backups')).toMatchObject({
        status: 409,
        body: {
          code: 'backup.no-folder-configured',
          detail: expect.stringContaining('WAYLOG_BACKUP_DIR'),
        },
      });
    }
  });
});

describe('the command line', () => {
  let folder: string;
  let database: TestDatabase;
  let other: TestDatabase;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-cli-'));
    [database, other] = [await testDatabase(), await testDatabase()];
    expect((await waylog(database.url, 'simulate', '--frames', '30', '--id', 'one')).code).toBe(0);
    expect((await waylog(database.url, 'simulate', '--frames', '30', '--id', 'two')).code).toBe(0);
    // Also waits until the tables hold everything.
    expect((await waylog(database.url, 'verify')).code).toBe(0);
  });
  afterAll(async () => {
    await Promise.all([database.drop(), other.drop()]);
    await rm(folder, { recursive: true });
  });
  const scratches = async () => {
    const { rows } = await database.pool.query(
      `select from pg_database where shobj_description(oid, 'pg_database') like '%' || $1 || '%'`,
      [folder],
    );
    return rows.length;
  };

  it('backs up, lists, verifies and restores, and returns the right exit codes', async () => {
    const made = await waylog(database.url, '--json', 'backup', '--to', folder);
    const { file, manifest } = JSON.parse(made.stdout) as {
      file: string;
      manifest: { dump: { sha256: string } };
    };
    expect(made.stdout + made.stderr).not.toContain(new URL(database.url).password);
    expect((await waylog(database.url, 'backup', 'list', folder)).stdout).toContain(file);
    expect(await waylog(database.url, 'backup', 'verify', file)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^good: \d+ tables/),
    });
    expect(await waylog(database.url, 'backup', 'verify', '--fold', file)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/good: \d+ projections are what their log makes/),
    });

    const name = `waylog_test_cli_${process.pid}`;
    try {
      const restored = await waylog(database.url, 'restore', file, '--database', name);
      expect(restored).toMatchObject({ code: 0, stdout: expect.stringContaining(`restored    ${name}`) });
      const url = Object.assign(new URL(testServerUrl()), { pathname: `/${name}` }).href;
      // Folds the log again beside the tables: they are equal after the restore, too.
      expect((await waylog(url, 'verify')).code).toBe(0);
      expect(await waylog(database.url, 'restore', file, '--database', name)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('is not empty'),
      });
    } finally {
      await database.pool.query(`drop database if exists ${name} with (force)`);
    }
    expect((await waylog(database.url, 'restore', file)).code).toBe(2);

    await writeFile(
      `${file}.json`,
      JSON.stringify(manifest).replace(/"log\.events":\{"rows":\d+/, '"log.events":{"rows":7'),
    );
    expect(await waylog(database.url, 'backup', 'verify', file)).toMatchObject({
      code: 3,
      stdout: expect.stringContaining('log.events'),
    });
    expect(await scratches()).toBe(0);
  });

  it('encrypts for the given keys, and names the key that it needs', async () => {
    const keys = await Promise.all([generateIdentity(), generateIdentity()]);
    const [mine = '', theirs = ''] = await Promise.all(keys.map(identityToRecipient));
    const [keyFile, otherFile] = [join(folder, 'key.txt'), join(folder, 'other.txt')];
    await writeFile(keyFile, `# mine\n${keys[0]}\n`);
    await writeFile(otherFile, `${await generateIdentity()}\n`);
    const fileOf = ({ stdout }: Ended) =>
      (JSON.parse(stdout) as { file: string; manifest: BackupManifest }).file;

    const env = { WAYLOG_BACKUP_RECIPIENTS: `${mine},${theirs}` };
    const made = await waylogWith(env, database.url, '--json', 'backup', '--to', folder);
    const file = fileOf(made);
    expect(made.stdout).toContain(`"recipients":["${mine}","${theirs}"]`);
    expect((await waylog(database.url, 'backup', 'list', folder)).stdout).toContain(`${file}  encrypted`);
    for (const args of [
      ['backup', 'verify', file],
      ['restore', file, '--database', 'waylog_nowhere'],
    ])
      expect(await waylog(database.url, ...args)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(
          `--identity FILE, or WAYLOG_BACKUP_IDENTITY_FILE. It opens with the key of ${mine}`,
        ),
      });
    expect(await waylog(database.url, 'backup', 'verify', file, '--identity', otherFile)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('The key does not open'),
    });
    expect(
      await waylog(database.url, 'backup', 'verify', '--fold', file, '--identity', keyFile),
    ).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`encrypted   for ${mine}, ${theirs}`),
    });
    const byEnv = { WAYLOG_BACKUP_IDENTITY_FILE: keyFile };
    expect((await waylogWith(byEnv, database.url, 'backup', 'verify', file)).code).toBe(0);

    // The option instead of the variable.
    const other = fileOf(
      await waylogWith(env, database.url, '--json', 'backup', '--to', folder, '--recipient', theirs),
    );
    expect((await waylogWith(byEnv, database.url, 'backup', 'verify', other)).code).toBe(1);
    for (const wrong of ['age1wrong', keys[0]]) {
      const refused = await waylog(database.url, 'backup', '--to', folder, '--recipient', wrong);
      expect(refused.code).toBe(2);
      expect(refused.stderr).not.toContain(keys[0]);
    }
  });

  it('removes old ones of a series, and no others', async () => {
    const series = join(folder, 'series');
    await mkdir(series);
    const make = async (...more: string[]) =>
      (
        JSON.parse((await waylog(database.url, '--json', 'backup', '--to', series, ...more)).stdout) as {
          file: string;
        }
      ).file;
    const single = await make();
    const [first, second] = [await make('--scheduled'), await make('--scheduled')];
    const prune = (...more: string[]) => waylog(database.url, 'backup', 'prune', series, ...more);
    expect((await prune()).code).toBe(2);
    expect((await prune('--keep', '0')).code).toBe(2);
    expect(await prune('--keep', '1', '--dry-run')).toMatchObject({
      code: 0,
      stdout: `would remove  ${first}\n1 backup of the series stays\n`,
    });
    const bytes = await readFile(second);
    bytes[bytes.length - 9]! ^= 1;
    await writeFile(second, bytes);
    expect(await prune('--keep', '1')).toMatchObject({
      code: 3,
      stdout: `DAMAGED, not counted  ${second}\n1 backup of the series stays\n`,
    });
    // One that is older than enough complete ones is removed, damaged or not.
    const third = await make('--scheduled');
    expect(await prune('--keep', '1')).toMatchObject({
      code: 0,
      stdout: `removed  ${second}\nremoved  ${first}\n1 backup of the series stays\n`,
    });
    expect((await readdir(series)).filter((name) => name.endsWith('.dump')).sort()).toEqual(
      [single, third].map((file) => basename(file)).sort(),
    );
  });

  it('finds with --fold that a table was already wrong when it was backed up', async () => {
    const wrong = await testDatabase();
    try {
      expect((await waylog(wrong.url, 'simulate', '--frames', '10')).code).toBe(0);
      expect((await waylog(wrong.url, 'verify')).code).toBe(0);
      await wrong.pool.query(`update flight.waypoints set altitude = altitude + 1`);
      const made = await waylog(wrong.url, '--json', 'backup', '--to', join(folder, 'wrong.dump'));
      const { file } = JSON.parse(made.stdout) as { file: string };
      expect((await waylog(wrong.url, 'backup', 'verify', file)).code).toBe(0);
      expect(await waylog(wrong.url, 'backup', 'verify', '--fold', file)).toMatchObject({
        code: 3,
        stdout: expect.stringMatching(/NOT AS THE LOG SAYS[^]*\nwaypoints .*DIFFERENT/),
      });
    } finally {
      await wrong.drop();
    }
  });

  it('says with --fold that a backup of an older version is to be migrated first', async () => {
    const older = await testDatabase();
    try {
      expect((await waylog(older.url, 'simulate', '--frames', '10')).code).toBe(0);
      await revert(older.url, 3);
      const made = await waylog(older.url, '--json', 'backup', '--to', join(folder, 'older.dump'));
      const { file } = JSON.parse(made.stdout) as { file: string };
      expect((await waylog(older.url, 'backup', 'verify', file)).code).toBe(0);
      expect(await waylog(older.url, 'backup', 'verify', '--fold', file)).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(
          /as its manifest says.* older Waylog, and lacks 3 migrations .*`waylog migrate`/s,
        ),
      });
    } finally {
      await older.drop();
    }
  });

  it('drops the scratch database when it is stopped in the middle', async () => {
    const made = await waylog(database.url, '--json', 'backup', '--to', join(folder, 'stopped.dump'));
    const { file } = JSON.parse(made.stdout) as { file: string };
    const child = spawn(process.execPath, ['dist/apps/cli/src/main.js', 'backup', 'verify', file], {
      env: { ...process.env, DATABASE_URL: database.url },
    });
    const gone = once(child, 'exit') as Promise<[number | null]>;
    // Ctrl-C as soon as the scratch database is there.
    await eventually(async () => (await scratches()) !== 0);
    child.kill('SIGINT');
    const [code] = await gone;
    expect(code).toBe(1);
    expect(await scratches()).toBe(0);
  });

  it('moves a flight to another database, whose tables then have it', async () => {
    const file = join(folder, 'one.ndjson.zst');
    expect(await waylog(database.url, 'log', 'export', '--stream', 'flight-one', '--to', file)).toMatchObject(
      {
        code: 0,
      },
    );
    const imported = await waylog(other.url, '--json', 'log', 'import', file);
    expect(imported).toMatchObject({ code: 0 });
    const { recorded } = JSON.parse(imported.stdout) as { recorded: number };
    expect(recorded).toBeGreaterThan(30);
    const frames = `select row_to_json(f)::text as row from flight.frame_results f where flight_id = 'one' order by frame_id`;
    const columns = async ({ pool }: TestDatabase) =>
      (await pool.query<{ row: string }>(frames)).rows.map(({ row }) => ({
        ...JSON.parse(row),
        updated_at: '',
      }));
    expect(await columns(other)).toEqual(await columns(database));
    expect(await columns(other)).not.toEqual([]);
    expect(JSON.parse((await waylog(other.url, '--json', 'log', 'import', file)).stdout)).toMatchObject({
      recorded: 0,
      already: recorded,
    });

    expect(
      (await waylog(other.url, 'log', 'export', '--stream', 'flight-nobody', '--to', `${file}.x`)).code,
    ).toBe(1);
    expect(await readdir(folder)).not.toContain('one.ndjson.zst.x');
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length - 30));
    expect(await waylog(other.url, 'log', 'import', file)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Line \d+ of the file/),
    });
  });

  it('exports the whole log to standard output', async () => {
    const file = join(folder, 'all.ndjson.zst');
    const script = `"$0" dist/apps/cli/src/main.js log export > "$1"`;
    const child = spawn('sh', ['-c', script, process.execPath, file], {
      env: { ...process.env, DATABASE_URL: database.url },
    });
    expect(await once(child, 'exit')).toEqual([0, null]);
    const target = await testDatabase();
    try {
      expect((await waylog(target.url, 'log', 'import', file)).code).toBe(0);
      const told = async (of: TestDatabase) => {
        const events = await allEvents(await openFlightLog(of));
        return events.map(({ streamId, revision, id, type, data }) => ({
          streamId,
          revision,
          id,
          type,
          data,
        }));
      };
      // Also sealed fields: with a different key in each database, and the same content.
      expect(await told(target)).toEqual(await told(database));
    } finally {
      await target.drop();
    }
  });
});

describe('a flight that has continued in two places', () => {
  const server = useServer();

  it('is left as it is and reported by its stream, with exit code 3', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'waylog-conflict-'));
    const elsewhere = await testDatabase();
    const exportTo = (file: string) => waylog(server.store.url, 'log', 'export', '--to', join(folder, file));
    try {
      await server.call('POST', '/v1/flights', aFlight('fork', 2));
      await exportTo('before');
      expect((await waylog(elsewhere.url, 'log', 'import', join(folder, 'before'))).code).toBe(0);
      const there = await startWaylog(elsewhere.url);
      const { position } = await there.execute(new SaveFrameResult({ flightId: 'fork', frame: aFrame(2) }));
      await there.close();
      await server.call('PUT', '/v1/flights/fork/frames/1', aFrame(1));
      await server.call('POST', '/v1/flights', aFlight('other', 2));
      await exportTo('after');
      expect(await waylog(elsewhere.url, 'log', 'import', join(folder, 'after'))).toMatchObject({
        code: 3,
        stdout: expect.stringMatching(
          /flight-fork at revision 5 \(line 7\): the store has another event there/,
        ),
      });
      const { rows } = await elsewhere.pool.query<{ stream_id: string; events: number }>(
        `select stream_id, count(*)::int as events from log.events join log.streams using (stream_key) group by 1 order by 1`,
      );
      expect(rows).toEqual([
        // Created here, and one frame of its own.
        { stream_id: 'flight-fork', events: Number(position) },
        { stream_id: 'flight-other', events: 5 },
      ]);
    } finally {
      await elsewhere.drop();
      await rm(folder, { recursive: true });
    }
  });
});
