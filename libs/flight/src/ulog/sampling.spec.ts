import { bestHeadings, courseHeadings, yawOf } from './headings.js';
import { compass, courseBetween, longitudeBetween, metresBetween, reproject, turned } from './geo.js';
import { sample } from './sampling.js';
import { rowsOf } from './testing/ulog-writer.js';

const SECOND = 1e6;
const line = (times: readonly number[], eph = 1) =>
  times.map((s) => ({ time: s * SECOND, lat: 63 + s * 1e-5, lon: 10, altitude: 60 + s, eph }));
const facing = (...headings: [seconds: number, degrees: number][]) =>
  headings.map(([s, degrees]) => ({ time: s * SECOND, degrees }));
const range = (from: number, to: number, step: number) =>
  Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step);

describe('sampling', () => {
  it('samples at the rate, between the neighbours', () => {
    const { samples, gaps } = sample(line(range(0, 10, 1)), facing([0, 90]), 2);
    expect(samples.map(({ time }) => time / SECOND)).toEqual(range(0, 10, 0.5));
    expect(samples[1]).toMatchObject({ lat: 63.000005, altitude: 60.5, heading: 90 });
    expect(gaps).toEqual([]);
  });

  it('makes up nothing across a gap, and goes on behind it', () => {
    const { samples, gaps } = sample(line([0, 1, 2, 7.25, 8.25]), facing([0, 0]), 2);
    expect(samples.map(({ time }) => time / SECOND)).toEqual([0, 0.5, 1, 1.5, 2, 7.25, 7.75, 8.25]);
    expect(gaps).toEqual([{ from: 2 * SECOND, to: 7.25 * SECOND }]);
  });

  it('keeps its distance behind a gap when it samples rarely', () => {
    const { samples } = sample(line([0, 1, 4, 5, 8, 9, 12, 13, 14]), facing([0, 0]), 0.1);
    expect(samples.map(({ time }) => time / SECOND)).toEqual([0, 12]);
  });

  it('counts what it makes up between two positions, and nothing at positions that are gaps apart', () => {
    expect(sample(line(range(0, 10, 1)), facing([0, 0]), 4).madeUp).toBe(30);
    expect(sample(line(range(0, 10, 0.2)), facing([0, 0]), 2).madeUp).toBe(0);
    expect(sample(line(range(0, 100, 2.5)), facing([0, 0]), 2).madeUp).toBe(0);
  });

  it('turns the short way around', () => {
    expect(turned(359, 1, 0.5)).toBe(0);
    expect(turned(1, 359, 0.25)).toBe(0.5);
    expect(turned(10, 350, 0.75)).toBe(355);
    const { samples } = sample(line(range(0, 1, 0.5)), facing([0, 359], [1, 1]), 4);
    expect(samples.map(({ heading }) => heading)).toEqual([359, 359.5, 0, 0.5, 1]);
  });

  it('crosses the antimeridian the short way around', () => {
    expect(longitudeBetween(179.9, -179.9, 0.25)).toBeCloseTo(179.95, 9);
    expect(longitudeBetween(-179.9, 179.9, 0.75)).toBeCloseTo(179.95, 9);
  });

  it('keeps headings below 360 also where rounding would reach it', () => {
    const { samples } = sample(line([0, 1]), facing([0, 359.9999], [1, 359.9999]), 1);
    expect(samples.map(({ heading }) => heading)).toEqual([0, 0]);
    expect(compass(-1e-15)).toBe(0);
  });

  it('carries the nearest heading where there is none, and counts that', () => {
    const { samples, headingsHeld } = sample(line(range(0, 10, 1)), facing([0, 90], [10, 180]), 1);
    expect(samples.map(({ heading }) => heading)).toEqual([90, 90, 90, 90, 90, 90, 180, 180, 180, 180, 180]);
    expect(headingsHeld).toBe(5);
  });

  it('gives one sample for one position', () => {
    expect(sample(line([3]), [], 2)).toMatchObject({
      samples: [{ time: 3 * SECOND, heading: 0 }],
      headingsHeld: 1,
    });
  });

  it('takes the confidence of the nearer position', () => {
    const { samples, accuracyUnknown } = sample([...line([0], 5), ...line([1], NaN)], facing([0, 0]), 4);
    expect(samples.map(({ confidence }) => confidence)).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(accuracyUnknown).toBe(3);
  });
});

describe('headings', () => {
  const quaternion = (yaw: number) => ({
    'q[0]': Math.cos(yaw / 2),
    'q[1]': 0,
    'q[2]': 0,
    'q[3]': Math.sin(yaw / 2),
  });
  const Q = { 'q[0]': 'float', 'q[1]': 'float', 'q[2]': 'float', 'q[3]': 'float' };

  it('are the yaw of the attitude', () => {
    expect(yawOf(1, 0, 0, 0)).toBe(0);
    expect(yawOf(Math.SQRT1_2, 0, 0, Math.SQRT1_2)).toBeCloseTo(90, 9);
    expect(yawOf(0, 0, 0, 0)).toBeNaN();
    const attitude = rowsOf('vehicle_attitude', Q, [
      { timestamp: 1, ...quaternion(-Math.PI / 2) },
      { timestamp: 2, 'q[0]': NaN },
    ]);
    const local = rowsOf('vehicle_local_position', { heading: 'float' }, [{ timestamp: 1, heading: 1 }]);
    const source = bestHeadings([local, attitude]);
    expect(source).toMatchObject({ topic: 'vehicle_attitude', how: 'yaw of the quaternion q' });
    expect(source?.headings.map(({ degrees }) => Math.round(degrees))).toEqual([270]);
  });

  it.each([
    ['vehicle_attitude', 'yaw'],
    ['vehicle_local_position', 'heading'],
    ['vehicle_local_position', 'yaw'],
    ['vehicle_global_position', 'yaw'],
    ['sensor_gps', 'heading'],
  ])('come from %s.%s where there is nothing better', (topic, field) => {
    const rows = rowsOf(topic, { [field]: 'float' }, [{ timestamp: 1, [field]: -Math.PI / 2 }]);
    expect(bestHeadings([rows])).toMatchObject({ topic, headings: [{ time: 1, degrees: 270 }] });
  });

  it('are the course over ground where the log has none', () => {
    expect(bestHeadings([])).toBeUndefined();
    const east = [0, 1, 2].map((s) => ({
      time: s * SECOND,
      lat: 63,
      lon: 10 + s * 1e-3,
      altitude: 0,
      eph: 1,
    }));
    expect(courseHeadings(east).headings.map(({ degrees }) => Math.round(degrees))).toEqual([90, 90]);
    expect(courseHeadings(line([0, 0.01])).headings).toEqual([]);
  });
});

describe('geometry', () => {
  it('reprojects as PX4 does', () => {
    const reference = { lat: 63.4, lon: 10.4 };
    expect(reproject(reference, 0, 0)).toEqual(reference);
    const there = reproject(reference, 3_000, -4_000);
    expect(metresBetween(reference, there)).toBeCloseTo(5_000, -1);
    expect(courseBetween(reference, there)).toBeCloseTo(360 - 53.13, 0);
  });
});
