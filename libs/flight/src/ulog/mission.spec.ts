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
