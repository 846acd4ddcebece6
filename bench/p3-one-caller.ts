import type { Benchmark } from './bench.js';
import { inTurn, latencies, median, ratios, type Figure } from './measure.js';
import { everyWriter, flightIds } from './writers.js';

const CALLS = 1_000;

export const p3: Benchmark = {
  about: 'P3: one caller, one write after another: the median time of a call',
  run: async (bench) => {
    const flights = flightIds(2);
    const writers = await everyWriter(bench, flights);
    let first = 0;
    const times = await inTurn(
      bench.rounds * 2,
      Object.fromEntries(
        writers.map((writer, i) => [
          writer.name,
          async () => {
            if (i === 0) first += CALLS;
            return median(await latencies(CALLS, (n) => writer.write(flights[0] as string, 0, first + n)));
          },
        ]),
      ),
      bench.say,
    );
    const ours = times['Waylog'] ?? [];
    return [
      ...Object.entries(times).map(([name, rounds]): Figure => ({
        name: `time of a call: ${name}`,
        unit: 'ms',
        rounds,
      })),
      {
        name: 'time of a call: Waylog over plain INSERT (node-pg)',
        unit: 'x',
        rounds: ratios(ours, times['plain INSERT (node-pg)'] ?? []),
        target: { atMost: 1.3 },
      },
    ];
  },
};
