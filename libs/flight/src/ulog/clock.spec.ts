import { clockOf } from './clock.js';
import { rowsOf } from './testing/ulog-writer.js';

const UTC = Date.UTC(2021, 3, 21, 6, 30, 58) * 1e3;
const types = { time_utc_usec: 'uint64_t', fix_type: 'uint8_t', timestamp_time_relative: 'int32_t' };
const log = (rows: ReturnType<typeof rowsOf>[] = [], console = '', zone = 0) => ({
  rows,
  console,
  info: new Map([['time_ref_utc', zone]]),
  startTime: 20e6,
});
const modified = new Date('2024-02-03T04:05:06Z');

describe('the time of day of a log', () => {
  it('is that of the GPS messages with a fix', () => {
    const rows = rowsOf('vehicle_gps_position', types, [
      { timestamp: 1e6, time_utc_usec: 0, fix_type: 0 },
      { timestamp: 2e6, time_utc_usec: UTC + 77e6, fix_type: 1 },
      { timestamp: 3e6, time_utc_usec: UTC + 3e6 - 500, fix_type: 3, timestamp_time_relative: -500 },
      { timestamp: 4e6, time_utc_usec: UTC + 4e6, fix_type: 3, timestamp_time_relative: 0 },
      { timestamp: 5e6, time_utc_usec: UTC + 2 ** 45, fix_type: 3, timestamp_time_relative: 0 },
    ]);
    const clock = clockOf(log([rows]), 9e6, modified);
    expect(clock).toMatchObject({ from: 'gps', offset: UTC });
    expect(clock.warning).toBeUndefined();
  });

  it('is that of a GPS without a fix before anything else, with a warning', () => {
    const rows = rowsOf('sensor_gps', types, [{ timestamp: 2e6, time_utc_usec: UTC + 2e6, fix_type: 0 }]);
    expect(clockOf(log([rows]), 9e6, modified)).toMatchObject({
      from: 'gps',
      offset: UTC,
      warning: expect.any(String) as string,
    });
  });

  it('is in the name that PX4 gave the log, less the time zone', () => {
    const console = 'INFO  [logger] Opened full log file: /fs/microsd/log/2021-04-21/08_30_58.ulg';
    const clock = clockOf(log([], console, 7_200), 9e6, modified);
    expect(clock).toMatchObject({
      from: 'log-name',
      offset: UTC - 20e6,
      warning: expect.any(String) as string,
    });
  });

  it('is the time of the file as a last resort, and says so', () => {
    const clock = clockOf(log(), 9e6, modified);
    expect(clock).toMatchObject({ from: 'file-time', offset: modified.getTime() * 1e3 - 9e6 });
    expect(clock.warning).toContain('2024-02-03T04:05:06.000Z');
  });
});
