import { bestPositions, confidenceOf, positionsOf } from './positions.js';
import { rowsOf } from './testing/ulog-writer.js';

const DEGREES = { lat: 'double', lon: 'double', alt: 'float', eph: 'float' };
const track = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({
    timestamp: from + i * 200_000,
    lat: 63 + i * 1e-5,
    lon: 10,
    alt: 60,
    eph: 1,
  }));

describe('positions', () => {
  it('reads scaled integers as degrees and metres', () => {
    const { positions, fields } = positionsOf(
      rowsOf(
        'vehicle_gps_position',
        { lat: 'int32_t', lon: 'int32_t', alt: 'int32_t', fix_type: 'uint8_t', eph: 'float' },
        [{ timestamp: 1, lat: 634_170_622, lon: -104_082_151, alt: 66_814, fix_type: 3, eph: 3 }],
      ),
    );
    expect(fields).toEqual(['lat', 'lon', 'alt']);
    expect(positions[0]!.lat).toBeCloseTo(63.4170622, 9);
    expect(positions[0]!.lon).toBeCloseTo(-10.4082151, 9);
    expect(positions[0]).toMatchObject({ time: 1, altitude: 66.814, eph: 3 });
  });

  it.each([
    ['sensor_gps', 'latitude_deg', 'longitude_deg', 'altitude_msl_m'],
    ['vehicle_gnss', 'latitude', 'longitude', 'altitude_msl'],
    ['vehicle_gps_position', 'lat', 'lon', 'alt'],
  ])('reads the degrees of %s.%s as they are', (topic, lat, lon, alt) => {
    const rows = rowsOf(topic, { [lat]: 'double', [lon]: 'double', [alt]: 'double' }, [
      { timestamp: 1, [lat]: 63.4, [lon]: 10.4, [alt]: 66.8 },
    ]);
    expect(positionsOf(rows).positions).toEqual([
      { time: 1, lat: 63.4, lon: 10.4, altitude: 66.8, eph: NaN },
    ]);
  });

  it('leaves out GPS rows without a 3D fix and says how many', () => {
    const { positions, skipped } = positionsOf(
      rowsOf('sensor_gps', { lat: 'int32_t', lon: 'int32_t', alt: 'int32_t', fix_type: 'uint8_t' }, [
        { timestamp: 1, lat: 1, lon: 1, alt: 1, fix_type: 0 },
        { timestamp: 2, lat: 634_000_000, lon: 104_000_000, alt: 66_000, fix_type: 2 },
        { timestamp: 3, lat: 634_000_000, lon: 104_000_000, alt: 66_000, fix_type: 6 },
      ]),
    );
    expect(positions).toHaveLength(1);
    expect(skipped).toEqual({ 'without a 3D fix': 2 });
  });

  it('makes global positions of local ones and their reference', () => {
    const reference = {
      ref_lat: 63.4,
      ref_lon: 10.4,
      ref_alt: 60,
      xy_global: 1,
      z_global: 1,
      xy_valid: 1,
      z_valid: 1,
    };
    const types = Object.fromEntries(
      ['x', 'y', 'z', 'eph', ...Object.keys(reference)].map((field) => [field, 'float']),
    );
    const { positions } = positionsOf(
      rowsOf('vehicle_local_position', types, [
        { timestamp: 1, x: 0, y: 0, z: 0, eph: 1, ...reference },
        { timestamp: 200_000, x: 111.19, y: 0, z: -10, eph: 1, ...reference },
        { timestamp: 400_000, x: 111.19, y: 49.79, z: -20, eph: 1, ...reference },
      ]),
    );
    expect(positions[0]).toMatchObject({ lat: 63.4, lon: 10.4, altitude: 60 });
    // 111.19 m are a thousandth of a degree on PX4's sphere; of a circle of latitude at 63.4 N it is 49.79 m.
    expect(positions[1]!.lat).toBeCloseTo(63.401, 6);
    expect(positions[2]!.lon).toBeCloseTo(10.401, 5);
    expect(positions.map(({ altitude }) => altitude)).toEqual([60, 70, 80]);
  });

  it('says why a local position without a reference is none', () => {
    const types = {
      x: 'float',
      y: 'float',
      z: 'float',
      ref_lat: 'double',
      ref_lon: 'double',
      ref_alt: 'float',
      xy_global: 'bool',
    };
    const rows = rowsOf('vehicle_local_position', types, [
      { timestamp: 1, x: 1, y: 1, z: 1, ref_lat: 0, ref_lon: 0, ref_alt: 0, xy_global: 0 },
    ]);
    expect(positionsOf(rows)).toMatchObject({
      positions: [],
      skipped: { 'without a global reference (xy_global is false)': 1 },
    });
  });

  it('refuses numbers that are no place', () => {
    const rows = rowsOf('vehicle_global_position', DEGREES, [
      { timestamp: 1, lat: NaN, lon: 10, alt: 60 },
      { timestamp: 2, lat: 91, lon: 10, alt: 60 },
      { timestamp: 3, lat: 0, lon: 0, alt: 60 },
      { timestamp: 4, lat: 63, lon: 10, alt: Infinity },
    ]);
    expect(positionsOf(rows).positions).toEqual([]);
  });

  it('leaves out a single position that is far away, and keeps a jump that stays', () => {
    const spike = track(10).map((row, i) => (i === 4 ? { ...row, lat: -30 } : row));
    const spiked = positionsOf(rowsOf('vehicle_global_position', DEGREES, spike));
    expect(spiked.positions).toHaveLength(9);
    expect(spiked.skipped).toEqual({ 'jumps further than an aircraft can fly': 1 });
    const reset = track(10).map((row, i) => (i >= 5 ? { ...row, lat: row.lat + 1 } : row));
    expect(positionsOf(rowsOf('vehicle_global_position', DEGREES, reset)).positions).toHaveLength(10);
  });

  it('leaves out times that cannot be, wherever they stand', () => {
    for (const [at, time] of [
      [0, 2 ** 60],
      [4, 2 ** 60],
      [9, 2 ** 60],
      [9, 40_000_000],
      [4, 0],
    ] as const) {
      const rows = track(10, 1_000_000).map((row, i) => (i === at ? { ...row, timestamp: time } : row));
      const { positions, skipped } = positionsOf(rowsOf('vehicle_global_position', DEGREES, rows));
      expect(positions).toHaveLength(9);
      expect(skipped).toEqual({ 'time out of order': 1 });
    }
  });

  it('prefers the estimate to GPS, unless GPS covers more than twice its time', () => {
    const estimate = (count: number) => positionsOf(rowsOf('vehicle_global_position', DEGREES, track(count)));
    const gps = positionsOf(rowsOf('vehicle_gps_position', DEGREES, track(20)));
    expect(bestPositions([gps, estimate(15)])?.topic).toBe('vehicle_global_position');
    expect(bestPositions([gps, estimate(5)])?.topic).toBe('vehicle_gps_position');
    expect(bestPositions([])).toBeUndefined();
  });

  it('is the less sure the less accurate', () => {
    const known = [0.1, 0.5, 1, 5, 50, 5_000].map((eph) => confidenceOf(eph));
    expect(known).toEqual([...known].sort((a, b) => b - a));
    expect(confidenceOf(5)).toBe(0.5);
    expect(known.every((confidence) => confidence > 0 && confidence <= 1)).toBe(true);
    expect([NaN, 0, -1].map((eph) => confidenceOf(eph))).toEqual([0.5, 0.5, 0.5]);
  });
});
