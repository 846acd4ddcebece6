import {
  evolve,
  FlightReads,
  flightProjections,
  noFlight,
  type FlightEvent,
  flight,
  flightStream,
} from '#lib/flight';
import type { RecordedEvent } from '#lib/event-store';
import { rebuild } from '#lib/projections';
import type { Bench, Benchmark, InProcess } from './bench.js';
import { inTurn, ratios, secondsOf, type Figure } from './measure.js';
import { emmettStore } from './peers/emmett.js';
import { simulateFlights } from './simulated-log.js';
import { flightIds } from './writers.js';
import { RunningContexts } from '#lib/waylog';

/** Frames of the replayed flight. */
const FRAMES = 2_350;
const FLIGHT = 'replayed';
/** The other events in the log from which a table is rebuilt. */
const OTHER_FLIGHTS = 40;
const FRAMES_EACH = 480;
/** Each measurement is the mean of several, so that one pause counts for little. */
const REPEATS = 10;

const REPLAY = 'Waylog, a flight replayed from the log';
const SNAPSHOT = 'Waylog, the same from a snapshot and the events after it';
const EMMETT = 'Emmett 0.42, aggregateStream over the same events';
const TIME_TRAVEL = 'time travel: a flight folded into its tables in memory';
const REBUILD = 'rebuild of frame_results into a shadow table, events of the log read';

export const p6: Benchmark = {
  about:
    'P6: one flight of 10,000 events replayed into decision state beside Emmett; folded for time travel; a table rebuilt',
  run: async (bench) => {
    const url = await bench.database();
    const writer = await bench.waylog(url, { projector: false });
    await simulateFlights(writer, [FLIGHT], FRAMES);
    await simulateFlights(writer, flightIds(OTHER_FLIGHTS), FRAMES_EACH);
    // This waits for snapshots that are still being saved.
    await writer.close();
    const waylog = await bench.waylog(url);
    await waylog.app.get(RunningContexts).waitFor(await waylog.store.head(), 60_000);
    const events = await eventsOf(waylog);
    const snapshots = await snapshotsAside(waylog);
    const emmett = await emmettReplay(bench, url, events);
    bench.say(`${events.length} events in the flight`);

    const { streams } = waylog.app.get(RunningContexts).runnerOf(flightStream);
    const reads = waylog.app.get(FlightReads);
    const select = { table: projectionOf('flights').table, where: { id: FLIGHT }, orderBy: ['id'] };
    const asOf = String(events.length - 1);
    const measured = (work: () => Promise<unknown>, before?: () => Promise<unknown>) => async () => {
      await before?.();
      const seconds = await secondsOf(async () => {
        for (let n = 0; n < REPEATS; n++) await work();
      });
      return (events.length * REPEATS) / seconds;
    };
    const replay = () => streams.load(FLIGHT);
    const systems = {
      [REPLAY]: measured(replay, snapshots.away),
      [SNAPSHOT]: measured(replay, snapshots.back),
      [EMMETT]: measured(emmett),
      [TIME_TRAVEL]: measured(() => reads.of(FLIGHT, { asOf }, (source) => source.select(select))),
      [REBUILD]: () => rebuildFrames(waylog, url),
    };
    // Once before it counts: everything then runs compiled.
    for (const system of Object.values(systems)) await system();
    const rates = await inTurn(bench.rounds, systems, bench.say);

    const ours = rates[REPLAY] ?? [];
    return [
      ...Object.entries(rates).map(([name, rounds]): Figure => ({
        name,
        unit: '/s',
        rounds,
        ...(name === TIME_TRAVEL && { target: { atLeast: 150_000 } }),
      })),
      {
        name: 'Waylog over Emmett, replay of the log',
        unit: 'x',
        rounds: ratios(ours, rates[EMMETT] ?? []),
        target: { atLeast: 4 },
      },
    ];
  },
};

async function eventsOf({ store }: InProcess): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const page of store.readStream(`flight-${FLIGHT}`)) events.push(...page);
  return events;
}

/** Keeps the snapshots that commands have left for one measurement, and removes them for another. */
async function snapshotsAside({ pool }: InProcess) {
  await pool.query(`create table public.snapshots_aside as table log.snapshots`);
  const away = () => pool.query(`delete from log.snapshots`);
  return {
    away,
    back: async () => {
      await away();
      await pool.query(`insert into log.snapshots table public.snapshots_aside`);
    },
  };
}

async function emmettReplay(
  bench: Bench,
  url: string,
  events: readonly RecordedEvent[],
): Promise<() => Promise<unknown>> {
  const store = await emmettStore(url);
  bench.atEnd(() => store.close());
  for (let n = 0; n < events.length; n += 100) {
    await store.appendToStream(
      FLIGHT,
      events.slice(n, n + 100).map(({ type, data, metadata }) => ({ type, data, metadata })),
    );
  }
  return () =>
    store.aggregateStream(FLIGHT, {
      initialState: noFlight,
      evolve: (flight, event) => evolve(flight, event as FlightEvent),
    });
}

async function rebuildFrames({ store }: InProcess, connectionString: string): Promise<number> {
  const projection = projectionOf('frame_results');
  let events = 0;
  const seconds = await secondsOf(async () => {
    ({ events } = await rebuild({
      projector: flight.name,
      projections: [projection],
      store,
      connectionString,
    }));
  });
  return events / seconds;
}

function projectionOf(table: string) {
  const projection = flightProjections.find(({ name }) => name === table);
  if (!projection) throw new Error(`There is no projection ${table}.`);
  return projection;
}
