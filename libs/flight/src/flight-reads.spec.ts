import type { EventStore } from '#lib/event-store';
import type { CheckpointWatch, LiveRows, RowSource } from '#lib/projections';
import { FlightReads } from './flight-reads.js';

/** Tables in which a flight appears, with its waypoint, after so many looks. */
function tablesAfter(looks: number): RowSource {
  let looked = 0;
  const isThere = () => ++looked > looks;
  return {
    select: () => Promise.resolve(isThere() ? [{ id: 'w' }] : []),
    selectTogether: () => Promise.resolve([isThere() ? [{ id: 'w' }] : []]),
  };
}

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
