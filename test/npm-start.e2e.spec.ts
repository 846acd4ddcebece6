import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { GetFlightEvents } from '#lib/flight';
import { ADMIN_KEY } from './support/admin-key.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { writingClient } from './support/load.js';
import { httpClient } from './support/server.js';
import { startWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

interface Npm {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves when it has printed this; fails if it ends before. */
  readonly prints: (what: RegExp) => Promise<RegExpExecArray>;
  /** Exit code and signal. */
  readonly ended: Promise<readonly [number | null, string | null]>;
}

/** Without the settings of the npm that runs the tests: scripts of a checkout run here. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('npm_config_')),
);

const started = new Set<ChildProcess>();

/** `npm ...` as a supervisor starts it: it signals this one process, and does not know those that npm starts. */
function npm(args: readonly string[], env: Record<string, string> = {}, cwd = process.cwd()): Npm {
  const child = spawn('npm', args, {
    cwd,
    // A separate process group, so that everything left after a failure can be ended.
    detached: true,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.add(child);
  let output = '';
  const heard = new Set<() => void>();
  const hear = (data: Buffer) => {
    output += data.toString();
    for (const listener of heard) listener();
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  return {
    child,
    output: () => output,
    ended,
    prints: (what) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = what.exec(output);
          if (found) resolve(found);
        };
        heard.add(look);
        look();
        ended.then(() => reject(new Error(`It ended before it printed ${String(what)}:\n${output}`)), reject);
      }),
  };
}

interface Process {
  readonly pid: number;
  /** In clock ticks since boot; with the pid it identifies a process forever. */
  readonly start: string;
}

const statOf = (pid: number): string[] => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
};
const isThere = ({ pid, start }: Process): boolean => {
  const [state, ...rest] = statOf(pid);
  return state !== undefined && state !== 'Z' && rest[18] === start;
};

/** All descendants of a process. */
function descendants(pid: number): Process[] {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  const children = pids.filter((child) => Number(statOf(child)[1]) === pid);
  return children.flatMap((child) => [{ pid: child, start: statOf(child)[19] ?? '' }, ...descendants(child)]);
}

/** Resolves when none of them is left. */
async function gone(processes: readonly Process[]): Promise<void> {
  await eventually(() => !processes.some(isThere));
}

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });

afterEach(() => {
  for (const { pid } of started) {
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    } catch {
      // No process is left.
    }
  }
  started.clear();
});

describe('npm start under a supervisor', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());
  const env = () => ({
    DATABASE_URL: database.url,
    PORT: '0',
    HOST: '127.0.0.1',
    WAYLOG_DEMO: '0',
    WAYLOG_ADMIN_KEY: ADMIN_KEY,
  });

  it('ends with npm: acknowledged commands are recorded, the port is free, the exit code is 0', async () => {
    const running = npm(['start'], env());
    const [, url = ''] = await running.prints(/Waylog listens on (\S+)/);
    const tree = descendants(running.child.pid ?? 0);
    expect(tree.length).toBeGreaterThan(0);
    const clients = Array.from({ length: 4 }, (_, n) =>
      writingClient(`stopped-${n}`, () => httpClient(() => url)),
    );
    const acknowledged = () => clients.reduce((sum, client) => sum + client.acknowledged.length, 0);
    await eventually(() => acknowledged() >= 40, acknowledged);
    running.child.kill('SIGTERM');
    expect(await running.ended).toEqual([0, null]);
    await gone(tree);
    expect(await listens(Number(new URL(url).port))).toBe(false);
    for (const client of clients) client.stop();
    await Promise.all(clients.map(({ done }) => done));
    const waylog = await startWaylog(database);
    for (const [n, client] of clients.entries()) {
      const events = await waylog.query(new GetFlightEvents(`stopped-${n}`, 0, 5_000));
      const recorded = new Set(events.map(({ metadata }) => metadata.commandId));
      expect(client.acknowledged.filter((key) => !recorded.has(key))).toEqual([]);
      expect(client.refused).toEqual([]);
    }
    await waylog.close();
  });

  it.each(['SIGHUP', 'SIGQUIT', 'SIGKILL'] as const)('ends when npm has ended by %s', async (signal) => {
    const running = npm(['start'], env());
    const [, url = ''] = await running.prints(/Waylog listens on (\S+)/);
    const tree = descendants(running.child.pid ?? 0);
    expect(tree.length).toBeGreaterThan(0);
    running.child.kill(signal);
    await gone(tree);
    expect(await listens(Number(new URL(url).port))).toBe(false);
  });

  it('ends while it waits for another process that migrates, and leaves the schema alone', async () => {
    const fresh = new URL(database.url);
    fresh.pathname += '_fresh';
    await database.pool.query(`create database ${fresh.pathname.slice(1)}`);
    // Held as by a migration in another process.
    const other = new pg.Client(fresh.href);
    await other.connect();
    await other.query('begin; create schema log');
    const running = npm(['start'], { ...env(), DATABASE_URL: fresh.href });
    for (;;) {
      const { rows } = await other.query(
        // Not by pg_stat_activity: in a transaction its content stays as at the first query.
        `select from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))`,
      );
      if (rows.length > 0) break;
      if (running.child.exitCode !== null) throw new Error(running.output());
      await new Promise((resolve) => setImmediate(resolve));
    }
    const tree = descendants(running.child.pid ?? 0);
    running.child.kill('SIGTERM');
    expect(await running.ended).toEqual([null, 'SIGTERM']);
    await gone(tree);
    await other.query('rollback');
    const { rows } = await other.query(
      `select nspname from pg_namespace where nspname in ('log', 'flight', 'projection')`,
    );
    expect(rows).toEqual([]);
    await other.end();
    await database.pool.query(`drop database ${fresh.pathname.slice(1)} with (force)`);
  });
});

