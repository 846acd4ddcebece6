import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { madeAccess, roleNames } from '#lib/timescale';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight } from './support/samples.js';
import { serverProcess } from './support/server-process.js';

/** Every secret contains this, and no visible output may. */
const MARK = 's3cr3t-mark';

interface Ended {
  readonly code: number;
  readonly output: string;
}

const program =
  (file: string) =>
  (env: Record<string, string>, ...args: string[]): Promise<Ended> =>
    new Promise((resolve) => {
      const { DATABASE_URL: _, ...rest } = process.env;
      execFile(
        process.execPath,
        [file, ...args],
        { env: { ...rest, ...env }, timeout: 60_000 },
        (error, stdout, stderr) =>
          resolve({
            code: typeof error?.code === 'number' ? error.code : error ? -1 : 0,
            output: stdout + stderr,
          }),
      );
    });
const waylog = program('dist/apps/cli/src/main.js');
const server = program('dist/apps/server/src/main.js');

describe('credentials', () => {
  let database: TestDatabase;
  let folder: string;
  const owner = `waylog_test_marked_${process.pid}`;
  /** The database with an owner whose password is the mark. */
  let marked: string;
  beforeAll(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-secret-'));
    // Others can see the last statement of a session, so this one ends; and statements are counted by their text.
    await onServer(`create role ${owner} superuser login password '${MARK}'`);
    await database.pool.query(`select pg_stat_statements_reset()`);
    const url = new URL(database.url);
    url.username = owner;
    url.password = MARK;
    marked = url.href;
  });
  afterAll(async () => {
    await database.drop();
    await onServer(`drop role ${owner}`);
    await rm(folder, { recursive: true });
  });

  async function onServer(sql: string): Promise<void> {
    const client = new pg.Client({ connectionString: testServerUrl() });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  }

  /** Also what derives from it: the passwords of the roles. */
  const secrets = () => [
    MARK,
    ...(['app', 'projector', 'reader'] as const).map(
      (role) => new URL(madeAccess(marked, role)!.url).password,
    ),
  ];
  const expectNone = (what: string, text: string) => {
    for (const secret of secrets())
      expect({ what, shows: text.includes(secret) }).toEqual({ what, shows: false });
  };

  const refused = (base: string, change: (url: URL) => void): string => {
    const url = new URL(base);
    url.password = `${MARK}-wrong`;
    change(url);
    return url.href;
  };

  it('are in no output of commands that fail', async () => {
    const urls = {
      'wrong password': refused(database.url, () => undefined),
      'nobody listens': refused(database.url, (url) => (url.port = '1')),
      'no such host': refused(database.url, (url) => (url.hostname = 'nowhere.invalid')),
      'no such database': refused(marked, (url) =>
        Object.assign(url, { password: MARK, pathname: '/nothing_here' }),
      ),
      'password as a parameter': `${database.url.replace(/:[^:@]*@/, '@')}?password=${MARK}`,
      'not encrypted there': refused(marked, (url) => url.searchParams.set('sslmode', 'verify-full')),
      'no file there': refused(marked, (url) => url.searchParams.set('sslrootcert', '/nothing/here')),
      'port too large': `postgres://u:${MARK}@127.0.0.1:70000/db`,
      'bad escape': `postgres://u:${MARK}%@127.0.0.1/db`,
      'slash in it': `postgres://u:${MARK}/x@127.0.0.1/db`,
      'not PostgreSQL': `mysql://u:${MARK}@127.0.0.1/db`,
      'no URL': MARK,
    };
    const all = [
      ['migrate'],
      ['db', 'status'],
      ['db', 'up'],
      ['db', 'psql', '--', '-c', 'select 1'],
      ['backup', '--to', `${folder}/`],
      ['simulate', '--frames', '1'],
      ['roles'],
      ['log', 'copy', '--from', 'env:DATABASE_URL', '--to', 'esdb://127.0.0.1:1?tls=false'],
      ['restore', join(folder, 'nothing.dump'), '--into', 'env:DATABASE_URL'],
    ];
    for (const [what, DATABASE_URL] of Object.entries(urls)) {
      // Each way to fail in one place, and two of them everywhere.
      const everywhere = ['wrong password', 'bad escape'].includes(what);
      for (const args of [['doctor'], ...(everywhere ? all : [])]) {
        const { code, output } = await waylog({ DATABASE_URL }, ...args);
        const name = `${what}: ${args.join(' ')}`;
        expectNone(name, output);
        if (args[0] !== 'db') expect({ name, failed: code !== 0 }).toEqual({ name, failed: true });
      }
      const started = await server({ DATABASE_URL });
      expectNone(`${what}: server`, started.output);
      expect({ what, code: started.code }).toEqual({ what, code: 1 });
      if (!everywhere) continue;
      const byFile = join(folder, 'url');
      await writeFile(byFile, DATABASE_URL, { mode: 0o600 });
      expectNone(`${what}: file`, (await server({ DATABASE_URL_FILE: byFile })).output);
      const projector = await server({ DATABASE_URL: database.url, WAYLOG_PROJECTOR_URL: DATABASE_URL });
      expectNone(`${what}: projector`, projector.output);
    }
    for (const EVENT_STORE of [
      `esdb://u:${MARK}@127.0.0.1:1?tls=false`,
      `esdb://u:${MARK}@nowhere.invalid:2113`,
      `esdb+discover://u:${MARK}@nowhere.invalid:2113`,
      `http://u:${MARK}@127.0.0.1`,
    ]) {
      expectNone(
        EVENT_STORE,
        (await waylog({ DATABASE_URL: database.url, EVENT_STORE }, 'projections')).output,
      );
      expectNone(EVENT_STORE, (await waylog({ DATABASE_URL: database.url, EVENT_STORE }, 'doctor')).output);
    }
  }, 600_000);

  it('are refused on the command line, without being repeated', async () => {
    const url = `postgres://u:${MARK}@127.0.0.1:1/db`;
    for (const args of [
      ['--database-url', url, 'migrate'],
      ['--database-url', `postgres://127.0.0.1/db?password=${MARK}`, 'doctor'],
      ['--event-store', `esdb://u:${MARK}@a:2113,b:2113`, 'projections'],
      ['log', 'copy', '--from', url, '--to', 'esdb://127.0.0.1'],
      ['log', 'copy', '--from', 'esdb://127.0.0.1', '--to', `esdb+discover://u:${MARK}@a`],
      ['restore', join(folder, 'x.dump'), '--into', url],
    ]) {
      const { code, output } = await waylog({}, ...args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(output).toContain('holds a password');
      expectNone(args.join(' '), output);
    }
    const file = join(folder, 'database-url');
    await writeFile(file, `${database.url}\n`, { mode: 0o600 });
    expect(await waylog({}, '--database-url', `file:${file}`, 'migrate', 'status')).toMatchObject({
      code: 0,
    });
    expect(
      await waylog({ HERE: database.url }, '--database-url', 'env:HERE', 'migrate', 'status'),
    ).toMatchObject({ code: 0 });
    expect(await waylog({}, '--database-url', 'env:NOWHERE', 'migrate')).toMatchObject({ code: 2 });
    expect(await waylog({}, '--database-url', 'file:/nothing/here', 'migrate')).toMatchObject({ code: 2 });
  });

  it('are in nothing that a server says, writes or starts', async () => {
    const migrated = await waylog({ DATABASE_URL: marked }, 'migrate');
    expect(migrated).toMatchObject({ code: 0 });
    expectNone('migrate', migrated.output);
    const running = await serverProcess(marked, { WAYLOG_BACKUP_DIR: folder });
    expect((await running.call('POST', '/v1/flights', aFlight('marked', 1))).status).toBe(201);
    for (const path of [
      '/v1/admin/health',
      '/v1/admin/connection',
      '/v1/admin/connections',
      '/v1/admin/performance',
      '/v1/admin/alerts',
      '/v1/admin/migrations',
      '/v1/admin/models',
      '/v1/admin/ad-hoc-sql',
      '/v1/flights/marked/events',
      '/health/ready',
      '/metrics',
      '/openapi.json',
    ]) {
      const { status, body } = await running.call('GET', path);
      expect({ path, status }).toEqual({ path, status: 200 });
      expectNone(path, JSON.stringify(body));
    }
    // What PostgreSQL shows and keeps of sessions and statements.
    const activity = await database.pool.query(`select to_jsonb(a)::text as a from pg_stat_activity a`);
    const statements = await database.pool.query(`select query from pg_stat_statements`);
    expectNone('pg_stat_activity', JSON.stringify([activity.rows, statements.rows]));

    // Programs that are started, while they run: every user can read their arguments.
    const seen = new Set<string>();
    const child = spawn(
      process.execPath,
      ['dist/apps/cli/src/main.js', 'backup', '--to', join(folder, 'cli.dump')],
      {
        env: { ...process.env, DATABASE_URL: marked },
      },
    );
    const gone = once(child, 'exit');
    while (child.exitCode === null) {
      // All at once: a program that runs only for a moment must not end before it is seen.
      for (const pid of readdirSync('/proc').filter((name) => Number(name) > Number(child.pid))) {
        try {
          seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
        } catch {
          // It has ended.
        }
      }
      await new Promise(setImmediate);
    }
    expect(await gone).toEqual([0, null]);
    expectNone('/proc', [...seen].join('\n'));
    expect([...seen].join('\n')).toContain('pg_dump');

    const { body: job } = await running.call('POST', '/v1/admin/backups');
    for (let state = 'running'; state === 'running';)
      ({ state } = (await running.call('GET', `/v1/admin/jobs/${job.jobId}`)).body as { state: string });
    expectNone('job', JSON.stringify((await running.call('GET', `/v1/admin/jobs/${job.jobId}`)).body));
    for (const name of (await readdir(folder)).filter((file) => /\.dump(\.json)?$/.test(file)))
      expectNone(name, (await readFile(join(folder, name))).toString('latin1'));
    const exported = join(folder, 'log.ndjson.zst');
    expect(await waylog({ DATABASE_URL: marked }, 'log', 'export', '--to', exported)).toMatchObject({
      code: 0,
    });
    await running.end('SIGTERM');
    expectNone('server', running.output());
    // The roles log in with passwords that were never given out.
    expect(roleNames(new URL(marked).pathname.slice(1))).toHaveLength(3);
  });
});
