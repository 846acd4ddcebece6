import { metresBetween } from './geo.js';
import type { Rows } from './rows.js';

/** A point that the aircraft was told to fly to. */
export interface MissionPoint {
  /** When it became the current one, microseconds since boot. */
  readonly time: number;
  readonly lat: number;
  readonly lon: number;
  /** Metres above mean sea level; null where the mission does not say. */
  readonly altitude: number | null;
}

export interface Mission {
  readonly topic: string;
  readonly points: readonly MissionPoint[];
}

/** The commands of mission items that are places to fly to (PX4's MissionBlock::item_contains_position). */
const WITH_POSITION = new Set([16, 17, 19, 21, 22, 31, 84, 85, 35]);
/** Setpoint types that are places: position, loiter, take-off and landing. */
const SETPOINTS = new Set([0, 2, 3, 4]);
const LANDING = 4;
const MAX_ALTITUDE = 100_000;
/** Points nearer than this to the one before, in metres, are the same point, sent again. */
const SAME_PLACE = 1;

/**
 * The mission as far as it was flown: navigator_mission_item (PX4 1.13 and later), else the current position setpoints.
 * Undefined where neither has two different points: a single one is a place to hold, not a route. An altitude above home
 * counts from the home in force when the item became the current one; `groundAltitude` (metres AMSL) stands in for it in a
 * log without a home.
 */
export function missionOf(all: readonly Rows[], groundAltitude: number): Mission | undefined {
  const homeAltitudeAt = homeAltitudes(all, groundAltitude);
  for (const [topic, read] of READERS) {
    const points = all
      .filter((rows) => rows.topic === topic)
      .flatMap((rows) =>
        Array.from({ length: rows.length }, (_, row) => read(rows, row, homeAltitudeAt) ?? []).flat(),
      )
      .filter(isPlace)
      .sort((a, b) => a.time - b.time);
    const distinct: MissionPoint[] = [];
    for (const point of points) {
      const before = distinct.at(-1);
      const isSame =
        before &&
        metresApart(before, point) < SAME_PLACE &&
        (before.altitude === null) === (point.altitude === null);
      if (!isSame) distinct.push(point);
    }
    const [first] = distinct;
    if (first && distinct.some((point) => metresApart(first, point) >= SAME_PLACE))
      return { topic, points: distinct };
  }
  return undefined;
}

/** In space, or along the ground where one of them has no altitude. */
function metresApart(a: MissionPoint, b: MissionPoint): number {
  const climb = a.altitude === null || b.altitude === null ? 0 : b.altitude - a.altitude;
  return Math.hypot(metresBetween(a, b), climb);
}

/** Answers the altitude of the home in force at a time: the last one set until then; before any was set, the first. */
function homeAltitudes(all: readonly Rows[], without: number): (time: number) => number {
  const homes = all
    .filter(({ topic }) => topic === 'home_position')
    .flatMap((rows) =>
      Array.from({ length: rows.length }, (_, row) => ({
        time: rows.timeAt(row),
        altitude: rows.at('valid_alt', row) === 0 ? NaN : rows.at('alt', row),
      })),
    )
    .filter(({ altitude }) => Math.abs(altitude) < MAX_ALTITUDE)
    .sort((a, b) => a.time - b.time);
  return (time) => (homes.findLast((home) => home.time <= time) ?? homes[0])?.altitude ?? without;
}

type ReadPoint = (
  rows: Rows,
  row: number,
  homeAltitudeAt: (time: number) => number,
) => MissionPoint | undefined;

const missionItem: ReadPoint = (rows, row, homeAltitudeAt) => {
  if (!WITH_POSITION.has(rows.at('nav_cmd', row))) return undefined;
  const time = rows.timeAt(row);
  const above = rows.at('altitude_is_relative', row) === 1 ? homeAltitudeAt(time) : 0;
  return pointOf(time, rows.at('latitude', row), rows.at('longitude', row), rows.at('altitude', row) + above);
};

const setpoint: ReadPoint = (rows, row) => {
  const type = rows.at('type', row);
  if (rows.at('valid', row) !== 1 || !SETPOINTS.has(type)) return undefined;
  // "altitude must be ignored, descend until landing", says the message.
  return pointOf(
    rows.timeAt(row),
    rows.at('lat', row),
    rows.at('lon', row),
    type === LANDING ? NaN : rows.at('alt', row),
  );
};

const READERS: readonly (readonly [string, ReadPoint])[] = [
  ['navigator_mission_item', missionItem],
  ['position_setpoint_triplet', setpoint],
];

function pointOf(time: number, lat: number, lon: number, altitude: number): MissionPoint {
  return { time, lat, lon, altitude: Math.abs(altitude) < MAX_ALTITUDE ? altitude : null };
}

const isPlace = ({ lat, lon }: MissionPoint) =>
  Math.abs(lat) <= 90 && Math.abs(lon) <= 180 && !(Math.abs(lat) < 1e-5 && Math.abs(lon) < 1e-5);