it('npm start ends while another process works on the database of the checkout', async () => {
  // Claimed as by libs/timescale/src/local/lock.ts: a file with the name of a live process.
  const claim = join('.waylog', 'dev', `lock.${process.pid}.${statOf(process.pid)[19]}`);
  mkdirSync(join('.waylog', 'dev'), { recursive: true });
  writeFileSync(claim, '');
  try {
    const running = npm(['start'], { DATABASE_URL: '', DATABASE_URL_FILE: '' });
    await running.prints(/waiting for process/);
    const tree = descendants(running.child.pid ?? 0);
    running.child.kill('SIGTERM');
    expect(await running.ended).toEqual([null, 'SIGTERM']);
    await gone(tree);
  } finally {
    rmSync(claim);
  }
});

describe('npm start in the middle of its preparations', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'waylog-start-'));
    cpSync('scripts', join(folder, 'scripts'), { recursive: true });
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: object };
    write('hang.mjs', `console.log('hangs'); setInterval(() => undefined, 1_000);`);
    write('package.json', {
      name: 'checkout',
      type: 'module',
      scripts: { ...scripts, preinstall: 'node hang.mjs' },
    });
    write('package-lock.json', {
      name: 'checkout',
      lockfileVersion: 3,
      packages: { '': { name: 'checkout' } },
    });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function write(path: string, content: string | object): void {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content));
  }

  async function endsAt(what: RegExp, signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<void> {
    const running = npm(['start'], { npm_config_foreground_scripts: 'true' }, folder);
    await running.prints(what);
    const tree = descendants(running.child.pid ?? 0);
    expect(tree.length).toBeGreaterThan(1);
    running.child.kill(signal);
    expect(await running.ended).toEqual([null, signal]);
    await gone(tree);
  }

  it('prints nothing on standard output that is not a result', async () => {
    write(
      'hang.mjs',
      `import fs from 'node:fs';
       console.log('npm says this');
       fs.mkdirSync('node_modules/@swc/cli/bin', { recursive: true });
       fs.copyFileSync('swc.cjs', 'node_modules/@swc/cli/bin/swc.js');`,
    );
    write(
      'swc.cjs',
      `const fs = require('node:fs');
       console.log('the build says this');
       fs.mkdirSync('dist/apps/cli/src', { recursive: true });
       fs.writeFileSync('dist/apps/cli/src/main.js', "console.log('the result')");`,
    );
    write('package.json', {
      name: 'checkout',
      type: 'module',
      scripts: { postinstall: 'node hang.mjs' },
    });
    const program = spawn(process.execPath, ['scripts/waylog.mjs'], {
      cwd: folder,
      env: environment,
    });
    const [out, [code]] = await Promise.all([text(program.stdout), once(program, 'exit')]);
    expect([out, code]).toEqual(['the result\n', 0]);
  });

  it('ends in the middle of npm ci', () => endsAt(/^hangs/m));

  it.each(['SIGTERM', 'SIGINT'] as const)('ends in the middle of the build, by %s', async (signal) => {
    write('node_modules/.package-lock.json', { packages: {} });
    cpSync(join(folder, 'hang.mjs'), join(folder, 'node_modules/@swc/cli/bin/swc.js'));
    write('node_modules/@swc/cli/package.json', { type: 'module' });
    await endsAt(/^hangs/m, signal);
  });
});
