import type { Bench, Benchmark } from './bench.js';
import { HttpConnection } from './http-connection.js';
import { median, readable } from './measure.js';
import { restLoad } from './rest-load.js';
import { flight } from './samples.js';
import { BENCH_KEY, serverProcess, type ServerProcess } from './server-process.js';

/**
 * The server caches 96 MB of states for decisions, 220 bytes a waypoint; these flights fill the cache, so that it stops
 * growing.
 */
const FLIGHTS = 120;
const WAYPOINTS = 4_000;

/** Of the time that is measured: the server still compiles and the projector catches up. */
const WARM_UP = 0.25;
const SAMPLE_EVERY_MS = 250;

/** Fills the server's cache. */
export async function fillCache(bench: Bench, server: ServerProcess): Promise<void> {
  const connection = await HttpConnection.open(server.url, BENCH_KEY);
  for (let i = 0; i < FLIGHTS; i++)
    await connection.send('POST', '/v1/flights', flight(`full-${i}`, WAYPOINTS));
  await connection.close();
}

/** The server's memory under the paced load of P7. */
export const p9 = (minutes: number): Benchmark => ({
  about: `P9: memory of the HTTP server with a full cache, in ${minutes === 1 ? 'a minute' : `${minutes} minutes`} of the paced load of P7`,
  long: minutes > 1,
  run: async (bench) => {
    const server = await serverProcess(bench, await bench.database());
    const load = await restLoad(bench, server);
    await fillCache(bench, server);
    bench.say(`${readable(server.residentMiB())} MiB with a full cache of decision states`);

    const samples: number[] = [];
    const sampling = setInterval(() => samples.push(server.residentMiB()), SAMPLE_EVERY_MS);
    bench.atEnd(() => {
      clearInterval(sampling);
      return Promise.resolve();
    });
    await load.paced(WARM_UP * minutes * 60);
    const warmUp = samples.splice(0);
    const { perSecond } = await load.paced(minutes * 60);
    const third = Math.floor(samples.length / 3);
    const first = median(samples.slice(0, third));
    const last = median(samples.slice(-third));
    bench.say(
      `${readable(perSecond)} requests/s; ${readable(first)} MiB in the first third, ${readable(last)} MiB in the last`,
    );
    return [
      {
        name: 'resident, most',
        unit: 'MiB',
        rounds: [Math.max(...warmUp, ...samples)],
        target: { atMost: 400 },
      },
      { name: 'resident, median', unit: 'MiB', rounds: [median(samples)] },
      {
        name: 'growth from the median of the first third to that of the last',
        unit: '%',
        rounds: [(last / first - 1) * 100],
        target: { atMost: 10 },
      },
    ];
  },
});
