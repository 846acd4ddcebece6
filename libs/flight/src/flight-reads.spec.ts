import type { EventStore } from '#lib/event-store';
import type { CheckpointWatch, LiveRows, Omissions, RowSource } from '#lib/projections';
import type pg from 'pg';
import { ListFlights, ListFlightsHandler } from './flight/flights.queries.js';
import { FlightReads } from './flight-reads.js';
import {
  GetProcessingHistory,
  GetProcessingHistoryHandler,
} from './processing-state/flight-state.queries.js';

/** Tables in which a flight appears, with its waypoint, after so many looks. */
function tablesAfter(looks: number): RowSource {
  let looked = 0;
  const isThere = () => ++looked > looks;
  return {
    select: () => Promise.resolve(isThere() ? [{ id: 'w' }] : []),
    selectTogether: () => Promise.resolve([isThere() ? [{ id: 'w' }] : []]),
  };
}

describe('looks back', () => {
  it('take turns, and beyond those that may wait they are refused at once', async () => {
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
    const reads = new FlightReads(store, {} as CheckpointWatch, {} as LiveRows, () => Promise.resolve(none));
    const look = () => reads.ofFlight('f', { asOf: '2026-05-01T12:00:00Z' }, () => Promise.resolve('found'));
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

describe('lists', () => {
  it('take turns, and beyond those that may wait they are refused at once', async () => {
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
  new FlightReads({} as EventStore, {} as CheckpointWatch, tables as LiveRows, () => {
    throw new Error('No read here looks back.');
  });
const waypoints = (source: RowSource) => source.selectTogether([]).then(([rows]) => rows);

describe('a read of a flight', () => {
  it('that comes into the tables between two looks is not answered with half of it', async () => {
    await expect(readsOf(tablesAfter(0)).ofFlight('f', {}, waypoints)).resolves.toEqual([{ id: 'w' }]);
    await expect(readsOf(tablesAfter(1)).ofFlight('f', {}, waypoints)).resolves.toEqual([{ id: 'w' }]);
  });

  it('that is not there is refused', () =>
    expect(readsOf(tablesAfter(2)).ofFlight('f', {}, waypoints)).rejects.toMatchObject({
      code: 'flight.not-found',
    }));
});
