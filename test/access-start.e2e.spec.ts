import { execFile, type ChildProcess } from 'node:child_process';
import { countKeys, createKey, revokeKey } from '#lib/access';
import { readConfig } from '#lib/platform';
import { refuseOpenServer } from '../apps/server/src/access/start.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { eventually } from './support/eventually.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';

const KEY = /wlk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}/g;
/** A server without a configured key. */
const NONE = { WAYLOG_ADMIN_KEY: '', WAYLOG_VERIFY_SHARE: '0' };
const keysIn = (output: string) => [...new Set(output.match(KEY) ?? [])];
const get = (server: ServerProcess, path: string, key: string) =>
  server.call('GET', path, undefined, { authorization: `Bearer ${key}` });

describe('the start of a server', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(() => database.drop());
  const start = (env: Record<string, string>) =>
    serverProcess(database, { ...NONE, WAYLOG_VERIFY_SHARE: '0', ...env });

  it.each([
    ['before it has begun anything', 'projection.folded_log', / leads|Waylog listens/],
    ['before it has said how to call it', 'access.api_keys', /Called end/],
  ])('that is stopped %s, while it waits for the database, ends cleanly', async (_when, table, unsaid) => {
    const client = await database.pool.connect();
    await client.query(`begin; lock table ${table}`);
    let child: ChildProcess | undefined;
    let output = '';
    const started = serverProcess(
      database,
      NONE,
      (text) => (output = text),
      (spawned) => (child = spawned),
    );
    started.catch(() => undefined);
    await eventually(async () => {
      const waiting = `select from pg_locks where relation = $1::regclass and not granted`;
      return (await database.pool.query(waiting, [table])).rows.length > 0;
    });
    child?.kill('SIGTERM');
    await eventually(() => output.includes('Stopping after SIGTERM'));
    await client.query('rollback');
    client.release();
    await eventually(() => child?.exitCode !== null);
    expect(child?.exitCode).toBe(0);
    expect(output).not.toMatch(/did not start| ERROR /);
    expect(output).not.toMatch(unsaid);
  });

  it('creates a key on a database without keys, and shows it once', async () => {
    const first = await start({});
    const [key = '', ...more] = keysIn(first.output());
    expect(more).toEqual([]);
    expect((await get(first, '/v1/admin/keys', key)).body).toMatchObject([{ name: 'first', role: 'admin' }]);
    expect((await get(first, '/v1/flights', ADMIN_KEY)).status).toBe(401);
    await first.end('SIGTERM');
    const second = await start({});
    expect(keysIn(second.output())).toEqual([]);
    expect(second.output()).toContain('waylog keys create');
    expect((await get(second, '/v1/admin/keys', key)).body).toHaveLength(1);
    await second.end('SIGTERM');
    expect(keysIn(second.output())).toEqual([]);
  });

  it('creates one key if two servers start at once', async () => {
    const servers = await Promise.all([start({}), start({})]);
    const keys = keysIn(servers.map((server) => server.output()).join());
    expect(keys).toHaveLength(1);
    for (const server of servers)
      expect((await get(server, '/v1/admin/keys', keys[0]!)).body).toHaveLength(1);
    await Promise.all(servers.map((server) => server.end('SIGTERM')));
  });

  it('creates no key if one is configured, and does not show that one', async () => {
    const server = await start({ WAYLOG_ADMIN_KEY: ADMIN_KEY });
    expect(await get(server, '/v1/admin/keys', ADMIN_KEY)).toMatchObject({ status: 200, body: [] });
    await server.end('SIGTERM');
    expect(server.output()).not.toContain(ADMIN_KEY);
    expect(keysIn(server.output())).toEqual([]);
  });

  it('creates no key for a process that only folds', async () => {
    const server = await start({ WAYLOG_ROLES: 'projector' });
    expect((await server.call('GET', '/health/live', undefined, { authorization: '' })).status).toBe(200);
    expect((await server.call('GET', '/metrics', undefined, { authorization: '' })).status).toBe(401);
    await server.end('SIGTERM');
    expect(await countKeys(database.pool)).toEqual({ all: 0, valid: 0 });
  });

  it('is refused if other machines could call and there is no key or provider', async () => {
    for (const HOST of ['0.0.0.0', '::', 'example.org', '192.0.2.1'])
      await expect(start({ HOST })).rejects.toThrow(
        /did not start. HOST is .* there is no key .*waylog keys create .* WAYLOG_ADMIN_KEY .* WAYLOG_JWT_ISSUER/,
      );
    expect(await countKeys(database.pool)).toEqual({ all: 0, valid: 0 });
  });

  it('is not refused there with a key or provider', async () => {
    const refusal = (env: Record<string, string>) =>
      refuseOpenServer(
        readConfig({ DATABASE_URL: database.url, HOST: '0.0.0.0', ...env }),
        database.pool,
      ).then(
        () => undefined,
        (error: unknown) => (error as { code: string }).code,
      );
    expect(await refusal({})).toBe('access.none');
    expect(await refusal({ WAYLOG_ADMIN_KEY: ADMIN_KEY })).toBeUndefined();
    expect(
      await refusal({ WAYLOG_JWT_ISSUER: 'https://login.example', WAYLOG_JWT_AUDIENCE: 'waylog' }),
    ).toBeUndefined();
    for (const HOST of ['127.0.0.1', 'localhost', '::1', '127.1.2.3'])
      expect(await refusal({ HOST })).toBeUndefined();
    const { id } = await createKey(database.pool, { name: 'a', role: 'reader' }, { by: 'a test' });
    expect(await refusal({})).toBeUndefined();
    await revokeKey(database.pool, id, { by: 'a test' });
    expect(await refusal({})).toBe('access.none');
    await createKey(database.pool, { name: 'a', role: 'reader' }, { by: 'a test' });
    await database.pool.query(`update access.api_keys set expires_at = now() - interval '1 second'`);
    expect(await refusal({})).toBe('access.none');
  });
});

