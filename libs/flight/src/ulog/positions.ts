import { reproject, type LatLon } from './geo.js';
import type { Rows } from './rows.js';
import { MAX_GAP_SECONDS, trustedRows, withoutSpikes } from './tidy.js';
import { GPS_TOPICS, POSITION_TOPICS } from './topics.js';

/** Where the aircraft was. */
export interface Position {
  /** Microseconds since boot. */
  readonly time: number;
  /** Degrees, WGS84. */
  readonly lat: number;
  readonly lon: number;
  /** Metres above mean sea level. */
  readonly altitude: number;
  /** Standard deviation of the horizontal error in metres; NaN where the log does not say. */
  readonly eph: number;
}

/** The positions of one instance of one topic, and what became of its rows. */
export interface PositionSource {
  readonly topic: string;
  readonly instance: number;
  /** The fields that latitude, longitude and altitude came from. */
  readonly fields: readonly string[];
  readonly rows: number;
  readonly positions: readonly Position[];
  /** How many rows were left out, by reason. */
  readonly skipped: Readonly<Record<string, number>>;
}

/** Reads one row, or says why it is no position. */
type ReadPosition = (row: number) => Omit<Position, 'time'> | string;

const MIN_FIX = 3; // 3D; a 2D fix has no altitude
const MIN_ALTITUDE = -1_000;
const MAX_ALTITUDE = 100_000;

/** The positions that a topic gives; none, with the reasons, where it gives none. */
export function positionsOf(rows: Rows): PositionSource {
  const { fields, read } = readerOf(rows);
  const skipped: Record<string, number> = {};
  const skip = (why: string, count = 1) => {
    if (count > 0) skipped[why] = (skipped[why] ?? 0) + count;
  };
  const trusted = fields.length > 0 ? trustedRows(rows.times) : [];
  if (fields.length > 0) skip('time out of order', rows.length - trusted.length);
  else skip('without the fields of a position', rows.length);
  const found: Position[] = [];
  for (const row of trusted) {
    const position = read(row);
    const problem = typeof position === 'string' ? position : impossible(position);
    if (problem !== undefined) skip(problem);
    else if (typeof position !== 'string') found.push({ time: rows.timeAt(row), ...position });
  }
  const positions = withoutSpikes(found);
  skip('jumps further than an aircraft can fly', found.length - positions.length);
  return { topic: rows.topic, instance: rows.instance, fields, rows: rows.length, positions, skipped };
}

function impossible({ lat, lon, altitude }: Omit<Position, 'time'>): string | undefined {
  if (!(Math.abs(lat) <= 90 && Math.abs(lon) <= 180))
    return 'latitude or longitude is not a number or out of range';
  if (isNowhere({ lat, lon })) return 'latitude and longitude are 0';
  if (!(altitude >= MIN_ALTITUDE && altitude <= MAX_ALTITUDE))
    return 'altitude is not a number or out of range';
  return undefined;
}

/** 0 N 0 E is what an unset position looks like, and no log was made within a metre of it. */
const isNowhere = ({ lat, lon }: LatLon) => Math.abs(lat) < 1e-5 && Math.abs(lon) < 1e-5;

function readerOf(rows: Rows): { fields: readonly string[]; read: ReadPosition } {
  if (rows.topic === 'vehicle_local_position') return localReader(rows);
  if (GPS_TOPICS.includes(rows.topic)) return gpsReader(rows);
  return globalReader(rows);
}

/** vehicle_global_position: the estimate, in degrees and metres AMSL. */
function globalReader(rows: Rows): { fields: readonly string[]; read: ReadPosition } {
  return {
    fields: present(rows, ['lat', 'lon', 'alt']),
    read: (row) =>
      rows.at('lat_lon_valid', row) === 0 || rows.at('alt_valid', row) === 0
        ? 'the estimator says that it is not valid'
        : {
            lat: rows.at('lat', row),
            lon: rows.at('lon', row),
            altitude: rows.at('alt', row),
            eph: rows.at('eph', row),
          },
  };
}

const GPS_FIELDS = [
  ['latitude_deg', 'longitude_deg', 'altitude_msl_m'],
  ['latitude', 'longitude', 'altitude_msl'],
  ['lat', 'lon', 'alt'],
] as const;

