import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { testDatabase } from './support/database.js';
import { serverProcess } from './support/server-process.js';
import { startDouble } from './support/eventstoredb-double/index.js';

// The deployment files, tested as far as possible without a Docker engine and without a running systemd.

const run = promisify(execFile);
const read = (path: string) => readFile(path, 'utf8');

interface Service {
  readonly image: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly [key: string]: unknown;
}
const services = async () =>
  (
    parse(await read('docker-compose.yml'), { merge: true }) as {
      services: Readonly<Record<string, Service>>;
    }
  ).services;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waylog-deploy-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('docker-compose.yml', () => {
  it('confines every service, and publishes only on the loopback', async () => {
    const all = Object.entries(await services());
    expect(all.map(([name]) => name)).toEqual(['database', 'migrate', 'waylog', 'eventstoredb']);
    for (const [name, service] of all) {
      expect({ name, ...service }).toMatchObject({
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        read_only: true,
      });
      expect([service['cap_add'], service['privileged']]).toEqual([undefined, undefined]);
      for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it('gives EventStoreDB no larger appends than it starts with', async () => {
    const environment = (await services())['eventstoredb']?.['environment'] as Record<string, unknown>;
    const maxAppendSize = Number(environment['EVENTSTORE_MAX_APPEND_SIZE']);
    const double = await startDouble({ maxAppendSize });
    await double.stop();
    await expect(startDouble({ maxAppendSize: maxAppendSize + 1 })).rejects.toThrow('MaxAppendSize');
  });

  it('has no default password, and no image without an exact version', async () => {
    const text = await read('docker-compose.yml');
    expect(text).not.toMatch(/PASSWORD:?-/);
    for (const { image } of Object.values(await services()))
      expect(image).toMatch(/^waylog:local$|^\$\{WAYLOG_\w+_IMAGE:-[\w./-]+:\d+\.\d+\.\d+-[\w.-]+\}$/);
    const [, node] = /^ARG NODE_IMAGE=(\S+)$/m.exec(await read('Dockerfile')) ?? [];
    expect(node).toMatch(/^node:\d+\.\d+\.\d+-/);
    expect(text).toContain(`NODE_IMAGE: \${WAYLOG_NODE_IMAGE:-${node}}`);
    expect((await read('Dockerfile')).match(/^FROM (\S+)/gm)).toEqual([
      'FROM ${NODE_IMAGE}',
      'FROM dependencies',
      'FROM ${NODE_IMAGE}',
    ]);
  });

  it('gives the server the two roles and not the owner, by files that the migration writes', async () => {
    const { migrate, waylog } = await services();
    expect(JSON.stringify(waylog)).not.toContain('WAYLOG_DB_PASSWORD');
    const database = await testDatabase();
    const [shell = '', ...args] = migrate!.command.map((part) =>
      part.replaceAll('$$', '$').replaceAll('/var/lib/waylog', folder),
    );
    // As after an earlier start: existing files are written again.
    await writeFile(join(folder, 'app-url'), 'of yesterday', { mode: 0o600 });
    await run(shell, args, { env: { ...process.env, DATABASE_URL: database.url } });
    const files = Object.fromEntries(
      Object.entries(waylog!.environment)
        .filter(([name]) => name.endsWith('_FILE'))
        .map(([name, path]) => [name, path.replace('/var/lib/waylog', folder)]),
    );
    for (const path of Object.values(files)) expect((await stat(path)).mode & 0o777).toBe(0o600);
    // Empty counts as unset: the test environment names its own database.
    const server = await serverProcess(database.url, { ...files, DATABASE_URL: '' });
    const { rows } = await database.pool.query<{ name: string }>(
      `select distinct usename::text as name from pg_stat_activity
        where datname = current_database() and application_name like 'waylog%' and application_name not like 'waylog test%'`,
    );
    const owner = new URL(database.url).username;
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.map(({ name }) => name)).not.toContain(owner);
    expect(await server.end('SIGTERM')).toBe(0);
    await database.drop();
  });
});

describe('deploy/systemd/waylog.service', () => {
  const settings = async () => {
    const lines = (await read('deploy/systemd/waylog.service')).split('\n');
    return lines.flatMap((line) => {
      const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value ?? ''] as const];
    });
  };
  const valueOf = async (wanted: string) =>
    (await settings()).filter(([name]) => name === wanted).map(([, value]) => value);

  it('starts the server itself, and waits longer for its end than a stop takes', async () => {
    expect(await valueOf('ExecStart')).toEqual(['/usr/bin/node dist/apps/server/src/main.js']);
    expect(await valueOf('Type')).toEqual(['exec']);
    // WAYLOG_STOP_TIMEOUT is 20 s.
    expect(Number(await valueOf('TimeoutStopSec'))).toBeGreaterThan(20);
    expect(await valueOf('Restart')).toEqual(['on-failure']);
    expect(await valueOf('Environment')).not.toContainEqual(expect.stringContaining('DATABASE_URL='));
  });

  const systemd = existsSync('/usr/bin/systemd-analyze');
  (systemd ? it : it.skip)(
    `is a unit in the eyes of systemd${systemd ? '' : ' (SKIPPED: systemd-analyze is not installed)'}`,
    async () => {
      const unit = join(folder, 'waylog.service');
      const text = await read('deploy/systemd/waylog.service');
      await writeFile(unit, text.replace('/usr/bin/node', process.execPath));
      const { stdout, stderr } = await run('systemd-analyze', ['verify', unit]);
      expect(stdout + stderr).toBe('');
    },
  );
});

describe('npm ci', () => {
  it('runs no script of a dependency, neither here nor in the image', async () => {
    await cp('.npmrc', join(folder, '.npmrc'));
    await writeFile(join(folder, 'package.json'), '{"name":"some","dependencies":{"it":"file:it"}}');
    await mkdir(join(folder, 'it'));
    await writeFile(
      join(folder, 'it', 'package.json'),
      JSON.stringify({ name: 'it', version: '1.0.0', scripts: { postinstall: 'touch ../ran ../../ran' } }),
    );
    const install = ['install', '--install-links', '--offline', '--no-audit', '--no-fund'];
    // The npm that runs the tests has its settings, that of `.npmrc` among them, in the environment.
    const { npm_config_ignore_scripts: _, ...env } = process.env;
    await run('npm', install, { cwd: folder, env });
    await expect(stat(join(folder, 'node_modules', 'it', 'package.json'))).resolves.toBeDefined();
    await expect(stat(join(folder, 'node_modules', 'ran'))).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await read('Dockerfile')).toMatch(
      /^COPY package\.json package-lock\.json \.npmrc \.\/\nRUN npm ci/m,
    );
  });

  it('lists every dependency that would run a script: a new one must be reviewed first', async () => {
    const { packages } = JSON.parse(await read('package-lock.json')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const wishes = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(wishes.map(([path]) => path)).toEqual([
      'node_modules/@parcel/watcher',
      'node_modules/@scarf/scarf',
      'node_modules/@swc/core',
      'node_modules/protobufjs',
      'node_modules/unrs-resolver',
    ]);
  });
});
