import { Example, IsId, IsKnownId, Nested, Optional, Relation } from '#lib/platform';
import type { GeofenceData } from '../events.js';
import { GpsPoint } from '../gps-point.js';

/**
 * A rectangle between two meridians and two parallels, possibly without width or height. One that begins east of its
 * end crosses the antimeridian (from 179 to -179 degrees it is 2 degrees wide). It spans at most half the globe, or all
 * of it: anything in between has its corners swapped, as from -179 to 179 degrees.
 */
export class GeofenceFields {
  @Nested(() => GpsPoint) readonly northWest!: GpsPoint;
  @Relation<GeofenceFields>(
    'southEastOfNorthWest',
    'must not be north of northWest, and at most 180 degrees east of it, also across the antimeridian (or all 360, from -180 to 180): are the corners exchanged?',
    ({ northWest, southEast }) => isRectangle(northWest, southEast),
  )
  @Nested(() => GpsPoint)
  readonly southEast!: GpsPoint;
}

function isRectangle(northWest?: Partial<GpsPoint>, southEast?: Partial<GpsPoint>): boolean {
  const [north = NaN, west = NaN] = [northWest?.lat, northWest?.lon];
  const [south = NaN, east = NaN] = [southEast?.lat, southEast?.lon];
  // NaN is refused elsewhere: no comparison with it is true.
  const width = west > east ? east + 360 - west : east - west;
  return !(south > north || (width > 180 && width !== 360));
}

export class Geofence extends GeofenceFields {
  @IsKnownId() readonly id!: string;
}

/** Gets an id if it has none. */
@Example<NewGeofence>({ id: 'g1', northWest: { lat: 63.5, lon: 10.3 }, southEast: { lat: 63.4, lon: 10.5 } })
export class NewGeofence extends GeofenceFields {
  @Optional() @IsId() readonly id?: string | null | undefined;
}

export const geofenceOf = ({ northWest, southEast }: GeofenceFields, id: string): GeofenceData => ({
  id,
  northWest: { lat: northWest.lat, lon: northWest.lon },
  southEast: { lat: southEast.lat, lon: southEast.lon },
});