/** The GPS topics: scaled integers in older logs, degrees and metres in newer ones; the type of the field tells. */
function gpsReader(rows: Rows): { fields: readonly string[]; read: ReadPosition } {
  const names = GPS_FIELDS.find((fields) => fields.every((field) => rows.has(field)));
  if (!names) return { fields: [], read: () => '' };
  const [lat, lon, alt] = names;
  // Divided, not multiplied by 1e-7: that gives the number nearest to the decimal one.
  const degrees = (field: string) => (rows.typeOf(field) === 'int32_t' ? 1e7 : 1);
  const metres = rows.typeOf(alt) === 'int32_t' ? 1e3 : 1;
  return {
    fields: names,
    read: (row) =>
      // NaN, where the log has no fix type, counts as a fix.
      rows.at('fix_type', row) < MIN_FIX
        ? 'without a 3D fix'
        : {
            lat: rows.at(lat, row) / degrees(lat),
            lon: rows.at(lon, row) / degrees(lon),
            altitude: rows.at(alt, row) / metres,
            eph: rows.at('eph', row),
          },
  };
}

/** vehicle_local_position: metres north, east and down from a reference that stands in the same row. */
function localReader(rows: Rows): { fields: readonly string[]; read: ReadPosition } {
  const fields = present(rows, ['x', 'y', 'z', 'ref_lat', 'ref_lon', 'ref_alt']);
  return {
    fields,
    read: (row) => {
      if (rows.at('xy_valid', row) === 0 || rows.at('z_valid', row) === 0)
        return 'the estimator says that it is not valid';
      if (rows.at('xy_global', row) === 0) return 'without a global reference (xy_global is false)';
      if (rows.at('z_global', row) === 0) return 'without a reference altitude (z_global is false)';
      const reference = { lat: rows.at('ref_lat', row), lon: rows.at('ref_lon', row) };
      if (reference.lat === 0 && reference.lon === 0)
        return 'without a global reference (ref_lat and ref_lon are 0)';
      return {
        ...reproject(reference, rows.at('x', row), rows.at('y', row)),
        altitude: rows.at('ref_alt', row) - rows.at('z', row),
        eph: rows.at('eph', row),
      };
    },
  };
}

const present = (rows: Rows, fields: readonly string[]) =>
  fields.every((field) => rows.has(field)) ? fields : [];

/**
 * The source to use: the first by preference (estimate, then GPS, then local position; lower instances first), unless
 * another one covers more than twice its time, as where the estimator found its position late. Undefined where none has
 * a position.
 */
export function bestPositions(sources: readonly PositionSource[]): PositionSource | undefined {
  const usable = sources
    .filter(({ positions }) => positions.length > 0)
    .sort((a, b) => preference(a) - preference(b));
  const coverage = new Map(usable.map((source) => [source, coveredSeconds(source.positions)]));
  const most = Math.max(0, ...coverage.values());
  return usable.find((source) => (coverage.get(source) ?? 0) * 2 >= most);
}

const preference = ({ topic, instance }: PositionSource) =>
  (POSITION_TOPICS as readonly string[]).indexOf(topic) * 1_000 + instance;

function coveredSeconds(positions: readonly Position[]): number {
  let covered = 0;
  for (const [i, { time }] of positions.entries()) {
    const seconds = (time - (positions[i - 1]?.time ?? time)) / 1e6;
    if (seconds <= MAX_GAP_SECONDS) covered += seconds;
  }
  return covered;
}

/** How sure a frame is when the log does not say how accurate its position is. */
export const UNKNOWN_CONFIDENCE = 0.5;

/**
 * The confidence of a position, from its horizontal standard deviation in metres: 1 / (1 + eph / 5). It falls steadily
 * from 1 at 0 m over 0.83 at 1 m and 0.5 at 5 m to 0.09 at 50 m. An eph that is missing, NaN or not positive: 0.5.
 */
export const confidenceOf = (eph: number): number => (eph > 0 ? 1 / (1 + eph / 5) : UNKNOWN_CONFIDENCE);
