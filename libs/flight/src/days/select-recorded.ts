import { LRUCache } from 'lru-cache';
import type { Timestamp } from '#lib/platform';
import type { Row, RowSource, TableRead } from '#lib/projections';
import { flightDaysTable } from './flight-days.projection.js';

/**
 * The times between which a flight has rows in the hypertables, from the beginning of one day to the end of another.
 */
interface Days {
  readonly first: Timestamp;
  readonly last: Timestamp;
}

/** For an unknown flight: an empty range. */
const NONE: Days = { first: '2200-01-01T00:00:00.000Z', last: '1970-01-01T00:00:00.000Z' };

/** The bounds of each flight at the last read: nearly always right, and checked with every read. */
export type KnownDays = LRUCache<string, Days>;

export const knownDays = (): KnownDays => new LRUCache({ max: 10_000 });

/**
 * Reads a flight's rows of a hypertable, between the days on which it has any: without such bounds a read looks into
 * every TimescaleDB chunk. The days are read in the same snapshot as the rows, so no row is missed: if they differ from
 * the bounds, the read is repeated.
 */
export async function selectRecorded(
  source: RowSource,
  known: KnownDays,
  flightId: string,
  read: Omit<TableRead, 'where'>,
): Promise<Row[]> {
  const where = { flight_id: flightId };
  for (let days = known.get(flightId) ?? NONE; ;) {
    const times = { column: 'timestamp', from: days.first, to: endOf(days.last) };
    const [rows = [], found = []] = await source.selectTogether([
      { ...read, where, ranges: [...(read.ranges ?? []), times] },
      { table: flightDaysTable, where, orderBy: ['day'] },
    ]);
    const [first, last] = [found[0], found.at(-1)].map((row) => row?.['day'] as Timestamp | undefined);
    if (first === undefined || last === undefined || (days.first <= first && last <= days.last)) return rows;
    days = { first, last };
    known.set(flightId, days);
  }
}

const endOf = (day: Timestamp): Timestamp => `${day.slice(0, 10)}T23:59:59.999999Z`;
