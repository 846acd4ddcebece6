import type { Benchmark } from './bench.js';
import { inTurn, median, type Figure } from './measure.js';
import { compareWriters, flightIds, ratesAndRatios, waylogWriter, writing } from './writers.js';

const CALLERS = 64;

export const p2: Benchmark = {
  about: 'P2: 64 callers writing frames of ONE flight, beside the same peers on one stream or one row',
  run: async (bench) => {
    const one = await compareWriters(bench, CALLERS, flightIds(1));
    // The measurement of P1, for the target, in the same run.
    const flights = flightIds(CALLERS);
    const writer = await waylogWriter(bench, await bench.database(), flights);
    const many = await inTurn(
      bench.rounds,
      { 'Waylog, 64 flights': writing(bench, writer, CALLERS, flights) },
      bench.say,
    );
    const manyRounds = many['Waylog, 64 flights'] ?? [];
    const target: Figure = {
      name: 'Waylog on one flight over Waylog on 64 flights',
      unit: 'x',
      rounds: [median(one['Waylog'] ?? []) / median(manyRounds)],
      target: { atLeast: 0.5 },
    };
    return [
      ...ratesAndRatios('one small write a call, 64 callers on one flight', one, {}),
      { name: 'Waylog, 64 callers on 64 flights', unit: '/s', rounds: manyRounds },
      target,
    ];
  },
};
