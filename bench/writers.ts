import { CreateFlight, SaveFrameResult, type CommandResult } from '#lib/flight';
import type { Bench } from './bench.js';
import { inTurn, median, rate, ratios, type Figure } from './measure.js';
import { dcbEventStore } from './peers/dcb.js';
import { emmett } from './peers/emmett.js';
import type { Writer } from './peers/peer.js';
import { plainInsert } from './peers/plain-insert.js';
import { typeormUpdate } from './peers/typeorm.js';
import { flight, frame } from './samples.js';

/** Keeps the frames of one caller apart from those of other callers and earlier rounds. */
const FRAMES_OF_A_CALLER = 1_000_000;

/** Waylog's own way of writing a frame: a command. */
export async function waylogWriter(
  bench: Bench,
  url: string,
  flights: readonly string[],
): Promise<Writer & { write(flightId: string, caller: number, n: number): Promise<CommandResult> }> {
  const { execute, close } = await bench.waylog(url, { projector: false });
  await Promise.all(flights.map((id) => execute(new CreateFlight({ flight: flight(id, 10) }))));
  return {
    name: 'Waylog',
    write: (flightId, caller, n) =>
      execute(new SaveFrameResult({ flightId, frame: frame(caller * FRAMES_OF_A_CALLER + n) })),
    close,
  };
}

export const flightIds = (count: number): string[] => Array.from({ length: count }, (_, n) => `flight-${n}`);

/** Waylog and its peers, each on its own tables in one database. */
export async function everyWriter(bench: Bench, flights: readonly string[]): Promise<Writer[]> {
  const url = await bench.database();
  const peers = [];
  for (const open of [plainInsert, typeormUpdate, emmett, dcbEventStore]) {
    const writer = await open(url, flights);
    bench.atEnd(() => writer.close());
    peers.push(writer);
  }
  return [await waylogWriter(bench, url, flights), ...peers];
}

/** Small writes per second of Waylog and its peers, by `callers` concurrent callers, spread over `flights`. */
export async function compareWriters(
  bench: Bench,
  callers: number,
  flights: readonly string[],
): Promise<Record<string, number[]>> {
  const writers = await everyWriter(bench, flights);
  return inTurn(
    bench.rounds,
    Object.fromEntries(writers.map((writer) => [writer.name, writing(bench, writer, callers, flights)])),
    bench.say,
  );
}

/** Measures one system, round after round, with continuous numbers, so that no frame is written twice. */
export function writing(
  { seconds }: Bench,
  writer: Writer,
  callers: number,
  flights: readonly string[],
): () => Promise<number> {
  let first = 0;
  return async () => {
    let most = 0;
    const perSecond = await rate(callers, seconds, (caller, n) => {
      most = Math.max(most, n);
      return writer.write(flights[caller % flights.length] as string, caller, first + n);
    });
    first += most + 1;
    return perSecond;
  };
}

/** The figures as rows: each system's own, and how many times faster Waylog is. */
export function ratesAndRatios(
  work: string,
  rates: Record<string, number[]>,
  atLeast: Record<string, number>,
): Figure[] {
  const ours = rates['Waylog'] ?? [];
  return [
    ...Object.entries(rates).map(([name, rounds]): Figure => ({
      name: `${work}: ${name}`,
      unit: '/s',
      rounds,
    })),
    ...Object.entries(rates)
      .filter(([name]) => name !== 'Waylog')
      .map(([name, rounds]): Figure => ({
        name: `${work}: Waylog over ${name}`,
        unit: 'x',
        rounds: ratios(ours, rounds),
        ...(atLeast[name] !== undefined && { target: { atLeast: atLeast[name] } }),
      })),
  ];
}

export const medianOf = (rates: Record<string, number[]>, name: string): number => median(rates[name] ?? []);
