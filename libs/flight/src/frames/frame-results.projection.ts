import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { headingRange, latitude, longitude, ofFlight } from '../columns.js';

export const frameResultsTable: TableDefinition = {
  source: 'libs/flight/src/frames/frame-results.projection.ts',
  schema: 'flight',
  name: 'frame_results',
  columns: {
    flight_id: 'text',
    frame_id: 'integer',
    gps_lat: 'double precision',
    gps_lon: 'double precision',
    altitude: 'double precision',
    heading: 'double precision',
    confidence: 'double precision',
    refined: 'boolean',
    timestamp: 'timestamptz',
    updated_at: 'timestamptz',
  },
  key: ['flight_id', 'frame_id', 'timestamp'],
  owner: ofFlight,
  checks: {
    frame_id: 'frame_id >= 0',
    gps_lat: latitude('gps_lat'),
    gps_lon: longitude('gps_lon'),
    heading: headingRange,
    confidence: 'confidence between 0 and 1',
  },
  timeColumn: 'timestamp',
  identity: ['flight_id', 'frame_id'],
};

/** One row per frame: a result with another timestamp removes the old row (docs/decisions/0003). */
export const frameResults = new Projection<FlightEvents>('frame_results', 1, frameResultsTable)
  .on('FrameResultSaved', (event) => {
    const { frameId, gpsCenter, altitude, heading, confidence, refined, timestamp, updatedAt, supersedes } =
      event.data;
    // One literal: a row that began as a copy of its key took V8 far longer, a quarter of the time of an `asOf` read.
    const flightId = flightIdOf(event);
    const saved = upsert({
      flight_id: flightId,
      frame_id: frameId,
      gps_lat: gpsCenter.lat,
      gps_lon: gpsCenter.lon,
      altitude,
      heading,
      confidence,
      refined,
      timestamp,
      updated_at: updatedAt,
    });
    return supersedes
      ? [remove({ flight_id: flightId, frame_id: frameId, timestamp: supersedes }), saved]
      : saved;
  })
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
