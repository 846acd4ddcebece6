import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './bench.js';
import { percentile } from './measure.js';
import { fillCache } from './p9-memory.js';
import { restLoad, type Pace } from './rest-load.js';
import { time } from './samples.js';
import { benchHeaders, serverProcess, type ServerProcess } from './server-process.js';
import { growthOf, lastShare, mean, type Point } from './trend.js';

/** A moderate pace, for hours: 100 flights with 2 commands a second each, 36 reads, a reader of large flights, a planner. */
export const PACE: Pace = { operations: 2.4, largeReads: 1, creations: 0.2 };
const SAMPLE_EVERY_MS = 2_000;

/** Limits for the second half of a run. */
export const bounds = {
  /**
   * Growth of the resident memory from the middle to the end of the run, by the best-fitting line, relative to its
   * mean.
   */
  memory: 0.1,
  /**
   * Growth of the live memory after a collection, from the beginning (the cache is full) to the end, relative to the
   * beginning.
   */
  alive: 0.1,
  /** Growth of the number of open handles, measured like the resident memory. */
  handles: 10,
  /** Growth of the number of sessions on the database. */
  sessions: 10,
  /** From the answer to a command until a read has it: the 99th percentile of the last fifth, over that of the first. */
  lag: 2,
  /** A lag below this many milliseconds does not count, whatever it was before. */
  lagMs: 250,
} as const;

interface Samples {
  readonly memory: Point[];
  readonly heap: Point[];
  readonly handles: Point[];
  readonly sessions: Point[];
  readonly eventLoop: Point[];
  readonly lag: Point[];
}

export interface SoakResult {
  readonly operations: number;
  readonly lines: readonly SoakLine[];
  readonly isMet: boolean;
}

export interface SoakLine {
  readonly what: string;
  readonly first: string;
  readonly last: string;
  readonly found: string;
  readonly bound: string;
  readonly isMet: boolean | undefined;
}

/** Loads a server at a steady pace, measures it every few seconds, and reports whether anything keeps growing. */
export async function soak(bench: Bench, minutes: number): Promise<SoakResult> {
  const server = await serverProcess(bench, await bench.database());
  const load = await restLoad(bench, server);
  await fillCache(bench, server);
  // V8 compiles the hot code, and the projector catches up with the flights that have filled the cache.
  bench.say('warming up for 30 s');
  await load.paced(30, PACE);
  bench.say(`${minutes} minutes of load`);
  const before = await server.aliveMiB();
  const samples: Samples = { memory: [], heap: [], handles: [], sessions: [], eventLoop: [], lag: [] };
  const over = new AbortController();
  const sampling = sample(server, samples, over.signal, bench.say);
  const { perSecond } = await load.paced(minutes * 60, PACE);
  over.abort();
  await sampling;
  const lines = judge(samples, { before, after: await server.aliveMiB() });
  return {
    operations: Math.round(perSecond * minutes * 60),
    lines,
    isMet: lines.every(({ isMet }) => isMet !== false),
  };
}

async function sample(
  server: ServerProcess,
  samples: Samples,
  signal: AbortSignal,
  say: Bench['say'],
): Promise<void> {
  const began = performance.now();
  let said = began;
  const isOver = (): boolean => signal.aborted;
  for (let n = 1; !isOver(); n++) {
    const at = (performance.now() - began) / 1_000;
    const note = (of: Point[], value: number | undefined) => {
      if (value !== undefined && Number.isFinite(value)) of.push({ at, value });
    };
    note(samples.memory, server.residentMiB());
    note(samples.handles, server.handles());
    const metrics = await server.metrics();
    note(samples.heap, (metrics.get('nodejs_heap_size_used_bytes') ?? NaN) / 1_048_576);
    note(samples.eventLoop, (metrics.get('nodejs_eventloop_lag_p99_seconds') ?? NaN) * 1_000);
    note(samples.sessions, metrics.get('waylog_database_connections'));
    note(samples.lag, await lagOf(server, n));
    if (performance.now() - said > 60_000) {
      said = performance.now();
      say(
        `${Math.round(at)} s: ${Math.round(samples.memory.at(-1)?.value ?? 0)} MiB, ${samples.handles.at(-1)?.value ?? 0} handles, ` +
          `tables ${Math.round(samples.lag.at(-1)?.value ?? 0)} ms behind`,
      );
    }
    await sleep(SAMPLE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Milliseconds from the answer to a command until a reader that asks for it has it. */
async function lagOf(server: ServerProcess, n: number): Promise<number> {
  const headings = `${server.url}/v1/flights/flight-0/headings`;
  const saved = await fetch(`${headings}/${2_000_000_000 + (n % 1_000)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...benchHeaders },
    body: JSON.stringify({ heading: n % 360, timestamp: time(n) }),
  });
  await saved.arrayBuffer();
  const began = performance.now();
  const read = await fetch(`${headings}/latest`, {
    headers: { ...benchHeaders, 'waylog-min-position': saved.headers.get('waylog-position') ?? '' },
  });
  await read.arrayBuffer();
  if (!saved.ok || !read.ok) throw new Error(`The probe was answered ${saved.status} and ${read.status}.`);
  return performance.now() - began;
}

export function judge(samples: Samples, alive: { before: number; after: number }): SoakLine[] {
  const trend = (what: string, unit: string, points: readonly Point[], most?: number): SoakLine => {
    const half = lastShare(points, 0.5);
    const growth = growthOf(half);
    return {
      what,
      first: `${mean(points.slice(0, Math.ceil(points.length / 5)).map(({ value }) => value)).toFixed(0)}${unit}`,
      last: `${mean(lastShare(points, 0.2).map(({ value }) => value)).toFixed(0)}${unit}`,
      found: `${growth >= 0 ? '+' : ''}${growth.toFixed(1)}${unit} in the second half`,
      bound: most === undefined ? '' : `at most +${most.toFixed(1)}${unit}`,
      isMet: most === undefined ? undefined : growth <= most,
    };
  };
  const { memory, heap, handles, sessions, eventLoop, lag } = samples;
  const values = (points: readonly Point[]) => points.map(({ value }) => value);
  const before = percentile(values(lag.slice(0, Math.ceil(lag.length / 5))), 0.99);
  const after = percentile(values(lastShare(lag, 0.2)), 0.99);
  const lagMost = Math.max(bounds.lagMs, before * bounds.lag);
  return [
    trend('resident memory', ' MiB', memory, mean(values(memory)) * bounds.memory),
    trend('heap in use', ' MiB', heap),
    {
      what: 'alive after a collection',
      first: `${alive.before.toFixed(0)} MiB before`,
      last: `${alive.after.toFixed(0)} MiB after`,
      found: `${alive.after >= alive.before ? '+' : ''}${(alive.after - alive.before).toFixed(1)} MiB`,
      bound: `at most +${(alive.before * bounds.alive).toFixed(1)} MiB`,
      isMet: alive.after - alive.before <= alive.before * bounds.alive,
    },
    trend('open handles', '', handles, bounds.handles),
    trend('sessions on the database', '', sessions, bounds.sessions),
    trend('event loop late, p99', ' ms', eventLoop),
    {
      what: 'tables behind the answer, p99',
      first: `${before.toFixed(0)} ms`,
      last: `${after.toFixed(0)} ms`,
      found: `${percentile(values(lag), 0.5).toFixed(0)} ms, the median`,
      bound: `at most ${lagMost.toFixed(0)} ms`,
      isMet: after <= lagMost,
    },
  ];
}
