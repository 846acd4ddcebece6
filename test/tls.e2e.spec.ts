import { execFile, spawnSync } from 'node:child_process';
import { chown, cp, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { createPool, Listener } from '#lib/platform';
import {
  databaseReset,
  databaseDown,
  databaseStatus,
  databaseUp,
  madeAccess,
  stepDown,
} from '#lib/timescale';
import { makeAuthority, makeCertificate } from './support/certificates.js';
import { serverProcess } from './support/server-process.js';
import { aFlight } from './support/samples.js';

const docker = spawnSync('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: 5_000 });
const notPrivate = docker.status === 0 && docker.stdout.toString().trim() !== '';
const noOpenssl = spawnSync('openssl', ['version']).status !== 0;
const why = notPrivate ? 'the server of this machine is a container' : noOpenssl ? 'there is no openssl' : '';

// A separate PostgreSQL, whose certificate is for `localhost` alone, signed by an authority that is created here.
(why ? describe.skip : describe)(`TLS to the database${why && ` (SKIPPED: ${why})`}`, () => {
  const { DATABASE_URL: _, ...env } = process.env;
  const options = { root: process.cwd(), instance: 'tls', env };
  let folder: string;
  let plain: string;

  /** The database by another name, or with other parameters. */
  const url = (host: string, parameters: Record<string, string> = {}, database?: string): string => {
    const changed = new URL(plain);
    changed.hostname = host;
    if (database) changed.pathname = `/${database}`;
    for (const [name, value] of Object.entries(parameters)) changed.searchParams.set(name, value);
    return changed.href;
  };
  const checked = (ca = 'ours') => ({ sslmode: 'verify-full', sslrootcert: join(folder, `${ca}.crt`) });

  /** Whether the session is encrypted. */
  const connect = async (connectionString: string): Promise<boolean> => {
    const client = new pg.Client({ connectionString });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query<{ ssl: boolean }>(
      `select ssl from pg_stat_ssl where pid = pg_backend_pid()`,
    );
    await client.end();
    return rows[0]?.ssl ?? false;
  };

  const waylog = (databaseUrl: string, ...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      execFile(
        process.execPath,
        ['dist/apps/cli/src/main.js', ...args],
        { env: { ...env, DATABASE_URL: databaseUrl } },
        (error, stdout, stderr) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr }),
      );
    });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-tls-'));
    makeAuthority(folder, 'ours');
    makeAuthority(folder, 'theirs');
    const { key, certificate } = makeCertificate(folder, 'ours', 'DNS:localhost');
    plain = (await databaseUp(options)).url;
    const { dataFolder = '' } = await databaseStatus(options);
    const { uid, gid } = await stat(dataFolder);
    for (const [from, to] of [
      [key, 'server.key'],
      [certificate, 'server.crt'],
    ] as const) {
      await cp(from, join(dataFolder, to));
      if (process.getuid?.() === 0) await chown(join(dataFolder, to), uid, gid);
    }
  });
  afterAll(async () => {
    await databaseReset(options);
    await databaseDown(options);
    await rm(folder, { recursive: true });
  });

  const setTls = async (on: boolean) => {
    const client = new pg.Client({ connectionString: plain });
    await client.connect();
    await client.query(`alter system set ssl = ${on ? 'on' : 'off'}`);
    await client.query(`select pg_reload_conf()`);
    await client.end();
    // A reload is a signal: it takes effect a moment later, in new sessions.
    for (;;) {
      const look = new pg.Client({ connectionString: plain });
      await look.connect();
      const { rows } = await look.query<{ ssl: string }>('show ssl');
      await look.end();
      if (rows[0]?.ssl === (on ? 'on' : 'off')) return;
    }
  };

  it('is refused by verify-full if the server has none', async () => {
    await setTls(false);
    await expect(connect(url('localhost', checked()))).rejects.toThrow(/does not support SSL/);
    await expect(stepDown({ databaseUrl: url('localhost', checked()) })).rejects.toThrow(
      /does not support SSL/,
    );
    const migrated = await waylog(url('localhost', checked()), 'migrate');
    expect(migrated).toMatchObject({ code: 1, stderr: expect.stringContaining('does not support SSL') });
  });

  it('accepts the right name from the right authority, and no other', async () => {
    await setTls(true);
    expect(await connect(url('localhost', checked()))).toBe(true);
    await expect(connect(url('127.0.0.1', checked()))).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    await expect(connect(url('localhost', checked('theirs')))).rejects.toThrow(/certificate/);
    await expect(connect(url('localhost', { sslmode: 'verify-full' }))).rejects.toThrow(/certificate/);
    // As in docs/how-to/tls.md: settings that are weaker for PostgreSQL's own programs are not for node-postgres 8.
    for (const sslmode of ['prefer', 'require', 'verify-ca']) {
      await expect(connect(url('127.0.0.1', { ...checked(), sslmode }))).rejects.toMatchObject({
        code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      });
    }
    expect(await connect(url('127.0.0.1', { sslmode: 'no-verify' }))).toBe(true);
    expect(await connect(url('localhost'))).toBe(false);
  });

  it('is checked by pools and by the listener', async () => {
    const pool = (connectionString: string) =>
      createPool({
        connectionString,
        size: 1,
        applicationName: 'tls',
        statementTimeoutMs: 0,
        connectTimeoutMs: 5_000,
      });
    const good = pool(url('localhost', checked()));
    expect((await good.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')).rows).toEqual([
      { ssl: true },
    ]);
    const bad = pool(url('127.0.0.1', checked()));
    await expect(bad.query('select 1')).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const lost = await new Promise<unknown>((resolve, reject) => {
      const listener = new Listener(url('127.0.0.1', checked()), 'tls', (error) => {
        listener.close().then(() => resolve(error), reject);
      });
      listener.on('x', () => undefined);
    });
    expect(lost).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const heard = await new Promise<string>((resolve, reject) => {
      const listener = new Listener(url('localhost', checked()), 'tls');
      listener.on('x', (payload) => {
        if (payload === '') good.query(`select pg_notify('x', 'heard')`).catch(reject);
        else listener.close().then(() => resolve(payload), reject);
      });
    });
    expect(heard).toBe('heard');
    await good.end();
    await bad.end();
  });

  it('is checked by the command line, the server and the programs of PostgreSQL that they start', async () => {
    const good = url('localhost', checked());
    expect(await waylog(good, 'migrate')).toMatchObject({ code: 0 });
    expect(await waylog(good, 'simulate', '--frames', '10')).toMatchObject({ code: 0 });
    const backup = await waylog(good, '--json', 'backup', '--to', join(folder, 'good.dump'));
    expect(backup).toMatchObject({ code: 0 });
    expect(await waylog(good, 'backup', 'verify', join(folder, 'good.dump'))).toMatchObject({ code: 0 });
    const psql = (databaseUrl: string) =>
      waylog(databaseUrl, 'db', 'run', 'pg_dump', '--', '--schema-only', '--no-password');
    for (const sslmode of ['verify-full', 'require', 'prefer']) {
      const name = await waylog(url('127.0.0.1', { ...checked(), sslmode }), 'migrate');
      expect(name).toMatchObject({ code: 1, stderr: expect.stringContaining('altnames') });
      const authority = await waylog(
        url('localhost', { ...checked('theirs'), sslmode }),
        'backup',
        '--to',
        `${folder}/`,
      );
      expect(authority).toMatchObject({ code: 1, stderr: expect.stringContaining('certificate') });
      // The program alone, without a check by this process.
      const dumped = await psql(url('127.0.0.1', { ...checked(), sslmode }));
      expect(dumped.code).not.toBe(0);
      expect(dumped.stderr).toMatch(
        /server certificate for "localhost".* does not match host name "127\.0\.0\.1"/,
      );
    }
    expect(await readdir(folder)).not.toContainEqual(expect.stringMatching(/^waylog-.*dump/));
    const server = await serverProcess(good);
    const created = await server.call('POST', '/v1/flights', aFlight('encrypted', 1));
    expect(created.status).toBe(201);
    const atLeast = { 'waylog-min-position': String(created.body.position) };
    expect((await server.call('GET', '/v1/flights/encrypted', undefined, atLeast)).status).toBe(200);
    const client = new pg.Client({ connectionString: good });
    await client.connect();
    const { rows } = await client.query<{ name: string; ssl: boolean }>(
      `select usename::text as name, bool_and(s.ssl) as ssl from pg_stat_activity a join pg_stat_ssl s using (pid)
        where datname = current_database() and backend_type = 'client backend' group by 1 order by 1`,
    );
    await client.end();
    expect(rows).toEqual([
      { name: 'waylog', ssl: true },
      { name: 'waylog_app', ssl: true },
      { name: 'waylog_projector', ssl: true },
    ]);
    await server.end('SIGTERM');
    await expect(
      serverProcess(url('127.0.0.1', checked()), {
        WAYLOG_PROJECTOR_URL: madeAccess(good, 'projector')!.url,
      }),
    ).rejects.toThrow(/Waylog did not start.*altnames/s);
  });

  it('is reported missing everywhere on a connection to another machine', async () => {
    // An address of this machine that Waylog does not recognise as one.
    const away = url('0.0.0.0');
    expect((await stepDown({ databaseUrl: away })).warnings).toEqual([
      expect.stringMatching(/0\.0\.0\.0:\d+ is not encrypted/),
    ]);
    const server = await serverProcess(away);
    expect(server.output()).toMatch(/0\.0\.0\.0:\d+ is not encrypted/);
    expect((await server.call('GET', '/v1/admin/connection')).body.warnings).toEqual([
      expect.stringContaining('is not encrypted'),
    ]);
    await server.end('SIGTERM');
    expect((await waylog(away, 'doctor')).stdout).toMatch(
      /WARNING +roles +The connection .* is not encrypted/,
    );
  });
});
