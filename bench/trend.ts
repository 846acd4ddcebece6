/** A value at a time, in seconds. */
export interface Point {
  readonly at: number;
  readonly value: number;
}

/** The slope of the best-fitting line, in units per second (least squares); 0 for fewer than two points. */
export function slopeOf(points: readonly Point[]): number {
  const meanAt = mean(points.map(({ at }) => at));
  const meanValue = mean(points.map(({ value }) => value));
  let above = 0;
  let below = 0;
  for (const { at, value } of points) {
    above += (at - meanAt) * (value - meanValue);
    below += (at - meanAt) ** 2;
  }
  return below === 0 ? 0 : above / below;
}

/** How much the best-fitting line rises from the first point to the last. */
export function growthOf(points: readonly Point[]): number {
  const first = points[0];
  const last = points.at(-1);
  return first && last ? slopeOf(points) * (last.at - first.at) : 0;
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);

/** The last `share` of some points, by time. */
export function lastShare(points: readonly Point[], share: number): Point[] {
  const first = points[0];
  const last = points.at(-1);
  if (!first || !last) return [];
  return points.filter(({ at }) => at >= last.at - (last.at - first.at) * share);
}
