import { IsId, Nested, Optional } from '#lib/platform';
import type { GeofenceData } from '../events.js';
import { GpsPoint } from '../gps-point.js';

/** A rectangle between two meridians and two parallels. */
export class GeofenceFields {
  @Nested(() => GpsPoint) readonly northWest!: GpsPoint;
  @Nested(() => GpsPoint) readonly southEast!: GpsPoint;
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
