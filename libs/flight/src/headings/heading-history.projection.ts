import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { headingRange, ofFlight } from '../columns.js';

export const headingHistoryTable: TableDefinition = {
  source: 'libs/flight/src/headings/heading-history.projection.ts',
  schema: 'flight',
  name: 'heading_history',
  columns: {
    flight_id: 'text',
    frame_id: 'integer',
    heading: 'double precision',
    timestamp: 'timestamptz',
  },
  key: ['flight_id', 'frame_id', 'timestamp'],
  owner: ofFlight,
  checks: { frame_id: 'frame_id >= 0', heading: headingRange },
  indexes: { heading_history_in_time: ['flight_id', '"timestamp" desc', 'frame_id desc'] },
  timeColumn: 'timestamp',
  identity: ['flight_id', 'frame_id'],
};

/** One row per frame, as in frame_results (docs/decisions/0003). */
export const headingHistory = new Projection<FlightEvents>('heading_history', 1, headingHistoryTable)
  .on('HeadingSaved', (event) => {
    const { frameId, heading, timestamp, supersedes } = event.data;
    const flightId = flightIdOf(event);
    const saved = upsert({ flight_id: flightId, frame_id: frameId, heading, timestamp });
    return supersedes
      ? [remove({ flight_id: flightId, frame_id: frameId, timestamp: supersedes }), saved]
      : saved;
  })
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
