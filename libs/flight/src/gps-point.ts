import { Latitude, Longitude } from './fields.js';

/** A position on the ground, WGS84. */
export class GpsPoint {
  /** Degrees north. */
  @Latitude() readonly lat!: number;
  /** Degrees east. */
  @Longitude() readonly lon!: number;
}
