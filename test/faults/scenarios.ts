import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import type { DatabaseOptions, StopMode } from '#lib/timescale';
import {
  diskFolder,
  fillDisk,
  onSmallDisk,
  sourceOf,
  whyNoDatabaseClock,
  whyNoSmallDisk,
  withDatabaseClock,
  type ClockedPlace,
  type Place,
} from './places.js';
import { call } from './client.js';
import { now } from './history.js';
import type { Way } from './tcp-proxy.js';
import type { Server, World } from './world.js';

export interface Scenario {
  readonly name: string;
  /** What is broken, in a line, for the report and --help. */
  readonly about: string;
  /** Why it cannot run here; undefined if it can. */
  readonly unavailable?: (instance: DatabaseOptions) => Promise<string | undefined>;
  /** False for the one that only loads. */
  readonly hasFaults: boolean;
  /** The shortest duration, if the effect takes long; such a scenario is left out of the short form. */
  readonly leastSeconds?: number;
  /** The place of its database server, if it cannot be the suite's own. */
  readonly place?: (instance: DatabaseOptions) => Promise<Place>;
  /** Starts the servers. */
  readonly begin: (world: World) => Promise<void>;
  /** Breaks things until the load stops, and repairs each before it breaks the next. */
  readonly inject: (world: World) => Promise<void>;
}

const oneServer =
  (env: Record<string, string> = {}) =>
  async (world: World): Promise<void> => {
    await world.addServer('server', env).start();
  };

/** Commands that are acknowledged before the next fault. */
const ACKNOWLEDGED_BETWEEN = 20;

/** Repeatedly after a pause of random length, at least once, as long as there is load. */
async function repeatedly(
  world: World,
  [least, most]: readonly [number, number],
  work: (n: number) => Promise<void>,
): Promise<void> {
  for (let n = 0; ; n++) {
    await world.pause(between(world, least, most));
    // A slow machine has hardly begun by then, and faults without anything between them prove nothing.
    await world.acknowledged(ACKNOWLEDGED_BETWEEN);
    if (world.isOver && n > 0) return;
    await work(n);
  }
}

const between = (world: World, least: number, most: number): number =>
  least + world.random() * (most - least);
const first = (world: World): Server => world.servers[0] as Server;

/** Kills a server and starts it again. */
async function killAndStart(world: World, server: Server): Promise<void> {
  await world.fault(`SIGKILL of the ${server.name}`, () => server.kill());
  await server.start();
}

const stopOf = (name: string, mode: StopMode, about: string): Scenario => ({
  name,
  about,
  hasFaults: true,
  begin: oneServer(),
  inject: (world) =>
    repeatedly(world, [500, 2_000], () =>
      world.fault(`PostgreSQL stopped (${mode}) and started`, async () => {
        await world.databaseServer.stop(mode);
        await world.pause(between(world, 0, 1_000));
        await world.databaseServer.up();
      }),
    ),
});

const connection = (
  name: string,
  about: string,
  way: (world: World) => Way,
  more: Partial<Scenario> = {},
): Scenario => ({
  name: `connection-${name}`,
  about,
  hasFaults: true,
  begin: oneServer(),
  inject: (world) =>
    repeatedly(world, [500, 1_500], () =>
      world.fault(`connection ${name}`, async () => {
        world.proxy.set(way(world));
        await world.pause(between(world, 300, 2_500));
        world.proxy.set('pass');
      }),
    ),
  ...more,
});

