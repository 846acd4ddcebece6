import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Bench } from './bench.js';

export interface ServerProcess {
  readonly url: string;
  /** Its resident memory, in MiB. */
  readonly residentMiB: () => number;
  /** Its open files, sockets and the like. */
  readonly handles: () => number;
  /** Its values at /metrics, by name, without those that have labels. */
  readonly metrics: () => Promise<ReadonlyMap<string, number>>;
  /** The live memory in MiB after a garbage collection, which blocks the server for a moment. */
  readonly aliveMiB: () => Promise<number>;
  /** Seconds of processor time that it has used. */
  readonly cpuSeconds: () => number;
}

/** Sent with every request, so that the figures include authentication. */
export const BENCH_KEY = 'the-key-of-benchmarks-which-is-no-secret';

export const benchHeaders = { authorization: `Bearer ${BENCH_KEY}` };

/** Lets the process be told to collect. */
const COLLECT_ON_SIGNAL = ['--expose-gc', '--import', 'data:text/javascript,process.on("SIGWINCH",()=>gc())'];

/** Clock ticks a second in /proc, on every Linux that Node runs on. */
const TICKS = 100;

/** The HTTP server with its projector, as it is deployed: a separate process. Ended with the benchmark. */
export async function serverProcess(bench: Bench, databaseUrl: string): Promise<ServerProcess> {
  const child = spawn(process.execPath, [...COLLECT_ON_SIGNAL, 'dist/apps/server/src/main.js'], {
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      PORT: '0',
      HOST: '127.0.0.1',
      WAYLOG_ADMIN_KEY: BENCH_KEY,
      WAYLOG_DEMO: '0',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  bench.atEnd(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
      const [, found] = /Waylog listens on (\S+)/.exec(output) ?? [];
      if (found) resolve(found);
    });
    ended.then(() => reject(new Error(`The server ended before it listened:\n${output}`)), reject);
  });
  const proc = (file: string) => readFileSync(`/proc/${child.pid}/${file}`, 'utf8');
  const metrics = async (): Promise<ReadonlyMap<string, number>> => {
    const text = await (await fetch(`${url}/metrics`, { headers: benchHeaders })).text();
    return new Map(
      [...text.matchAll(/^([a-z_0-9]+) (\S+)$/gm)].map(([, name, value]) => [name as string, Number(value)]),
    );
  };
  return {
    url,
    residentMiB: () => Number(/^VmRSS:\s+(\d+) kB/m.exec(proc('status'))?.[1]) / 1_024,
    handles: () => readdirSync(`/proc/${child.pid}/fd`).length,
    metrics,
    aliveMiB: async () => {
      child.kill('SIGWINCH');
      // The signal and the first request can be handled in either order; the second comes after both.
      await metrics();
      const after = await metrics();
      const bytes = ['nodejs_heap_size_used_bytes', 'nodejs_external_memory_bytes'];
      return bytes.reduce((sum, name) => sum + (after.get(name) ?? NaN), 0) / 1_048_576;
    },
    cpuSeconds: () => {
      // The second field is the name of the program in brackets; counted from behind it, 12 and 13 are user and system.
      const fields = proc('stat').split(') ')[1]?.split(' ') ?? [];
      return (Number(fields[11]) + Number(fields[12])) / TICKS;
    },
  };
}
