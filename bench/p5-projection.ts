import { setTimeout as sleep } from 'node:timers/promises';
import { CreateFlight, flight as flightContext, flightProjections, SaveFrameResult } from '#lib/flight';
import type { Bench, Benchmark, InProcess } from './bench.js';
import { inTurn, median, percentile, rate, readable, secondsOf, type Figure } from './measure.js';
import { flight, frame } from './samples.js';
import { serverProcess } from './server-process.js';
import { simulateFlights } from './simulated-log.js';
import { flightIds } from './writers.js';
import { RunningContexts } from '#lib/waylog';

const FLIGHTS = 100;
const FRAMES_EACH = 480;
const CALLERS = 64;
/** One command in this many is watched until the tables hold it. */
const SAMPLED = 20;
const MAX_LAG_MS = 60_000;

export const p5: Benchmark = {
  about:
    'P5: a backlog of simulated flights folded into all tables; and how far the tables are behind while P1 runs, the projector a process of its own',
  run: async (bench) => [...(await backlog(bench)), ...(await lag(bench))],
};

async function backlog(bench: Bench): Promise<Figure[]> {
  const waylog = await bench.waylog(await bench.database(), { projector: false });
  const events = await simulateFlights(waylog, flightIds(FLIGHTS), FRAMES_EACH);
  bench.say(`${readable(events)} events in the log`);
  const { folded } = await inTurn(
    bench.rounds,
    {
      folded: async () => {
        await emptyTables(waylog);
        const seconds = await secondsOf(() => projectAll(waylog, events));
        await waylog.app.get(RunningContexts).of(flightContext).projector.stop();
        return events / seconds;
      },
    },
    bench.say,
  );
  await waylog.close();
  return [
    { name: 'backlog folded into all tables', unit: '/s', rounds: folded ?? [], target: { atLeast: 30_000 } },
  ];
}

/** As if no projector had ever run. */
async function emptyTables({ pool }: InProcess): Promise<void> {
  const tables = flightProjections.map(({ table: { schema, name } }) => `${schema}.${name}`);
  await pool.query(`truncate ${tables.join(', ')}, projection.checkpoints, projection.stream_revisions`);
  // Work left over from the round before must not count in this one.
  await pool.query('checkpoint');
}

/** Until the tables hold the whole log; the time includes the last commit. */
async function projectAll({ app }: InProcess, events: number): Promise<void> {
  const projector = app.get(RunningContexts).of(flightContext).projector;
  const end = projector.status.eventsFolded + events;
  projector.start();
  while (projector.status.eventsFolded < end) await sleep(1);
}

async function lag(bench: Bench): Promise<Figure[]> {
  const url = await bench.database();
  await serverProcess(bench, url);
  const { app, execute } = await bench.waylog(url, { projector: false });
  const watch = app.get(RunningContexts);
  const flights = flightIds(CALLERS);
  await Promise.all(flights.map((id) => execute(new CreateFlight({ flight: flight(id, 10) }))));
  const next = new Map<number, number>();

  const underLoad = async (seconds: number) => {
    const lags: number[] = [];
    const watched: Promise<void>[] = [];
    const perSecond = await rate(CALLERS, seconds, async (caller, n) => {
      const flightId = flights[caller] as string;
      const frameId = next.get(caller) ?? 0;
      next.set(caller, frameId + 1);
      const { position } = await execute(new SaveFrameResult({ flightId, frame: frame(frameId) }));
      if (n % SAMPLED !== caller % SAMPLED) return;
      const acknowledged = performance.now();
      watched.push(
        watch.waitFor(position, MAX_LAG_MS).then(() => void lags.push(performance.now() - acknowledged)),
      );
    });
    await Promise.all(watched);
    return { perSecond, lags };
  };
  // Until both processes have compiled their hot code.
  await underLoad(bench.seconds);
  const rounds = [];
  for (let round = 0; round < bench.rounds; round++) {
    const { perSecond, lags } = await underLoad(bench.seconds);
    const [middle, most] = [median(lags), percentile(lags, 0.99)];
    rounds.push({ perSecond, middle, most });
    bench.say(
      `round ${round + 1}: ${readable(perSecond)} commands/s, behind ${readable(middle)} ms (median), ${readable(most)} ms (p99)`,
    );
  }
  return [
    {
      name: 'commands accepted while a projector folds them',
      unit: '/s',
      rounds: rounds.map(({ perSecond }) => perSecond),
    },
    {
      name: 'from the answer until all tables hold it, median',
      unit: 'ms',
      rounds: rounds.map(({ middle }) => middle),
    },
    {
      name: 'from the answer until all tables hold it, p99',
      unit: 'ms',
      rounds: rounds.map(({ most }) => most),
      target: { atMost: 250 },
    },
  ];
}
