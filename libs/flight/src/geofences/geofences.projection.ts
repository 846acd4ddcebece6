import {
  Projection,
  remove,
  removeWhere,
  upsert,
  type FoldedEvent,
  type TableDefinition,
} from '#lib/projections';
import { flightIdOf, type FlightEvents, type GeofenceData } from '../events.js';
import { latitude, longitude, ofFlight } from '../columns.js';

export const geofencesTable: TableDefinition = {
  source: 'libs/flight/src/geofences/geofences.projection.ts',
  schema: 'flight',
  name: 'geofences',
  columns: {
    flight_id: 'text',
    id: 'text',
    nw_lat: 'double precision',
    nw_lon: 'double precision',
    se_lat: 'double precision',
    se_lon: 'double precision',
  },
  key: ['flight_id', 'id'],
  owner: ofFlight,
  checks: {
    nw_lat: latitude('nw_lat'),
    nw_lon: longitude('nw_lon'),
    se_lat: latitude('se_lat'),
    se_lon: longitude('se_lon'),
  },
};

const row = (event: FoldedEvent<GeofenceData>) => {
  const { id, northWest, southEast } = event.data;
  return upsert({
    flight_id: flightIdOf(event),
    id,
    nw_lat: northWest.lat,
    nw_lon: northWest.lon,
    se_lat: southEast.lat,
    se_lon: southEast.lon,
  });
};

export const geofences = new Projection<FlightEvents>('geofences', 1, geofencesTable)
  .on('GeofenceAdded', row)
  .on('GeofenceUpdated', row)
  .on('GeofenceRemoved', (event) => remove({ flight_id: flightIdOf(event), id: event.data.id }))
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
