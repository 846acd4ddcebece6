import { Projection, removeWhere, upsert, type FoldedEvent, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightDetails, type FlightEvents } from '../events.js';
import { latitude, longitude } from '../columns.js';

export const flightsTable: TableDefinition = {
  source: 'libs/flight/src/flight/flights.projection.ts',
  schema: 'flight',
  name: 'flights',
  columns: {
    id: 'text',
    name: 'text',
    description: 'text',
    start_lat: 'double precision',
    start_lon: 'double precision',
    altitude: 'double precision',
    camera_params: 'jsonb',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
  },
  key: ['id'],
  checks: { start_lat: latitude('start_lat'), start_lon: longitude('start_lon') },
  indexes: {
    flights_created_at: ['created_at', 'id'],
    flights_name: ['name text_pattern_ops'],
  },
  erasable: ['name', 'description', 'camera_params'],
};

const row = (event: FoldedEvent<FlightDetails>) =>
  upsert({
    id: flightIdOf(event),
    name: event.data.name,
    description: event.data.description,
    start_lat: event.data.startGps.lat,
    start_lon: event.data.startGps.lon,
    altitude: event.data.altitude,
    camera_params: event.data.cameraParams,
    created_at: event.data.createdAt,
    updated_at: event.data.updatedAt,
  });

export const flights = new Projection<FlightEvents>('flights', 1, flightsTable)
  .on('FlightCreated', row)
  .on('FlightUpdated', row)
  .on('FlightErased', (event) => (event.data.details ? row({ ...event, data: event.data.details }) : []))
  .on('FlightDeleted', (event) => removeWhere({ id: flightIdOf(event) }));
