import type { Benchmark } from './bench.js';
import { compareWriters, flightIds, ratesAndRatios } from './writers.js';

const CALLERS = 64;

export const p1: Benchmark = {
  about:
    'P1: 64 callers, each writing frames of a flight of its own, beside INSERT, TypeORM, Emmett and dcb-event-store',
  run: async (bench) =>
    ratesAndRatios(
      'one small write a call, 64 callers on 64 flights',
      await compareWriters(bench, CALLERS, flightIds(CALLERS)),
      {
        'plain INSERT (node-pg)': 3.5,
        'TypeORM update()': 5,
        'Emmett 0.42': 20,
        'dcb-event-store 7.0': 15,
      },
    ),
};
