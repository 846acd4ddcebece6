import type { ContextPart } from '#lib/waylog';
import type { Timestamp } from '#lib/platform';
import { Projection, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { ofFlight } from '../columns.js';

/** The days on which a flight has had frames or headings; `selectRecorded` explains their use. */
export const flightDaysTable: TableDefinition = {
  source: 'libs/flight/src/days/flight-days.projection.ts',
  schema: 'flight',
  name: 'flight_days',
  columns: { flight_id: 'text', day: 'timestamptz' },
  key: ['flight_id', 'day'],
  owner: ofFlight,
};

const dayOf = (timestamp: Timestamp): Timestamp => `${timestamp.slice(0, 10)}T00:00:00.000Z`;

/** A day stays when its last frame moves to another one: bounds may be wider than necessary. */
export const flightDays = new Projection<FlightEvents>('flight_days', 1, flightDaysTable)
  .on('FrameResultSaved', (event) =>
    upsert({ flight_id: flightIdOf(event), day: dayOf(event.data.timestamp) }),
  )
  .on('HeadingSaved', (event) => upsert({ flight_id: flightIdOf(event), day: dayOf(event.data.timestamp) }))
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));

export const flightDaysPart: ContextPart = { projections: [flightDays] };
