import { metresBetween, type LatLon } from './geo.js';

/** Positions and headings further apart than this are not joined: no frame is made up in between. */
export const MAX_GAP_SECONDS = 2;

const SECOND = 1e6;
/** No log is longer: a time further from the middle of its topic than this is damage. */
const MAX_LOG = 7 * 86_400 * SECOND;
/** A single message this far from all others of its topic is damage, or a value left over from before the log. */
const ALONE = 10 * SECOND;
/** No aircraft is faster, m/s; and no estimate jumps further without moving, m. */
const MAX_SPEED = 1_000;
const MAX_JUMP = 100;

/**
 * The rows whose times can be believed, in order of time: the longest run of rows that go forward, without those that
 * stand alone far away. One flipped bit in a time would otherwise make a flight of years, or hide all that follows.
 */
export function trustedRows(times: Float64Array): number[] {
  const middle = median(times);
  const near = [...times.keys()].filter((row) => Math.abs((times[row] ?? NaN) - middle) <= MAX_LOG);
  const forward = longestForward(near, times);
  const together = forward.filter((row, i) => !isAlone(row, forward[i - 1], forward[i + 1], times));
  return together.length > 0 ? together : forward;
}

function isAlone(
  row: number,
  before: number | undefined,
  after: number | undefined,
  times: Float64Array,
): boolean {
  const time = times[row] ?? NaN;
  const since = before === undefined ? Infinity : time - (times[before] ?? NaN);
  const until = after === undefined ? Infinity : (times[after] ?? NaN) - time;
  return since > ALONE && until > ALONE;
}

/** The longest part of the rows whose times increase (a row with the time of another one is a repeat). O(n log n). */
function longestForward(rows: readonly number[], times: Float64Array): number[] {
  if (rows.every((row, i) => i === 0 || (times[row] ?? NaN) > (times[rows[i - 1] ?? 0] ?? NaN)))
    return [...rows];
  const ends: number[] = []; // ends[k]: the row with the earliest time that ends a run of k + 1 rows
  const before = new Int32Array(times.length).fill(-1);
  for (const row of rows) {
    const time = times[row] ?? NaN;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if ((times[ends[mid] ?? 0] ?? NaN) < time) low = mid + 1;
      else high = mid;
    }
    before[row] = low > 0 ? (ends[low - 1] ?? -1) : -1;
    ends[low] = row;
  }
  const run: number[] = [];
  for (let row = ends.at(-1) ?? -1; row >= 0; row = before[row] ?? -1) run.push(row);
  return run.reverse();
}

/** Leaves out single positions that no aircraft could have reached and come back from in time. */
export function withoutSpikes<P extends LatLon & { readonly time: number; readonly altitude: number }>(
  positions: readonly P[],
): P[] {
  const kept: P[] = [];
  for (const [i, position] of positions.entries()) {
    const before = kept.at(-1);
    const after = positions[i + 1];
    const fromBefore = !before || reachable(before, position);
    const toAfter = !after || reachable(position, after);
    const spike =
      (!fromBefore && !toAfter) ||
      (!before && !toAfter && i + 2 < positions.length) ||
      (!after && !fromBefore);
    if (!spike) kept.push(position);
  }
  return kept;
}

function reachable(
  a: LatLon & { readonly time: number; readonly altitude: number },
  b: LatLon & { readonly time: number; readonly altitude: number },
): boolean {
  const metres = Math.hypot(metresBetween(a, b), b.altitude - a.altitude);
  return metres <= MAX_JUMP + (MAX_SPEED * (b.time - a.time)) / SECOND;
}

/** The middle value, NaN of none. */
export function median(values: Float64Array | readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[sorted.length >> 1] ?? NaN;
}
