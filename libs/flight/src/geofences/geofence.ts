import { IsId, Nested, Optional, Relation } from '#lib/platform';
import type { GeofenceData } from '../events.js';
import { GpsPoint } from '../gps-point.js';

/**
 * A rectangle between two meridians and two parallels. One that begins east of where it ends goes across the antimeridian
 * (from 179 to -179 degrees it is 2 degrees wide), and is at most half the way round: what is wider has its corners exchanged.
 */
export class GeofenceFields {
  @Nested(() => GpsPoint) readonly northWest!: GpsPoint;
  @Relation<GeofenceFields>(
    'southEastOfNorthWest',
    'must not be north of northWest; west of it only across the antimeridian, with at most 180 degrees between them: are the corners exchanged?',
    ({ northWest, southEast }) => isRectangle(northWest, southEast),
  )
  @Nested(() => GpsPoint)
  readonly southEast!: GpsPoint;
}

function isRectangle(northWest?: Partial<GpsPoint>, southEast?: Partial<GpsPoint>): boolean {
  const [north = NaN, west = NaN] = [northWest?.lat, northWest?.lon];
  const [south = NaN, east = NaN] = [southEast?.lat, southEast?.lon];
  // What is no number is refused by itself: no comparison with NaN holds.
  const isAcross = west > east;
  return !(south > north || (isAcross && east + 360 - west > 180));
}

export class Geofence extends GeofenceFields {
  @IsId() readonly id!: string;
}

/** Gets an id when it brings none. */
export class NewGeofence extends GeofenceFields {
  @Optional() @IsId() readonly id?: string | null | undefined;
}

export const geofenceOf = ({ northWest, southEast }: GeofenceFields, id: string): GeofenceData => ({
  id,
  northWest: { lat: northWest.lat, lon: northWest.lon },
  southEast: { lat: southEast.lat, lon: southEast.lon },
});
