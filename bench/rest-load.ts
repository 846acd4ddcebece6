import { setPriority } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './bench.js';
import { HttpConnection } from './http-connection.js';
import { flight, frame, time, waypoint } from './samples.js';
import { BENCH_KEY, type ServerProcess } from './server-process.js';

const FLIGHTS = 100;
const WAYPOINTS = 100;
const LARGE_FLIGHTS = 10;
const LARGE = 2_000;

type Send = (method: string, path: string, body?: unknown) => Promise<void>;
/** The `n`th operation of a flight. Every write changes something, so every one is recorded. */
type Operation = (send: Send, path: string, n: number) => Promise<void>;

/** The operations of a flight in the air, by name. */
const operations = {
  'save frame': (send, path, n) => {
    const { frameId: _, ...inPath } = frame(n);
    return send('PUT', `${path}/frames/${n}`, inPath);
  },
  'save heading': (send, path, n) =>
    send('PUT', `${path}/headings/${n}`, { heading: n % 360, timestamp: time(n) }),
  'update waypoint': (send, path, n) => {
    const { id, ...inPath } = waypoint(n % WAYPOINTS, { lat: 63 + n / 1e6, refined: true });
    return send('PUT', `${path}/waypoints/${id}`, inPath);
  },
  'save state': (send, path, n) =>
    send('PUT', `${path}/state`, {
      status: 'processing',
      framesProcessed: n,
      framesTotal: 1_000_000,
      currentFrame: n,
      blocked: false,
    }),
  'save image': (send, path, n) =>
    send('PUT', `${path}/images/${n}`, {
      filePath: `/images/${n}.jpg`,
      metadata: { width: 6_000, height: 4_000, exposure: 0.001 },
    }),
  'latest heading': (send, path) => send('GET', `${path}/headings/latest`),
  'last frames': (send, path, n) => send('GET', `${path}/frames?from=${Math.max(0, n - 100)}&limit=20`),
  'get flight, 100 waypoints': (send, path) => send('GET', path),
} satisfies Record<string, Operation>;

type Name = keyof typeof operations;

/**
 * What a flight does, over and over: it saves a new frame with its heading and moves a waypoint; from time to time it
 * saves the processing state and an image, and a client reads. 17 writes, 3 reads.
 */
const cycle: readonly Name[] = [
  ...(['save frame', 'save heading', 'update waypoint', 'save state'] as const),
  ...(['save frame', 'save heading', 'update waypoint', 'latest heading'] as const),
  ...(['save frame', 'save heading', 'update waypoint', 'save image'] as const),
  ...(['save frame', 'save heading', 'update waypoint', 'save state'] as const),
  ...(['save frame', 'save heading', 'last frames', 'get flight, 100 waypoints'] as const),
];

/** How often each operation runs per second. */
export interface Pace {
  /** By each of the 100 flights. */
  readonly operations: number;
  /** In addition: what people do who plan flights and look at them. */
  readonly largeReads: number;
  readonly creations: number;
}

/**
 * 2.5 frames per second and flight; the reference expects 2 or fewer. 100 flights of ten minutes are created at 0.2 per
 * second.
 */
const fullPace: Pace = { operations: 10, largeReads: 5, creations: 4 };

export const GET_LARGE = 'get flight, 2,000 waypoints';
export const CREATE = 'create flight, 100 waypoints';

export interface Measured {
  readonly perSecond: number;
  /** Milliseconds of each request, by the name of its operation. */
  readonly times: ReadonlyMap<string, number[]>;
  /** How late the load generator's own event loop was, 99th percentile, milliseconds. */
  readonly generatorLag: number;
  /** Share of one core that the server and the load generator used. */
  readonly serverCpu: number;
  readonly generatorCpu: number;
}

export interface RestLoad {
  /** Every flight sends its next request as soon as the last one is answered. */
  saturated(seconds: number): Promise<Measured>;
  /** Every flight, and the clients that read and create others, at their own pace. */
  paced(seconds: number, pace?: Pace): Promise<Measured>;
}

/**
 * 100 flights with 100 waypoints, each on a connection of its own, and ten larger ones that are only read; their ids
 * begin with `ids`.
 */
