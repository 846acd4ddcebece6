import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';

// Applications outside of the repository that have installed the package: test/hosts. They run with each Node that is
// supported.

const HOSTS = ['guest', 'commonjs', 'survey'] as const;
const NODES = (
  JSON.parse(readFileSync('package.json', 'utf8')) as { config: { nodes: string } }
).config.nodes.split(' ');
const CURRENT = process.versions.node.split('.')[0];
const KILLS = 3;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

let folder: string;
let tarball: string;
const placeOf = (host: (typeof HOSTS)[number]) => join(folder, host);

/** As on a machine where nothing of this repository is set. */
const cleanEnv = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  HOME: process.env['HOME'],
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => /^npm_config_/i.test(name))),
  ...env,
});

const run = (
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(program, args, { cwd, env: cleanEnv(env), maxBuffer: 100e6 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, out, err });
    });
  });

async function must(...call: Parameters<typeof run>): Promise<string> {
  const { code, out, err } = await run(...call);
  if (code !== 0) throw new Error(`${call[0]} ${call[1].join(' ')} ended with ${code}:\n${out}\n${err}`);
  return out;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waylog-hosts-'));
  await must(process.execPath, ['scripts/pack.mjs', '--pack-destination', folder], process.cwd());
  tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz')) ?? 'none';
  for (const host of HOSTS) {
    const place = placeOf(host);
    await cp(join('test/hosts', host), place, { recursive: true });
    const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
    await must('npm', [...install, join(folder, tarball)], place);
    await must('npm', ['run', 'build'], place);
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A database without anything in it. */
const emptyDatabase = () => testDatabase('PostgreSQL', () => Promise.resolve());

describe('an application that has installed the package', () => {
  it.each(HOSTS)('has one copy of what both use: %s', async (host) => {
    const all = JSON.parse(await must('npm', ['ls', '--all', '--json'], placeOf(host))) as Tree;
    const shared = /^(@nestjs\/.+|pg|rxjs|reflect-metadata|class-validator|@opentelemetry\/api|waylog)$/;
    const versions = new Map<string, Set<string>>();
    const look = ({ dependencies = {} }: Tree): void => {
      for (const [name, one] of Object.entries(dependencies)) {
        if (shared.test(name) && one.version)
          versions.set(name, (versions.get(name) ?? new Set()).add(one.version));
        look(one);
      }
    };
    look(all);
    expect(versions.size).toBeGreaterThan(5);
    expect([...versions].filter(([, found]) => found.size > 1)).toEqual([]);
    const nested = (await readdir(join(placeOf(host), 'node_modules/waylog'))).includes('node_modules');
    expect(nested).toBe(false);
  });

  it('is told what is missing, in one sentence', async () => {
    const { url, drop } = await emptyDatabase();
    const cwd = placeOf('survey');
    const without = await run(process.execPath, ['dist/main.js'], cwd);
    expect([without.code, without.err]).toEqual([1, expect.stringMatching(/databaseUrl|DATABASE_URL/)]);
    const unmigrated = await run(process.execPath, ['dist/main.js'], cwd, { DATABASE_URL: url });
    expect([unmigrated.code, unmigrated.err]).toEqual([1, expect.stringMatching(/waylog migrate/)]);
    await drop();
  });
});

describe('the page of an application of your own', () => {
  it('works as it is written, from an empty folder', async () => {
    const page = await readFile('docs/tutorials/in-your-application.md', 'utf8');
    const blocks = [...page.matchAll(/(?:`([\w./]+)`[^\n`]*:\n\n)?```(\w+)\n(.*?)```/gs)];
    const place = join(folder, 'page');
    await mkdir(join(place, 'src'), { recursive: true });
    await cp(join(folder, tarball), join(place, tarball));
    for (const [, file, , text = ''] of blocks) if (file) await writeFile(join(place, file), text);
    // What the page says of the flight has no file of its own.
    const [ofFlight] = blocks.filter(([, file, language]) => language === 'ts' && !file);
    await writeFile(join(place, 'src/flight.ts'), ofFlight?.[3] ?? 'None');
    const [install, ...rest] = blocks
      .filter(([, , language]) => language === 'bash')
      .map(([, , , text]) => text);
    await must('bash', ['-ec', String(install)], place);
    try {
      const out = await must('bash', ['-ec', rest.join('\n')], place);
      expect(out).toContain("[ { plot_id: 'p1', metres: 12.5 } ]");
      expect(out).toMatch(/measurements +1 row · as the log says/);
      expect(out).toMatch(/measurements +replaced .* identical/);
      expect(out).toMatch(/2 \| PlotMeasured/);
      expect(out).toMatch(/pass 1\n/);
    } finally {
      await must('npx', ['waylog', 'db', 'down'], place);
    }
  });
});

interface Tree {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, Tree>>;
}

describe.each(NODES)('with Node %s', (major) => {
  let node: string;
  beforeAll(async () => {
    node =
      major === CURRENT
        ? process.execPath
        : (await must(process.execPath, ['scripts/node.mjs', major], process.cwd())).trim();
  });
  const waylog = (host: (typeof HOSTS)[number], args: readonly string[], env: NodeJS.ProcessEnv) =>
    run(node, [join(placeOf(host), 'node_modules/.bin/waylog'), ...args], placeOf(host), env);
  const mustWaylog = async (...call: Parameters<typeof waylog>): Promise<string> => {
    const { code, out, err } = await waylog(...call);
    if (code !== 0) throw new Error(`waylog ${call[1].join(' ')} ended with ${code}:\n${out}\n${err}`);
    return out;
  };
  let database: TestDatabase;
  beforeEach(async () => {
    database = await emptyDatabase();
  });
  afterEach(() => database.drop());

  it('an application with everything of its own does not notice Waylog', async () => {
    const env = { DATABASE_URL: database.url };
    await mustWaylog('guest', ['migrate'], env);
    const { code, out, err } = await run(node, ['dist/main.js'], placeOf('guest'), env);
    expect([code, err]).toEqual([0, '']);
    const seen = JSON.parse(out) as { id: string };
    expect(seen).toEqual({
      greeting: 'Hello Ada',
      found: 'Guest',
      id: seen.id,
      filtered: [418, { own: 'as it was' }],
      listening: 1,
      ownPool: [{ name: 'own pool', own: true }],
      ownSource: [{ name: 'own source', own: true }],
      exits: [],
      seen: { greeted: ['Ada'], created: [`flight-${seen.id}`], thanked: ['Ada'], shutdowns: 1 },
      newHandlers: [],
      leftHandlers: [],
      logged: [],
      waylogSays: expect.arrayContaining([expect.stringMatching(/Projector flight leads/)]) as unknown,
    });
  });

  it('CommonJS requires it', async () => {
    const env = { DATABASE_URL: database.url };
    await mustWaylog('commonjs', ['migrate'], env);
    const { code, out, err } = await run(node, ['dist/main.js'], placeOf('commonjs'), env);
    expect([code, out, err]).toEqual([0, 'function From CommonJS\n', '']);
    expect(await readFile(join(placeOf('commonjs'), 'dist/main.js'), 'utf8')).toMatch(/require\("waylog"\)/);
  });

  const ways: [string, NodeJS.ProcessEnv][] = [
    ['beside the flight', { WITH_FLIGHT: '1' }],
    ['without the flight', {}],
  ];
  describe.each(major === CURRENT ? ways : ways.slice(0, 1))('a context of its own, %s,', (_, more) => {
    it('lives through kills, is verified and made again', async () => {
      const env = { DATABASE_URL: database.url, ...more };
      expect(await mustWaylog('survey', ['migrate'], env)).toMatch(/survey.measurements/);
      const answered: string[] = [];
      let child: ChildProcess | undefined;
      let url: string | undefined;
      const start = (how: string) => {
        url = undefined;
        child = spawn(node, ['dist/main.js', how], {
          cwd: placeOf('survey'),
          env: cleanEnv(env),
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        createInterface(child.stdout as NonNullable<typeof child.stdout>).on('line', (line) => {
          const [what, first = '', commandId = ''] = line.split(' ');
          if (what === 'done') answered.push(commandId);
          else if (what === 'listens') url = first;
        });
      };
      const end = async (signal: NodeJS.Signals) => {
        child?.kill(signal);
        await eventually(() => child?.exitCode !== null || child.signalCode !== null);
      };
      try {
        for (let kill = 0; kill < KILLS; kill++) {
          start('load');
          const before = answered.length;
          await eventually(
            () => answered.length >= before + 100,
            () => answered.length,
          );
          await end('SIGKILL');
        }
        start('wait');
        await eventually(() => url);
        // One page for all that was recorded: what the events say, computed here.
        const events = (
          await database.pool.query<{ type: string; stream: string; command: string; metres: number | null }>(
            `select type, stream_id as stream, metadata->>'commandId' as command, (data->>'metres')::float as metres
               from log.events join log.streams using (stream_key)
               where stream_id like 'plot-%' order by position`,
          )
        ).rows;
        const measured = events.filter(({ type }) => type === 'PlotMeasured');
        const commands = measured.map(({ command }) => command);
        expect(new Set(commands).size).toBe(commands.length);
        expect(answered.filter((command) => !commands.includes(command))).toEqual([]);
        // What an event causes is there once.
        const large = new Set(
          measured.filter(({ metres }) => Number(metres) > 100).map(({ stream }) => stream),
        );
        const settled = async () =>
          (
            await database.pool.query<{ stream: string }>(
              `select stream_id as stream from log.events join log.streams using (stream_key)
                 where type = 'PlotSettled' order by 1`,
            )
          ).rows.map(({ stream }) => stream);
        await eventually(async () => (await settled()).length >= large.size, settled);
        expect(await settled()).toEqual([...large].sort());
        const count = async () =>
          Number(
            (await database.pool.query<{ n: string }>('select count(*) as n from survey.measurements'))
              .rows[0]?.n,
          );
        await eventually(async () => (await count()) === measured.length, count);
        const ofPlot = measured.filter(({ stream }) => stream === 'plot-p1').length;
        expect(await (await fetch(`${url}/plots/p1/measurements`)).json()).toEqual({ count: ofPlot });
        await end('SIGTERM');

        expect(await mustWaylog('survey', ['verify'], env)).toMatch(
          /measurements +\d+ rows? · as the log says/,
        );
        await database.pool.query('delete from survey.measurements where metres < 100');
        expect((await waylog('survey', ['verify'], env)).code).toBe(3);
        await mustWaylog('survey', ['rebuild', 'survey'], env);
        expect(await count()).toBe(measured.length);
        await mustWaylog('survey', ['verify'], env);
        await mustWaylog('survey', ['verify', '--audit'], env);
        expect(await mustWaylog('survey', ['projections'], env)).toMatch(/measurements/);
        expect(await mustWaylog('survey', ['reactors'], env)).toMatch(/settle-large/);
      } finally {
        child?.kill('SIGKILL');
      }
    });
  });
});
