import { Example, IsId, IsKnownId, IsTimestamp, Optional, parseTimestamp } from '#lib/platform';
import type { WaypointData } from '../events.js';
import { Altitude, Confidence, Flag, Latitude, Longitude } from '../fields.js';

/** A point of the route, and how sure its position is. */
export class WaypointFields {
  @Latitude() readonly lat!: number;
  @Longitude() readonly lon!: number;
  @Optional() @Altitude() readonly altitude?: number | null | undefined;
  @Confidence() readonly confidence!: number;
  @IsTimestamp() readonly timestamp!: string;
  /** True once a later estimate has improved the position; default false. */
  @Optional() @Flag() readonly refined?: boolean | null | undefined;
}

@Example<Waypoint>({
  id: 'w1',
  lat: 63.44,
  lon: 10.4,
  altitude: 120,
  confidence: 0.5,
  timestamp: '2026-05-01T12:00:00Z',
})
export class Waypoint extends WaypointFields {
  @IsKnownId() readonly id!: string;
}

/** Gets an id if it has none. */
@Example<NewWaypoint>({
  id: 'w1',
  lat: 63.44,
  lon: 10.4,
  altitude: 120,
  confidence: 0.5,
  timestamp: '2026-05-01T12:00:00Z',
})
export class NewWaypoint extends WaypointFields {
  @Optional() @IsId() readonly id?: string | null | undefined;
}

export const waypointOf = (waypoint: WaypointFields, id: string): WaypointData => ({
  id,
  lat: waypoint.lat,
  lon: waypoint.lon,
  altitude: waypoint.altitude ?? null,
  confidence: waypoint.confidence,
  timestamp: parseTimestamp(waypoint.timestamp) ?? waypoint.timestamp,
  refined: waypoint.refined ?? false,
});