export async function restLoad(bench: Bench, server: ServerProcess, ids = ''): Promise<RestLoad> {
  goFirst();
  const open = async (count: number) => {
    const connections = await Promise.all(
      Array.from({ length: count }, () => HttpConnection.open(server.url, BENCH_KEY)),
    );
    for (const connection of connections) bench.atEnd(() => connection.close());
    return connections;
  };
  const flights = (await open(FLIGHTS)).map((connection, i) => ({
    connection,
    path: `/v1/flights/${ids}flight-${i}`,
    // Spread out, so that the flights are not in step.
    n: i,
  }));
  const planners = await open(20);
  const idle = [...planners];
  let created = 0;
  let read = 0;

  await Promise.all(
    flights.map(async ({ connection, path }, i) => {
      await connection.send('POST', '/v1/flights', flight(`${ids}flight-${i}`, WAYPOINTS));
      await connection.send('PUT', `${path}/headings/0`, { heading: 0, timestamp: time(0) });
    }),
  );
  for (let i = 0; i < LARGE_FLIGHTS; i++)
    await planners[0]?.send('POST', '/v1/flights', flight(`${ids}large-${i}`, LARGE));
  await waitForTables(`${server.url}/v1/flights/${ids}flight-0`);

  const measure = async (
    work: (end: number, note: (name: string, began: number) => void) => Promise<unknown>,
    seconds: number,
  ): Promise<Measured> => {
    const times = new Map<string, number[]>();
    let count = 0;
    const lag = monitorEventLoopDelay({ resolution: 1 });
    lag.enable();
    const began = performance.now();
    const serverBefore = server.cpuSeconds();
    const generatorBefore = process.cpuUsage();
    await work(began + seconds * 1_000, (name, sent) => {
      count++;
      const known = times.get(name);
      if (known) known.push(performance.now() - sent);
      else times.set(name, [performance.now() - sent]);
    });
    const elapsed = (performance.now() - began) / 1_000;
    const { user, system } = process.cpuUsage(generatorBefore);
    lag.disable();
    return {
      perSecond: count / elapsed,
      times,
      // Its timer fires every millisecond if nothing delays it.
      generatorLag: Math.max(0, lag.percentile(99) / 1e6 - 1),
      serverCpu: (server.cpuSeconds() - serverBefore) / elapsed,
      generatorCpu: (user + system) / 1e6 / elapsed,
    };
  };

  const next = async (of: (typeof flights)[number]): Promise<Name> => {
    const n = of.n++;
    const name = cycle[n % cycle.length] as Name;
    await operations[name]((...request) => of.connection.send(...request), of.path, n);
    return name;
  };

  /** Starts `work` at a steady pace, whether or not the one before has ended. */
  const steadily = async (perSecond: number, end: number, work: () => Promise<unknown>) => {
    const under: Promise<unknown>[] = [];
    const interval = 1_000 / perSecond;
    for (let due = performance.now() + Math.random() * interval; due < end; due += interval) {
      await until(due);
      under.push(work());
    }
    await Promise.all(under);
  };

  return {
    saturated: (seconds) =>
      measure(
        (end, note) =>
          Promise.all(
            flights.map(async (of) => {
              for (let began = performance.now(); began < end; began = performance.now())
                note(await next(of), began);
            }),
          ),
        seconds,
      ),
    paced: (seconds, pace = fullPace) =>
      measure(async (end, note) => {
        const planner = async (name: string, method: string, path: string, body?: unknown) => {
          // In turn: the server closes a connection that is idle for a minute.
          const connection = idle.shift();
          if (!connection)
            throw new Error(`All ${planners.length} connections wait: the server is too slow.`);
          const began = performance.now();
          await connection.send(method, path, body);
          note(name, began);
          idle.push(connection);
        };
        await Promise.all([
          ...flights.map(async (of) => {
            const interval = 1_000 / pace.operations;
            for (let due = performance.now() + Math.random() * interval; due < end; due += interval) {
              // A request that waits for the one before counts as late from when it was due, not from when it was sent.
              const isLate = performance.now() > due;
              if (!isLate) await until(due);
              const began = isLate ? due : performance.now();
              note(await next(of), began);
            }
          }),
          steadily(pace.largeReads, end, () =>
            planner(GET_LARGE, 'GET', `/v1/flights/${ids}large-${read++ % LARGE_FLIGHTS}`),
          ),
          steadily(pace.creations, end, () =>
            planner(CREATE, 'POST', '/v1/flights', flight(`${ids}created-${created++}`, WAYPOINTS)),
          ),
        ]);
      }, seconds),
  };
}

/**
 * The load stands for clients on other machines: the time that it waits for a processor of this one is not the
 * server's. If the system does not allow it, the lag of the load generator shows how much of that there is.
 */
function goFirst(): void {
  try {
    setPriority(-10);
  } catch {
    // Without the right to it, the figures are those of a busier machine.
  }
}

const until = (due: number) => sleep(Math.max(0, due - performance.now()));

/** Waits until the tables hold everything that was written. */
async function waitForTables(flightUrl: string): Promise<void> {
  const answer = await fetch(`${flightUrl}/headings/0`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${BENCH_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ heading: 1, timestamp: time(0) }),
  });
  for (let attempt = 0; attempt < 20; attempt++) {
    const read = await fetch(flightUrl, {
      headers: {
        authorization: `Bearer ${BENCH_KEY}`,
        'waylog-min-position': answer.headers.get('waylog-position') ?? '',
      },
    });
    await read.arrayBuffer();
    if (read.ok) return;
  }
  throw new Error('The projector does not get to the end of the log.');
}
