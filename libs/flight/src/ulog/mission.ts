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
/** Setpoints nearer than this to the one before are the same point, sent again. */
const SAME_PLACE = 1;

/**
 * The mission as far as it was flown: navigator_mission_item (PX4 1.13 and later), else the current position setpoints.
 * Undefined where neither has two different points: a single one is a place to hold, not a route. `homeAltitude`
 * (metres AMSL) is for items with an altitude above home.
 */
export function missionOf(all: readonly Rows[], homeAltitude: number): Mission | undefined {
  for (const [topic, read] of READERS) {
    const points = all
      .filter((rows) => rows.topic === topic)
      .flatMap((rows) =>
        Array.from({ length: rows.length }, (_, row) => read(rows, row, homeAltitude) ?? []).flat(),
      );
    const distinct = points.filter((point, i) => {
      const before = points[i - 1];
      return (
        isPlace(point) &&
        !(before && metresBetween(before, point) < SAME_PLACE && before.altitude === point.altitude)
      );
    });
    if (distinct.length > 1) return { topic, points: distinct };
  }
  return undefined;
}

type ReadPoint = (rows: Rows, row: number, homeAltitude: number) => MissionPoint | undefined;

const missionItem: ReadPoint = (rows, row, homeAltitude) => {
  if (!WITH_POSITION.has(rows.at('nav_cmd', row))) return undefined;
  const above = rows.at('altitude_is_relative', row) === 1 ? homeAltitude : 0;
  return pointOf(
    rows.timeAt(row),
    rows.at('latitude', row),
    rows.at('longitude', row),
    rows.at('altitude', row) + above,
  );
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
  return { time, lat, lon, altitude: Math.abs(altitude) < 100_000 ? altitude : null };
}

const isPlace = ({ lat, lon }: MissionPoint) =>
  Math.abs(lat) <= 90 && Math.abs(lon) <= 180 && !(Math.abs(lat) < 1e-5 && Math.abs(lon) < 1e-5);