describe('waylog keys', () => {
  let database: TestDatabase;
  let server: ServerProcess;
  beforeAll(async () => {
    database = await testDatabase();
    server = await serverProcess(database, { WAYLOG_VERIFY_SHARE: '0' });
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    await database.drop();
  });
  const run = (...args: string[]) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const env = { ...process.env, DATABASE_URL: database.url };
      execFile(process.execPath, ['dist/apps/cli/src/main.js', 'keys', ...args], { env }, (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out, err }),
      );
    });

  it('creates a key that works at once, as the only thing on standard output', async () => {
    const { code, out, err } = await run('create', '--name', 'refiner', '--role', 'reader');
    expect(code).toBe(0);
    expect(out).toMatch(/^wlk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n$/);
    expect(err).toMatch(/for refiner, reader, which does not expire/);
    expect(err).not.toMatch(KEY);
    expect((await get(server, '/v1/flights', out.trim())).status).toBe(200);
    expect((await get(server, '/v1/admin/health', out.trim())).status).toBe(403);
  });

  it('creates keys that expire, after a time or on a day', async () => {
    const days = 86_400_000;
    const made = JSON.parse(
      (await run('create', '--name', 'a', '--role', 'operator', '--expires', '90d', '--json')).out,
    ) as { expiresAt: string; createdAt: string };
    expect(Math.round((Date.parse(made.expiresAt) - Date.parse(made.createdAt)) / days)).toBe(90);
    const other = await run('create', '--name', 'b', '--role', 'admin', '--expires', '2199-01-01', '--json');
    expect(JSON.parse(other.out)).toMatchObject({ expiresAt: '2199-01-01T00:00:00.000Z', role: 'admin' });
    expect((await run('create', '--name', 'c', '--role', 'admin', '--expires', 'soon')).code).toBe(2);
    expect((await run('create', '--name', 'c', '--role', 'admin', '--expires', '2001-01-01')).code).toBe(1);
    expect((await run('create', '--name', 'c', '--role', 'root')).code).toBe(2);
    expect((await run('create', '--role', 'admin')).code).toBe(2);
    expect((await run('create', '--name', 'c')).code).toBe(2);
  });

  it('lists them without their secrets, and revokes them', async () => {
    const { key, id } = JSON.parse((await run('create', '--name', 'gone', '--role', 'reader', '--json')).out);
    expect((await run('list')).out).toMatch(new RegExp(`${id as string} +gone +reader +valid`));
    expect((await run('revoke', id as string)).out).toBe(`revoked: key ${id as string} (gone, reader)\n`);
    expect(await get(server, '/v1/flights', key as string)).toMatchObject({ status: 401 });
    const { out } = await run('--json');
    expect(JSON.parse(out).keys[0]).toMatchObject({ id, state: 'revoked' });
    expect(out).not.toContain((key as string).slice(-43));
    const unknown = await run('revoke', '000000000000');
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining('There is no key') as string });
  });
});
