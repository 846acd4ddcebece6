import { compass, courseBetween, fromRadians, metresBetween } from './geo.js';
import type { Position } from './positions.js';
import type { Rows } from './rows.js';
import { trustedRows } from './tidy.js';

/** Where the nose pointed. */
export interface Heading {
  /** Microseconds since boot. */
  readonly time: number;
  /** Clockwise from north, 0 <= h < 360. */
  readonly degrees: number;
}

export interface HeadingSource {
  readonly topic: string;
  readonly instance: number;
  /** What the heading was made of, in words. */
  readonly how: string;
  readonly rows: number;
  readonly headings: readonly Heading[];
}

interface Way {
  readonly topic: RegExp;
  readonly fields: readonly string[];
  readonly how: string;
  /** Degrees, or NaN. */
  readonly read: (rows: Rows, row: number) => number;
}

/** By preference. Yaw is an angle from north to the nose in NED, clockwise seen from above, in radians. */
const WAYS: readonly Way[] = [
  {
    topic: /^vehicle_attitude$/,
    fields: ['q[0]', 'q[1]', 'q[2]', 'q[3]'],
    how: 'yaw of the quaternion q',
    read: (rows, row) =>
      yawOf(rows.at('q[0]', row), rows.at('q[1]', row), rows.at('q[2]', row), rows.at('q[3]', row)),
  },
  yawField(/^vehicle_attitude$/, 'yaw'),
  yawField(/^vehicle_local_position$/, 'heading'),
  yawField(/^vehicle_local_position$/, 'yaw'),
  yawField(/^vehicle_global_position$/, 'yaw'),
  yawField(/gps|gnss/, 'heading'), // of two antennas; NaN elsewhere
];

function yawField(topic: RegExp, field: string): Way {
  return { topic, fields: [field], how: field, read: (rows, row) => fromRadians(rows.at(field, row)) };
}

/** The yaw in degrees of a rotation from NED to the body, w x y z. NaN where the quaternion is none. */
export function yawOf(w: number, x: number, y: number, z: number): number {
  const norm = Math.hypot(w, x, y, z);
  // A quaternion of a rotation has length 1; zeros are what PX4 logs before the estimator has started.
  if (!(norm > 0.9 && norm < 1.1)) return NaN;
  return fromRadians(Math.atan2(2 * (w * z + x * y), norm * norm - 2 * (y * y + z * z)));
}

/**
 * The best headings of the log: attitude, else the estimator's heading, else two GPS antennas; undefined where the log
 * has none. Of several instances the one with the most headings counts.
 */
export function bestHeadings(all: readonly Rows[]): HeadingSource | undefined {
  for (const way of WAYS) {
    const sources = all
      .filter((rows) => way.topic.test(rows.topic) && way.fields.every((field) => rows.has(field)))
      .map((rows) => headingsOf(rows, way));
    const best = sources.reduce<HeadingSource | undefined>(
      (most, source) => (source.headings.length > (most?.headings.length ?? 0) ? source : most),
      undefined,
    );
    if (best) return best;
  }
  return undefined;
}

function headingsOf(rows: Rows, way: Way): HeadingSource {
  const headings = trustedRows(rows.times).flatMap((row): Heading[] => {
    const degrees = way.read(rows, row);
    // A yaw is within one turn; anything else is damage.
    return Math.abs(degrees) <= 360 ? [{ time: rows.timeAt(row), degrees: compass(degrees) }] : [];
  });
  return { topic: rows.topic, instance: rows.instance, how: way.how, rows: rows.length, headings };
}

/** A course over less than this is noise of the position, not movement. */
const MIN_MOVEMENT = 1;

/**
 * The direction of movement as a heading, for logs without any: from each position to the next one that is at least a
 * metre away. An aircraft in wind points elsewhere, and one that hovers has no course: the last one stands.
 */
export function courseHeadings(positions: readonly Position[]): HeadingSource {
  const headings: Heading[] = [];
  let from = positions[0];
  for (const to of positions) {
    if (from && metresBetween(from, to) >= MIN_MOVEMENT) {
      headings.push({ time: (from.time + to.time) / 2, degrees: courseBetween(from, to) });
      from = to;
    }
  }
  return { topic: 'positions', instance: 0, how: 'course over ground', rows: positions.length, headings };
}
