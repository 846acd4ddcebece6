import { finished } from 'node:stream/promises';
import type { Writable } from 'node:stream';
import pg from 'pg';
import { CreateFlight, SaveFrameResults } from '#lib/flight';
import type { Bench, Benchmark } from './bench.js';
import { inTurn, rate, ratios, secondsOf, type Figure } from './measure.js';
import { emmettStore } from './peers/emmett.js';
import { peers } from './peers/peer.js';
import { flight, frame } from './samples.js';
import { flightIds } from './writers.js';

/** How many recordings are imported in parallel, each one request after another. */
const FLIGHTS = flightIds(4);
const FRAMES_A_REQUEST = 1_000;
/** The call size with which Emmett was measured before. */
const EVENTS_A_CALL_OF_EMMETT = 100;
const COPIED_EVENTS = 100_000;

const WAYLOG = 'Waylog, 1,000 frames a request, 4 flights';
const COPY = 'COPY of 100,000 ready events';
const EMMETT = 'Emmett 0.42, 100 events a call, 4 streams';

/** Sends the next frames of a flight. */
type Import = (flightId: string) => Promise<unknown>;

export const p4: Benchmark = {
  about:
    'P4: import of recorded flights, durable when answered, beside COPY into the same table and Emmett; no projector',
  run: async (bench) => {
    const url = await bench.database();
    const waylog = await waylogImport(bench, url);
    // COPY gets the events that Waylog wrote while it warmed up.
    for (let n = 0; n < COPIED_EVENTS; n += FRAMES_A_REQUEST * FLIGHTS.length)
      await Promise.all(FLIGHTS.map(waylog));
    const copy = await readyCopy(bench, url);
    const emmett = await emmettImport(bench, url);

    const eventsPerSecond = (send: Import, events: number) => () =>
      rate(FLIGHTS.length, bench.seconds, (caller) => send(FLIGHTS[caller] as string)).then(
        (calls) => calls * events,
      );
    const rates = await inTurn(
      bench.rounds,
      {
        [WAYLOG]: eventsPerSecond(waylog, FRAMES_A_REQUEST),
        [COPY]: copy,
        [EMMETT]: eventsPerSecond(emmett, EVENTS_A_CALL_OF_EMMETT),
      },
      bench.say,
    );
    const ours = rates[WAYLOG] ?? [];
    return [
      ...Object.entries(rates).map(([name, rounds]): Figure => ({ name, unit: '/s', rounds })),
      {
        name: 'Waylog, share of COPY',
        unit: '%',
        rounds: ratios(ours, rates[COPY] ?? []).map((ratio) => ratio * 100),
        target: { atLeast: 50 },
      },
      { name: 'Waylog over Emmett', unit: 'x', rounds: ratios(ours, rates[EMMETT] ?? []) },
    ];
  },
};

/** Continues the numbers of each flight: no frame is written twice. */
function framesInTurn(count: number) {
  const next = new Map<string, number>();
  return (flightId: string) => {
    const first = next.get(flightId) ?? 0;
    next.set(flightId, first + count);
    return Array.from({ length: count }, (_, n) => frame(first + n));
  };
}

async function waylogImport(bench: Bench, url: string): Promise<Import> {
  const { execute } = await bench.waylog(url, { projector: false });
  const frames = framesInTurn(FRAMES_A_REQUEST);
  for (const id of FLIGHTS) await execute(new CreateFlight({ flight: flight(id, 10) }));
  return (flightId) => execute(new SaveFrameResults({ flightId, frames: frames(flightId) }));
}

async function emmettImport(bench: Bench, url: string): Promise<Import> {
  const store = await emmettStore(url);
  bench.atEnd(() => store.close());
  const frames = framesInTurn(EVENTS_A_CALL_OF_EMMETT);
  const versions = new Map<string, bigint>();
  return async (flightId) => {
    const expected = versions.get(flightId);
    const { nextExpectedStreamVersion } = await store.appendToStream(
      flightId,
      frames(flightId).map((data) => ({ type: 'FrameResultSaved', data })),
      expected === undefined ? undefined : { expectedStreamVersion: expected },
    );
    versions.set(flightId, nextExpectedStreamVersion);
  };
}

/** The physical limit: the first events of the log, as text in memory, into an empty table with the same indexes. */
async function readyCopy(bench: Bench, url: string): Promise<() => Promise<number>> {
  const { copyFrom } = await peers<{ copyFrom: (text: string) => Writable & pg.Submittable }>();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  bench.atEnd(() => client.end());
  await client.query(`create table public.copied_events (like log.events including all)`);
  const { rows } = await client.query<{ line: string }>(
    `select concat_ws(E'\\t', position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash) as line
       from log.events order by position limit ${COPIED_EVENTS}`,
  );
  const text = rows.map(({ line }) => `${line.replaceAll('\\', '\\\\')}\n`).join('');
  return async () => {
    await client.query(`truncate public.copied_events`);
    const seconds = await secondsOf(async () => {
      const stream = client.query(copyFrom('copy public.copied_events from stdin'));
      stream.end(text);
      await finished(stream);
    });
    return rows.length / seconds;
  };
}
