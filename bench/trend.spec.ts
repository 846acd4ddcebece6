import { seededRandom } from '#lib/platform';
import { growthOf, lastShare, slopeOf } from './trend.js';

const points = (value: (at: number) => number) =>
  Array.from({ length: 100 }, (_, i) => ({ at: i * 5, value: value(i * 5) }));

describe('the trend of a measurement', () => {
  it('is the slope of steady growth, whatever the first value', () => {
    expect(slopeOf(points((at) => 300 + at / 10))).toBeCloseTo(0.1);
    expect(growthOf(points((at) => 300 - at / 10))).toBeCloseTo(-49.5);
  });

  it('is zero if nothing grows, or nothing was measured', () => {
    expect(growthOf(points(() => 7))).toBe(0);
    expect(growthOf([])).toBe(0);
    expect(growthOf([{ at: 1, value: 5 }])).toBe(0);
  });

  it('shows through a sawtooth', () => {
    const random = seededRandom(3);
    const saw = (at: number) => (at % 35) + random() * 5;
    expect(Math.abs(growthOf(points(saw)))).toBeLessThan(10);
    expect(growthOf(points((at) => saw(at) + at / 10))).toBeGreaterThan(40);
  });

  it('is computed for the end of a run', () => {
    expect(
      lastShare(
        points((at) => at),
        0.5,
      ).map(({ at }) => at),
    ).toEqual(Array.from({ length: 50 }, (_, i) => 250 + i * 5));
    expect(lastShare([], 0.5)).toEqual([]);
  });
});
