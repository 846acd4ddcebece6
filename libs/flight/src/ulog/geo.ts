/** The radius of PX4's sphere in metres (CONSTANTS_RADIUS_OF_EARTH in its geo library). */
const EARTH_RADIUS = 6_371_000;
const RADIANS = Math.PI / 180;

/** Degrees, WGS84. */
export interface LatLon {
  readonly lat: number;
  readonly lon: number;
}

/**
 * The position `north` and `east` metres from a reference: the inverse of the azimuthal equidistant projection by which
 * PX4 makes local positions (MapProjection::reproject), so that nothing is lost on the way back.
 */
export function reproject(reference: LatLon, north: number, east: number): LatLon {
  const x = north / EARTH_RADIUS;
  const y = east / EARTH_RADIUS;
  const c = Math.hypot(x, y);
  if (c === 0) return reference;
  const sin = Math.sin(reference.lat * RADIANS);
  const cos = Math.cos(reference.lat * RADIANS);
  const lat = Math.asin(Math.cos(c) * sin + (x * Math.sin(c) * cos) / c);
  const turn = Math.atan2(y * Math.sin(c), c * cos * Math.cos(c) - x * sin * Math.sin(c));
  return { lat: lat / RADIANS, lon: wrapped(reference.lon + turn / RADIANS) };
}

/** Metres between two positions along the ground, by an equirectangular approximation: good to 0.1 % over kilometres. */
export function metresBetween(a: LatLon, b: LatLon): number {
  const north = (b.lat - a.lat) * RADIANS;
  const east = wrapped(b.lon - a.lon) * RADIANS * Math.cos(((a.lat + b.lat) / 2) * RADIANS);
  return Math.hypot(north, east) * EARTH_RADIUS;
}

/** The direction from one position to another, degrees clockwise from north. */
export function courseBetween(a: LatLon, b: LatLon): number {
  const east = wrapped(b.lon - a.lon) * Math.cos(((a.lat + b.lat) / 2) * RADIANS);
  return compass(Math.atan2(east, b.lat - a.lat) / RADIANS);
}

/** A longitude, or a difference of longitudes, within -180 (included) to 180. */
export const wrapped = (degrees: number): number => ((((degrees + 180) % 360) + 360) % 360) - 180;

/** Any angle in degrees as a heading: 0 <= h < 360. */
export function compass(degrees: number): number {
  const heading = ((degrees % 360) + 360) % 360;
  return heading === 360 ? 0 : heading; // -1e-15 % 360 + 360 rounds up to 360.
}

export const fromRadians = (radians: number): number => radians / RADIANS;

/** Between two headings the short way around: 359 and 1 meet at 0. `part` is 0 at `a` and 1 at `b`. */
export const turned = (a: number, b: number, part: number): number => compass(a + wrapped(b - a) * part);

/** Between two longitudes the short way around, over the antimeridian where that is shorter. */
export const longitudeBetween = (a: number, b: number, part: number): number =>
  wrapped(a + wrapped(b - a) * part);

/** Rounds to so many decimals, and never to -0. */
export const rounded = (value: number, decimals: number): number => Number(value.toFixed(decimals)) + 0;
