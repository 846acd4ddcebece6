import type { Benchmark } from './bench.js';
import { percentile, readable, type Figure, type Target } from './measure.js';
import { CREATE, GET_LARGE, restLoad, type Measured } from './rest-load.js';
import { serverProcess } from './server-process.js';

/** Under the paced load. */
const p99: Readonly<Record<string, Target>> = {
  [CREATE]: { atMost: 50 },
  'update waypoint': { atMost: 10 },
  [GET_LARGE]: { atMost: 25 },
  'save heading': { atMost: 5 },
};

export const p7: Benchmark = {
  about:
    'P7: the HTTP server as a process, 100 flights at once: paced (10 requests a second each; 5 reads of a large flight and 4 creations a second on top), and as fast as it goes',
  run: async (bench) => {
    const server = await serverProcess(bench, await bench.database());
    const load = await restLoad(bench, server);
    // Until V8 has compiled the hot code: a server that has run for a quarter of a minute takes half as long again.
    await load.saturated(2);
    await load.paced(8);

    const figures = new Map<string, Figure>();
    const note = (name: string, unit: Figure['unit'], value: number, target?: Target) => {
      const rounds = [...(figures.get(name)?.rounds ?? []), value];
      figures.set(name, { name, unit, rounds, ...(target && { target }) });
    };
    const tell = (which: string, { perSecond, serverCpu, generatorCpu, generatorLag }: Measured) =>
      bench.say(
        `${which}: ${readable(perSecond)}/s; cores taken: server ${readable(serverCpu)}, load generator ` +
          `${readable(generatorCpu)}, which was ${readable(generatorLag)} ms late (p99)`,
      );
    for (let round = 0; round < bench.rounds; round++) {
      // The projector has to catch up after a saturated load.
      await load.paced(2);
      const paced = await load.paced(bench.seconds * 2);
      tell(`round ${round + 1}, paced`, paced);
      for (const [name, times] of paced.times) {
        note(`paced, ${name}, p50`, 'ms', percentile(times, 0.5));
        note(`paced, ${name}, p99`, 'ms', percentile(times, 0.99), p99[name]);
      }
      note('paced, operations', '/s', paced.perSecond);
      note('paced, lag of the load generator, p99', 'ms', paced.generatorLag);

      const saturated = await load.saturated(bench.seconds);
      tell(`round ${round + 1}, saturated`, saturated);
      for (const name of ['update waypoint', 'save heading']) {
        const times = saturated.times.get(name) ?? [];
        note(`saturated, ${name}, p50`, 'ms', percentile(times, 0.5));
        note(`saturated, ${name}, p99`, 'ms', percentile(times, 0.99));
      }
      note('saturated, operations', '/s', saturated.perSecond, { atLeast: 3_000 });
    }
    return [...figures.values()];
  },
};
