import { copyDataKeys, copyLog, InMemoryEventStore, openEventStore } from '#lib/event-store';
import { CreateFlight, flight as flightContext, flightProjections, SaveFrameResult } from '#lib/flight';
import { Listener } from '#lib/platform';
import { rebuild } from '#lib/projections';
import pg from 'pg';
import type { Bench, Benchmark } from './bench.js';
import { inTurn, latencies, median, ratios, secondsOf, type Figure } from './measure.js';
import { eventStoreDbClient } from './peers/eventstoredb-client.js';
import type { Writer } from './peers/peer.js';
import { flight, frame } from './samples.js';
import { simulateFlights } from './simulated-log.js';
import { writing } from './writers.js';
import { RunningContexts } from '#lib/waylog';

const CALLERS = 64;
const CALLS = 300;
/** Flights and frames of the log that is rebuilt and copied. */
const FLIGHTS = 20;
const FRAMES = 250;
const FRAMES_OF_A_CALLER = 1_000_000;

const HERE = 'Waylog on EventStoreDB';
const ON_POSTGRES = 'Waylog on PostgreSQL';
const CLIENT = 'the client alone';

/**
 * The same as P1, P3 and P6, and `waylog log copy`, with the log on a server of EventStoreDB. It deletes nothing there.
 */
export const eventStoreBenchmark = (eventStore: string): Benchmark => ({
  about: 'P1, P3, P6 and the copy on a server of EventStoreDB, beside its client alone and beside PostgreSQL',
  run: async (bench) => {
    // A server that serves more than one run keeps the streams of all of them.
    const run = `b${Date.now().toString(36)}`;
    const flights = Array.from({ length: CALLERS }, (_, n) => `${run}-${n}`);
    const ours = await waylog(bench, HERE, flights, eventStore);
    const client = await eventStoreDbClient(eventStore, flights);
    bench.atEnd(() => client.close());
    const writers = [ours, await waylog(bench, ON_POSTGRES, flights), client];

    const figures: Figure[] = [];
    let first = 0;
    const times = await inTurn(
      bench.rounds,
      Object.fromEntries(
        writers.map((writer, i) => [
          writer.name,
          async () => {
            if (i === 0) first += CALLS;
            return median(
              await latencies(CALLS, (n) => writer.write(flights[0] as string, CALLERS, first + n)),
            );
          },
        ]),
      ),
      bench.say,
    );
    for (const [name, rounds] of Object.entries(times))
      figures.push({ name: `time of a call, one caller: ${name}`, unit: 'ms', rounds });
    for (const callers of [16, CALLERS]) {
      const rates = await inTurn(
        bench.rounds,
        Object.fromEntries(writers.map((writer) => [writer.name, writing(bench, writer, callers, flights)])),
        bench.say,
      );
      for (const [name, rounds] of Object.entries(rates))
        figures.push({ name: `one small write a call, ${callers} callers: ${name}`, unit: '/s', rounds });
      figures.push({
        name: `${callers} callers: Waylog on EventStoreDB over the client alone`,
        unit: 'x',
        rounds: ratios(rates[HERE] ?? [], rates[CLIENT] ?? []),
        ...(callers === CALLERS && { target: { atLeast: 0.8 } }),
      });
      // A caller continues with the number where the previous caller of this flight ended.
      flights.push(flights.shift() as string);
    }
    return [...figures, ...(await replays(bench, run, { eventStore, keysAt: ours.url }))];
  },
});

async function waylog(
  bench: Bench,
  name: string,
  flights: readonly string[],
  eventStore?: string,
): Promise<Writer & { readonly url: string }> {
  const url = await bench.database();
  const { execute, close } = await bench.waylog(url, { projector: false, ...(eventStore && { eventStore }) });
  await Promise.all(flights.map((id) => execute(new CreateFlight({ flight: flight(id, 10) }))));
  return {
    name,
    url,
    write: (flightId, caller, n) =>
      execute(new SaveFrameResult({ flightId, frame: frame(caller * FRAMES_OF_A_CALLER + n) })),
    close,
  };
}

/** Out of the server by a rebuild and by a copy, and into it by a copy. */
async function replays(
  bench: Bench,
  run: string,
  { eventStore, keysAt }: { readonly eventStore: string; readonly keysAt: string },
): Promise<Figure[]> {
  const url = await bench.database();
  const source = await bench.waylog(url);
  const copied = Array.from({ length: FLIGHTS }, (_, n) => `${run}-copied-${n}`);
  await simulateFlights(source, copied, FRAMES);
  const streams = copied.map((id) => `flight-${id}`);
  const pool = new pg.Pool({ connectionString: url });
  const listener = new Listener(url, 'bench');
  const server = await openEventStore({ eventStore, pool, listener, vocabulary: {} });
  bench.atEnd(() => server.close().then(() => pool.end()));
  let events = 0;
  const into = await secondsOf(async () => {
    const { recorded } = await copyLog({ from: source.store, to: server, streams });
    events = recorded;
  });
  bench.say(`${events} events copied`);
  const out = await inTurn(
    bench.rounds,
    {
      'copied out of EventStoreDB': async () => {
        const to = new InMemoryEventStore();
        return events / (await secondsOf(() => copyLog({ from: server, to, streams })));
      },
    },
    bench.say,
  );
  const tables = await bench.database();
  // Sealed fields need keys that are beside the tables: a flight without its key would be parked, and take no time.
  const target = new pg.Pool({ connectionString: tables });
  const writers = new pg.Pool({ connectionString: keysAt });
  for (const from of [pool, writers]) await copyDataKeys(from, target, undefined);
  await Promise.all([target.end(), writers.end()]);
  const there = await bench.waylog(tables, { eventStore });
  const seconds = await secondsOf(async () =>
    there.app.get(RunningContexts).waitFor(await there.store.head(), 30 * 60_000),
  );
  bench.say(`tables of a whole log in ${seconds.toFixed(1)} s`);
  const rebuilt = await inTurn(
    bench.rounds,
    {
      'rebuild of frame_results, events of the log read': async () => {
        let read = 0;
        const took = await secondsOf(async () => {
          ({ events: read } = await rebuild({
            projector: flightContext.name,
            projections: flightProjections.filter(({ name }) => name === 'frame_results'),
            store: there.store,
            connectionString: tables,
          }));
        });
        return read / took;
      },
    },
    bench.say,
  );
  return [
    { name: 'copied into EventStoreDB', unit: '/s', rounds: [events / into], target: { atLeast: 5_000 } },
    ...Object.entries(out).map(([name, rounds]): Figure => ({
      name,
      unit: '/s',
      rounds,
      target: { atLeast: 10_000 },
    })),
    ...Object.entries(rebuilt).map(([name, rounds]): Figure => ({ name, unit: '/s', rounds })),
  ];
}