/** Holds the locks of some SQL, in a separate transaction, for a while. */
async function holding(world: World, name: string, statements: readonly string[], ms: number): Promise<void> {
  const client = new pg.Client({ connectionString: world.url, application_name: 'fault suite' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await world.fault(name, async () => {
      for (const statement of statements) await client.query(statement);
      await world.pause(ms);
      await client.query('rollback');
    });
  } finally {
    await client.end();
  }
}

const lockTable = ['begin', 'lock table flight.waypoints in access exclusive mode'];
const lockStreams = ['begin', 'lock table log.streams in access exclusive mode'];
// The lock that orders positions: migrations/1790000001000-event-log.ts.
const lockLog = ['begin', 'select pg_advisory_xact_lock(7239100402)'];
const oldSnapshot = [
  'begin isolation level repeatable read',
  'select count(*) from log.events',
  'create temporary table held (n integer)',
];

/** Waylog's sessions on the database, the projector's first. */
const sessionsSql = `
  select pid from pg_stat_activity
   where datname = current_database() and application_name like 'waylog%'
   order by application_name like 'waylog projector%' desc, pid`;

/** The process id of the server that reports to lead. */
async function leaderOf(world: World): Promise<number> {
  const [row] = await world.sql<{ leader: string }>(
    `select leader from projection.projectors where name = 'flight'`,
  );
  return Number(/\d+$/.exec(row?.leader ?? '')?.[0]);
}

const preload = (world: World, file: string): string =>
  `--import=${pathToFileURL(join(world.instance.root, 'dist/test/faults/preload', `${file}.js`)).href}`;

const HOUR = 3_600_000;
/** Forwards and backwards, by small and large steps, and back to the right time. */
const jumps = [HOUR, -HOUR, 30_000, -30_000, 400 * 24 * HOUR, 0];

export const scenarios: readonly Scenario[] = [
  {
    name: 'none',
    about: 'nothing: the load alone',
    hasFaults: false,
    begin: oneServer(),
    inject: () => Promise.resolve(),
  },
  {
    name: 'kill-server',
    about: 'SIGKILL of the server, which is API and projector in one process',
    hasFaults: true,
    begin: oneServer(),
    inject: (world) => repeatedly(world, [300, 1_500], () => killAndStart(world, first(world))),
  },
  {
    name: 'kill-projector',
    about: 'SIGKILL of a projector that is a process of its own',
    hasFaults: true,
    begin: async (world) => {
      await world.addServer('api', { WAYLOG_ROLES: 'api' }).start();
      await world.addServer('projector', { WAYLOG_ROLES: 'projector' }).start();
    },
    inject: (world) => repeatedly(world, [300, 1_500], () => killAndStart(world, world.servers[1] as Server)),
  },
  {
    name: 'freeze-leader',
    about: 'the server that leads the projector frozen (SIGSTOP) until another one leads, and let go on',
    hasFaults: true,
    // A frozen leader loses the lead after half a minute.
    leastSeconds: 50,
    begin: async (world) => {
      await world.addServer('server-a').start();
      await world.addServer('server-b').start();
    },
    inject: (world) => {
      let before: number | undefined;
      return repeatedly(world, [500, 1_500], async () => {
        const leader = await leaderOf(world);
        if (leader === before) world.trouble.push('A server that was frozen said again that it leads.');
        before = leader;
        const frozen = world.servers.find(({ pid }) => pid === leader);
        if (frozen?.pid === undefined) return;
        await world.fault(`the ${frozen.name} frozen`, async () => {
          process.kill(leader, 'SIGSTOP');
          try {
            const patience = now() + 60_000;
            while ((await leaderOf(world)) === leader) {
              if (now() > patience)
                throw new Error('No other server leads a minute after the leader was frozen.');
              await sleep(200);
            }
          } finally {
            process.kill(leader, 'SIGCONT');
          }
        });
      });
    },
  },
  stopOf('postgres-fast', 'fast', 'PostgreSQL restarted in good order (fast)'),
  stopOf('postgres-immediate', 'immediate', 'PostgreSQL stopped as by a crash (immediate) and started'),
  {
    name: 'kill-backend',
    about: 'SIGKILL of one of PostgreSQL’s processes, upon which PostgreSQL ends all and recovers',
    unavailable: async (instance) =>
      (await sourceOf(instance)) === 'private' ? undefined : 'PostgreSQL’s processes are in a container',
    hasFaults: true,
    begin: oneServer(),
    inject: (world) =>
      repeatedly(world, [800, 2_500], async () => {
        const pids = await world.sql<{ pid: number }>(sessionsSql);
        const victim = pids[Math.floor(world.random() * pids.length)]?.pid;
        if (victim === undefined) return;
        await world.fault('SIGKILL of a PostgreSQL process', () =>
          Promise.resolve(process.kill(victim, 'SIGKILL')),
        );
        await world.databaseServer.isBack();
      }),
  },
  {
    name: 'end-sessions',
    about: 'sessions ended by an administrator: the projector’s, or all of them',
    hasFaults: true,
    begin: oneServer(),
    inject: (world) =>
      repeatedly(world, [300, 1_500], (n) =>
        world.fault(n % 2 === 0 ? 'the projector’s session ended' : 'all sessions ended', () =>
          world.sql(
            `select pg_terminate_backend(pid) from (${sessionsSql} limit ${n % 2 === 0 ? '1' : 'all'}) s`,
          ),
        ),
      ),
  },
  {
    name: 'disk-full',
    about:
      'no room left on the disk of the data folder, for tables and, where it lasts, for WAL; then there is room again',
    unavailable: whyNoSmallDisk,
    hasFaults: true,
    place: onSmallDisk,
    begin: oneServer(),
    inject: (world) =>
      repeatedly(world, [500, 2_000], (n) =>
        world.fault(n % 2 === 0 ? 'disk full' : 'disk full, also for WAL', async () => {
          const free = fillDisk(diskFolder(world.instance));
          try {
            // The next segment of WAL finds no room, and PostgreSQL goes down.
            if (n % 2 === 1) await world.sql('select pg_switch_wal()').catch(() => undefined);
            await world.pause(between(world, 500, 3_000));
          } finally {
            free();
          }
          await world.databaseServer.up();
        }),
      ),
  },
  connection('cut', 'the connection to the database cut, and none to be had', () => 'cut'),
  connection('delayed', 'everything between server and database late, by 20 to 400 ms each way', (world) => ({
    delayed: between(world, 20, 400),
  })),
  connection('held', 'nothing gets through between server and database, and later all of it', () => 'held'),
  connection(
    'black-holed',
    'the database gone silent: open connections dead for good without a word, new ones taken and not answered',
    () => 'black-hole',
    {
      leastSeconds: 50,
      inject: (world) =>
        repeatedly(world, [500, 1_500], async () => {
          await world.fault('connection black-holed', async () => {
            world.proxy.set('black-hole');
            await world.pause(2_000);
            world.proxy.set('pass');
          });
          // Only time distinguishes a dead connection from a slow one.
          await world.pause(60_000);
        }),
    },
  ),
  {
    name: 'pool-exhausted',
    about: 'one connection for queries and one for the log, each taken in turn by what waits for a lock',
    hasFaults: true,
    begin: oneServer({ DATABASE_POOL_SIZE: '3' }),
    inject: (world) =>
      repeatedly(world, [300, 1_000], (n) =>
        n % 2 === 0
          ? holding(world, 'pool of the log exhausted', lockStreams, between(world, 500, 3_000))
          : holding(world, 'pool of queries exhausted', lockTable, between(world, 500, 3_000)),
      ),
  },
  {
    name: 'locks',
    about: 'held for seconds: an old snapshot, an exclusive lock on a table, the lock that orders appends',
    hasFaults: true,
    begin: oneServer(),
    inject: (world) =>
      repeatedly(world, [100, 500], (n) => {
        const held = [
          ['an old snapshot held', oldSnapshot],
          ['a table locked', lockTable],
          ['the append lock held', lockLog],
        ] as const;
        const [name, statements] = held[n % held.length] as (typeof held)[number];
        return holding(world, name, statements, between(world, 300, 2_500));
      }),
  },
  {
    name: 'clock-server',
    about: 'the server’s clock jumps by seconds, hours and a year, forwards and backwards',
    hasFaults: true,
    begin: async (world) => {
      const clock = join(world.folder, 'server-clock');
      await writeFile(clock, '0');
      await oneServer({ NODE_OPTIONS: preload(world, 'server-clock'), FAULTS_CLOCK_FILE: clock })(world);
    },
    inject: (world) =>
      repeatedly(world, [200, 800], (n) =>
        world
          .fault('the server’s clock jumped', () =>
            writeFile(join(world.folder, 'server-clock'), String(jumps[n % jumps.length])),
          )
          .then(() => staysReady(world)),
      ),
  },
  {
    name: 'clock-database',
    about: 'PostgreSQL’s clock jumps by seconds, hours and a year, forwards and backwards',
    unavailable: whyNoDatabaseClock,
    hasFaults: true,
    place: withDatabaseClock,
    begin: oneServer(),
    inject: (world) =>
      repeatedly(world, [200, 800], (n) =>
        world.fault('PostgreSQL’s clock jumped', () => {
          (world.place as ClockedPlace).setClock(jumps[n % jumps.length] as number);
          return Promise.resolve();
        }),
      ),
  },
  {
    name: 'two-servers',
    about: 'two servers on one database, both asked to write the same flights, and SIGKILL of one of them',
    hasFaults: true,
    begin: async (world) => {
      await world.addServer('server-a').start();
      await world.addServer('server-b').start();
    },
    inject: (world) =>
      repeatedly(world, [1_000, 3_000], (n) => killAndStart(world, world.servers[n % 2] as Server)),
  },
  {
    name: 'rolling-deploy',
    about: 'a server with a newer version of two projections is started, and the old one ended',
    hasFaults: true,
    begin: (world) => deploy(world, 1),
    inject: (world) =>
      repeatedly(world, [300, 1_000], async (n) => {
        const old = world.servers.at(-1) as Server;
        await deploy(world, n + 2);
        await world.pause(between(world, 100, 700));
        await world.fault('the old server ended', async () => {
          if ((await old.stop(30_000)) === undefined)
            world.trouble.push(`${old.name} did not end within 30 s of SIGTERM`);
        });
      }),
  },
  {
    name: 'stop-without-database',
    about: 'SIGTERM for a server whose database is cut off, held up or silent',
    hasFaults: true,
    begin: oneServer({ WAYLOG_STOP_TIMEOUT: '4' }),
    inject: (world) =>
      repeatedly(world, [500, 1_000], async (n) => {
        const way = (['held', 'cut', 'black-hole'] as const)[n % 3] ?? 'cut';
        await world.fault(`stopped with the connection ${way}`, async () => {
          world.proxy.set(way);
          await world.pause(300);
          if ((await first(world).stop(10_000)) === undefined)
            world.trouble.push(
              `With the connection ${way} the server did not end within 10 s, where 4 s are allowed.`,
            );
          world.proxy.set('cut');
          world.proxy.set('pass');
        });
        await first(world).start();
      }),
  },
];

/** A working server must report it: otherwise a load balancer would remove it. */
async function staysReady(world: World): Promise<void> {
  for (let look = 0; look < 5; look++) {
    const { status, body } = await call(world.apiUrl(world.random), { method: 'GET', path: '/health/ready' });
    if (status !== 200) world.trouble.push(`/health/ready: ${status} ${JSON.stringify(body)}`);
  }
}

/** Starts a server whose projections are of this version. */
async function deploy(world: World, version: number): Promise<void> {
  const env = {
    NODE_OPTIONS: preload(world, 'newer-projections'),
    FAULTS_PROJECTION_VERSION: String(version),
  };
  await world.addServer(`server-${version}`, env).start();
}
