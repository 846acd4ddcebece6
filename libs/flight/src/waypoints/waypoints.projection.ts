import { Projection, removeWhere, upsert, type FoldedEvent, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents, type WaypointData } from '../events.js';
import { latitude, longitude, ofFlight } from '../columns.js';

export const waypointsTable: TableDefinition = {
  source: 'libs/flight/src/waypoints/waypoints.projection.ts',
  schema: 'flight',
  name: 'waypoints',
  columns: {
    flight_id: 'text',
    id: 'text',
    lat: 'double precision',
    lon: 'double precision',
    altitude: 'double precision',
    confidence: 'double precision',
    timestamp: 'timestamptz',
    refined: 'boolean',
  },
  key: ['flight_id', 'id'],
  owner: ofFlight,
  nullable: ['altitude'],
  checks: { lat: latitude('lat'), lon: longitude('lon'), confidence: 'confidence between 0 and 1' },
  indexes: { waypoints_in_time: ['flight_id', '"timestamp"', 'id'] },
  fillfactor: 80,
};

const row = (event: FoldedEvent<WaypointData>) => {
  const { id, lat, lon, altitude, confidence, timestamp, refined } = event.data;
  return upsert({ flight_id: flightIdOf(event), id, lat, lon, altitude, confidence, timestamp, refined });
};

export const waypoints = new Projection<FlightEvents>('waypoints', 1, waypointsTable)
  .on('WaypointAdded', row)
  .on('WaypointUpdated', row)
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
