import { v7 as uuid } from 'uuid';
import { InMemoryEventStore, type EventStore } from '#lib/event-store';
import type { CheckpointWatch, LiveRows, Omissions, RowSource } from '#lib/projections';
import type pg from 'pg';
import { ListFlights, ListFlightsHandler } from './flight/flights.api.js';
import { EventReads } from '#lib/waylog';
import { flightProjections } from './context.js';
import { streamOf } from './events.js';
import { flightNotFound } from './flight.js';
import { flightStream } from './flight-stream.js';
import { flightsTable } from './flight/flights.projection.js';
import { FlightReads } from './flight-reads.js';
import { GetProcessingHistory, GetProcessingHistoryHandler } from './processing-state/flight-state.api.js';
import { created } from './testing/given.js';

/** Tables in which a flight appears, with its waypoint, after this many reads. */
function tablesAfter(looks: number): RowSource {
  let looked = 0;
  const isThere = () => ++looked > looks;
  return {
    select: () => Promise.resolve(isThere() ? [{ id: 'w' }] : []),
    selectTogether: () => Promise.resolve([isThere() ? [{ id: 'w' }] : []]),
  };
}

const readsFrom = (store: EventStore, tables: LiveRows, omissions: () => Promise<Omissions>) =>
  new FlightReads({
    stream: flightStream,
    listedIn: flightsTable,
    notFound: flightNotFound,
    projections: flightProjections,
    events: new EventReads(store),
    watch: {} as CheckpointWatch,
    tables,
    omissions,
  });

describe('`asOf` reads', () => {
  it('take turns, and beyond those that can wait they are refused at once', async () => {
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    let folding = 0;
    let most = 0;
    const store = {
      readStream: async function* () {
        most = Math.max(most, ++folding);
        await gate;
        yield [];
        folding--;
      },
    } as unknown as EventStore;
    const none = { isDiscarded: () => false } as unknown as Omissions;
    const reads = readsFrom(store, {} as LiveRows, () => Promise.resolve(none));
    const look = () => reads.of('f', { asOf: '2026-05-01T12:00:00Z' }, () => Promise.resolve('found'));
    const taken = Array.from({ length: 64 }, look);
    await expect(look()).rejects.toMatchObject({
      code: 'reads.overloaded',
      kind: 'unavailable',
      data: { retryAfterSeconds: 1 },
    });
    open();
    expect(new Set(await Promise.all(taken))).toEqual(new Set(['found']));
    expect([most, folding]).toEqual([4, 0]);
    await expect(look()).resolves.toBe('found');
  });
});

describe('an `asOf` read', () => {
  const none = { isDiscarded: () => false } as unknown as Omissions;

  /** A flight of so many events with so many values each, and how large its pages were. */
  async function history(events: number, values: number) {
    const store = new InMemoryEventStore();
    const { data } = created;
    const cameraParams = { list: Array<number>(values).fill(1) };
    const event = (i: number) => ({
      id: uuid(),
      type: i === 0 ? 'FlightCreated' : 'FlightUpdated',
      schemaVersion: 1,
      data: { ...data, cameraParams },
      metadata: { commandId: 'c', command: 'C', correlationId: 'c', causationId: 'c', actor: 'a' },
    });
    await store.append([
      {
        streamId: streamOf('f'),
        expectedRevision: 'no-stream',
        events: Array.from({ length: events }, (_, i) => event(i)),
      },
    ]);
    const pages: number[] = [];
    const readStream = store.readStream.bind(store);
    store.readStream = async function* (...asked) {
      for await (const page of readStream(...asked)) {
        pages.push(page.length);
        yield page;
      }
    };
    const reads = readsFrom(store, {} as LiveRows, () => Promise.resolve(none));
    return { reads, pages };
  }

  it('reads pages by the size of their events, up to the last event', async () => {
    for (const asOf of ['999', '2199-01-01T00:00:00Z']) {
      const { reads, pages } = await history(1_000, 480);
      expect(await reads.of('f', { asOf }, () => Promise.resolve('found'))).toBe('found');
      expect(pages.reduce((sum, length) => sum + length, 0)).toBe(1_000);
      expect(Math.max(...pages)).toBeLessThan(50);
    }
    const { reads, pages } = await history(1_000, 1);
    await reads.of('f', { asOf: '999' }, () => Promise.resolve('found'));
    expect(pages.slice(0, 4)).toEqual([32, 64, 128, 256]);
  });

  it('lets other work run while it folds', async () => {
    const { reads } = await history(2_000, 1);
    let turns = 0;
    let next = setImmediate(function turn() {
      turns++;
      next = setImmediate(turn);
    });
    await reads.of('f', { asOf: '1999' }, () => Promise.resolve('found'));
    clearImmediate(next);
    expect(turns).toBeGreaterThanOrEqual(20);
  });
});

describe('lists', () => {
  it('take turns, and beyond those that can wait they are refused at once', async () => {
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    let reading = 0;
    let most = 0;
    const reads = readsOf({} as RowSource);
    const list = () =>
      reads.list(async () => {
        most = Math.max(most, ++reading);
        await gate;
        reading--;
        return 'listed';
      });
    const taken = Array.from({ length: 254 }, list);
    const overloaded = { code: 'reads.overloaded', kind: 'unavailable' };
    const pool = {} as pg.Pool;
    await expect(new ListFlightsHandler(reads, pool).execute(new ListFlights())).rejects.toMatchObject(
      overloaded,
    );
    await expect(
      new GetProcessingHistoryHandler(reads, pool).execute(new GetProcessingHistory()),
    ).rejects.toMatchObject(overloaded);
    open();
    expect(new Set(await Promise.all(taken))).toEqual(new Set(['listed']));
    expect([most, reading]).toEqual([4, 0]);
    await expect(list()).resolves.toBe('listed');
  });
});

const readsOf = (tables: RowSource) =>
  readsFrom({} as EventStore, tables as LiveRows, () => {
    throw new Error('No read here looks back.');
  });
const waypoints = (source: RowSource) => source.selectTogether([]).then(([rows]) => rows);

describe('a read of a flight', () => {
  it('is not answered with half of a flight that is folded into the tables in the middle of the read', async () => {
    await expect(readsOf(tablesAfter(0)).of('f', {}, waypoints)).resolves.toEqual([{ id: 'w' }]);
    await expect(readsOf(tablesAfter(1)).of('f', {}, waypoints)).resolves.toEqual([{ id: 'w' }]);
  });

  it('is refused if there is no such flight', () =>
    expect(readsOf(tablesAfter(2)).of('f', {}, waypoints)).rejects.toMatchObject({
      code: 'flight.not-found',
    }));
});
