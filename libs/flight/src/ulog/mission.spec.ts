import { missionOf } from './mission.js';
import { rowsOf } from './testing/ulog-writer.js';

const ITEM = {
  latitude: 'float',
  longitude: 'float',
  altitude: 'float',
  altitude_is_relative: 'bool',
  nav_cmd: 'uint16_t',
};
const SETPOINT = { lat: 'double', lon: 'double', alt: 'float', valid: 'bool', type: 'uint8_t' };

describe('the mission of a log', () => {
  it('is its items that are places, once each, with altitudes above sea level', () => {
    const items = rowsOf('navigator_mission_item', ITEM, [
      { timestamp: 1, nav_cmd: 22, latitude: 63, longitude: 10, altitude: 20, altitude_is_relative: 1 },
      { timestamp: 2, nav_cmd: 22, latitude: 63, longitude: 10, altitude: 20, altitude_is_relative: 1 },
      { timestamp: 3, nav_cmd: 178, latitude: 5, longitude: 5, altitude: 0, altitude_is_relative: 1 },
      { timestamp: 4, nav_cmd: 16, latitude: 63.1, longitude: 10, altitude: 90, altitude_is_relative: 0 },
      { timestamp: 5, nav_cmd: 16, latitude: NaN, longitude: 10, altitude: 90, altitude_is_relative: 0 },
    ]);
    expect(missionOf([items], 60)).toEqual({
      topic: 'navigator_mission_item',
      points: [
        { time: 1, lat: 63, lon: 10, altitude: 80 },
        { time: 4, lat: 63.1, lon: 10, altitude: 90 },
      ],
    });
  });

  it('is the current setpoints where there are no items; a landing has no altitude', () => {
    const setpoints = rowsOf('position_setpoint_triplet', SETPOINT, [
      { timestamp: 1, lat: NaN, lon: NaN, alt: 0, valid: 0, type: 5 },
      { timestamp: 2, lat: 63, lon: 10, alt: 90, valid: 1, type: 0 },
      { timestamp: 3, lat: 63.1, lon: 10, alt: 90, valid: 1, type: 4 },
    ]);
    expect(missionOf([setpoints], 60)?.points).toEqual([
      { time: 2, lat: 63, lon: 10, altitude: 90 },
      { time: 3, lat: 63.1, lon: 10, altitude: null },
    ]);
  });

  it('is none where there is a single point to hold', () => {
    const hold = rowsOf('position_setpoint_triplet', SETPOINT, [
      { timestamp: 2, lat: 63, lon: 10, alt: 90, valid: 1, type: 2 },
    ]);
    expect(missionOf([hold], 60)).toBeUndefined();
    expect(missionOf([], 60)).toBeUndefined();
  });
});

describe('the altitudes of a mission above home', () => {
  const HOME = { alt: 'float', valid_alt: 'bool' };
  const home = (timestamp: number, alt: number, changes = {}) => ({
    timestamp,
    alt,
    valid_alt: 1,
    ...changes,
  });
  const items = rowsOf(
    'navigator_mission_item',
    ITEM,
    [2, 4, 6].map((timestamp) => ({
      timestamp,
      nav_cmd: 16,
      latitude: 63 + timestamp / 1_000,
      longitude: 10,
      altitude: 50,
      altitude_is_relative: 1,
    })),
  );
  const altitudes = (...homes: ReturnType<typeof home>[]) =>
    missionOf([items, rowsOf('home_position', HOME, homes)], 7)?.points.map(({ altitude }) => altitude);

  it('count from the home in force when the item became current', () => {
    expect(altitudes(home(1, 100), home(11, 130))).toEqual([150, 150, 150]);
    expect(altitudes(home(1, 100), home(3, 110), home(6, 120))).toEqual([150, 160, 170]);
    expect(altitudes(home(6, 120), home(1, 100), home(3, 110))).toEqual([150, 160, 170]);
  });

  it('count from the first home before any was set, and from the ground where none ever was', () => {
    expect(altitudes(home(5, 100), home(9, 130))).toEqual([150, 150, 150]);
    expect(altitudes()).toEqual([57, 57, 57]);
  });

  it('do not count from a home whose altitude is not set', () => {
    expect(altitudes(home(1, 0, { valid_alt: 0 }), home(3, NaN), home(5, 100))).toEqual([150, 150, 150]);
  });
});

describe('setpoints', () => {
  const setpoints = (...points: readonly (readonly [lat: number, alt: number, type?: number])[]) =>
    missionOf(
      [
        rowsOf(
          'position_setpoint_triplet',
          SETPOINT,
          points.map(([lat, alt, type = 0], i) => ({ timestamp: i, lat, lon: 10, alt, valid: 1, type })),
        ),
      ],
      60,
    )?.points.map(({ lat, altitude }) => [lat, altitude]);

  it('that differ by less than a metre are one point to hold', () => {
    expect(setpoints([63, 90], [63, 90.004], [63, 89.997])).toBeUndefined();
    expect(setpoints([63, 90], [63.000005, 90.5])).toBeUndefined();
    expect(setpoints([63, 90], [NaN, 90], [63, 90])).toBeUndefined();
  });

  it('at which the aircraft holds and then lands are no mission', () => {
    expect(setpoints([63, 90, 2], [63, 90, 4])).toBeUndefined();
  });

  it('that creep away are counted from the last point that stands', () => {
    expect(setpoints([63, 90], [63, 90.6], [63, 91.2], [63, 91.5])).toEqual([
      [63, 90],
      [63, 91.2],
    ]);
  });

  it('above each other are a mission, and so is the way to another place', () => {
    expect(setpoints([63, 90], [63, 90.003], [63, 120])).toEqual([
      [63, 90],
      [63, 120],
    ]);
    expect(setpoints([63, 90], [63.1, 90], [63.1, 90, 4])).toEqual([
      [63, 90],
      [63.1, 90],
      [63.1, null],
    ]);
  });
});
