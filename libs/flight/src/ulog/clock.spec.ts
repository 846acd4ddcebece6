import { clockOf } from './clock.js';
import { rowsOf } from './testing/ulog-writer.js';

const SECOND = 1e6;
const at = (time: string) => Date.parse(time) * 1e3;
const UTC = at('2021-04-21T06:30:58Z');
const types = { time_utc_usec: 'uint64_t', fix_type: 'uint8_t', timestamp_time_relative: 'int32_t' };
const modified = new Date('2024-02-03T04:05:06Z');
const START = 20 * SECOND;
const span = { first: START, last: START + 9 * SECOND };

interface Said {
  readonly rows?: ReturnType<typeof rowsOf>[];
  readonly console?: string;
  readonly path?: string;
  readonly modifiedAt?: Date;
  readonly startTime?: number;
  readonly info?: Readonly<Record<string, number | string>>;
}

const dated = ({ info = {}, ...said }: Said) =>
  clockOf(
    {
      rows: [],
      console: '',
      path: '/tmp/copy.ulg',
      modifiedAt: modified,
      startTime: START,
      info: new Map(Object.entries(info)),
      ...said,
    },
    span,
  );
/** When the log began, and by what. */
const begun = (said: Said) => {
  const { clock } = dated(said);
  return [clock.from, new Date((START + clock.offset) / 1e3).toISOString()];
};
const opened = (name: string) => `INFO  [logger] Opened full log file: /fs/microsd/log/${name}.ulg\n`;
const gps = (utc: number, fix: number) =>
  rowsOf('sensor_gps', types, [{ timestamp: START, time_utc_usec: utc, fix_type: fix }]);

describe('the time of day of a log', () => {
  it('is that of the GPS messages with a fix', () => {
    const rows = rowsOf('vehicle_gps_position', types, [
      { timestamp: 21 * SECOND, time_utc_usec: 0, fix_type: 0 },
      { timestamp: 22 * SECOND, time_utc_usec: UTC + 77 * SECOND, fix_type: 1 },
      {
        timestamp: 23 * SECOND,
        time_utc_usec: UTC + 3 * SECOND - 500,
        fix_type: 3,
        timestamp_time_relative: -500,
      },
      { timestamp: 24 * SECOND, time_utc_usec: UTC + 4 * SECOND, fix_type: 3, timestamp_time_relative: 0 },
      { timestamp: 25 * SECOND, time_utc_usec: UTC + 2 ** 45, fix_type: 3, timestamp_time_relative: 0 },
    ]);
    expect(dated({ rows: [rows] })).toMatchObject({
      clock: { from: 'gps', offset: UTC - START },
      warnings: [],
    });
  });

  it('is that of the boot before that of a GPS without a fix, and that before a name', () => {
    const rows = [gps(UTC, 0)];
    const console = opened('2021-04-21/06_30_58');
    expect(begun({ rows, console, info: { boot_time_utc_us: UTC - START + SECOND } })).toEqual([
      'boot-time',
      '2021-04-21T06:30:59.000Z',
    ]);
    expect(begun({ rows, console })).toEqual(['gps', '2021-04-21T06:30:58.000Z']);
    expect(dated({ rows, console }).warnings).toEqual([expect.stringContaining('no fix')]);
  });

  it('is in the name that PX4 gave the log, less the time zone', () => {
    for (const [name, zone] of [
      ['2021-04-21/08_30_58', 7_200],
      ['2021-04-20/23_30_58', -25_200],
      ['2021-04-21/06_30_58', 0],
      // No zone is that far from UTC.
      ['2021-04-21/06_30_58', 1e9],
    ] as const) {
      const said = { console: opened(name), info: { time_ref_utc: zone } };
      expect(begun(said)).toEqual(['log-name', '2021-04-21T06:30:58.000Z']);
      expect(dated(said).warnings).toHaveLength(1);
    }
  });

  it('is in the name that the console says last: those before are of earlier logs of the same boot', () => {
    const first = opened('2021-04-21/05_00_00');
    const mission =
      'INFO  [logger] Opened mission log file: /fs/microsd/mission_log/2021-04-21/09_00_00.ulg\n';
    const begins = ['log-name', '2021-04-21T06:30:58.000Z'];
    expect(begun({ console: first + opened('2021-04-21/06_30_58') + mission })).toEqual(begins);
    expect(begun({ console: `${first}[logger] ./log/2021-04-21/06_30_58.ulg\nclosed logfile` })).toEqual(
      begins,
    );
    expect(begun({ console: opened('2021-04-21/07_00_00') + opened('2021-04-21/06_30_58') })).toEqual(begins);
    expect(begun({ console: opened('2021-04-21/06_30_58') + opened('2021-02-30/06_30_58') })).toEqual(begins);
  });

  it.each([
    ['adds the zone to it', UTC + 7_200 * SECOND],
    ['does not', UTC],
  ])('is that of the boot whether or not the firmware %s, as the name of the log shows', (_, boot) => {
    const info = { boot_time_utc_us: boot - START, time_ref_utc: 7_200 };
    const begins = ['boot-time', '2021-04-21T06:30:58.000Z'];
    expect(begun({ info, console: opened('2021-04-21/08_30_59') })).toEqual(begins);
    expect(begun({ info, path: '/media/log/2021-04-21/08_30_57.ulg' })).toEqual(begins);
    expect(dated({ info, console: opened('2021-04-21/08_30_59') }).warnings).toEqual([]);
  });

  it('is that of the boot less the zone that PX4 adds, with a warning, where nothing shows it', () => {
    const said = { info: { boot_time_utc_us: UTC - START - 3_600 * SECOND, time_ref_utc: -3_600 } };
    expect(begun(said)).toEqual(['boot-time', '2021-04-21T06:30:58.000Z']);
    expect(dated(said).warnings).toEqual([expect.stringContaining('time_ref_utc, -3600 s')]);
  });

  it('is in the path of the file where the log does not say it', () => {
    const begins = ['file-path', '2026-04-11T04:29:40.000Z'];
    expect(begun({ path: '/media/px4/log/2026-04-11/04_29_40.ulg' })).toEqual(begins);
    expect(begun({ path: '2026-04-11/04_29_40.ulg' })).toEqual(begins);
    expect(begun({ path: 'log/2026-04-11/00_29_40_replayed.ulg', info: { time_ref_utc: -14_400 } })).toEqual(
      begins,
    );
    expect(dated({ path: 'log/2026-04-11/04_29_40.ulg' }).warnings).toEqual([
      expect.stringContaining('the path of the file'),
    ]);
    expect(begun({ path: 'log/2026-04-11/04_29_40.ulg', console: opened('2021-04-21/06_30_58') })[0]).toBe(
      'log-name',
    );
  });

  it.each([
    'log/2026-13-11/04_29_40.ulg',
    'log/2026-02-30/04_29_40.ulg',
    'log/2026-04-11/24_29_40.ulg',
    'log/2026-04-11/04_29_61.ulg',
    'log/1970-01-01/00_00_20.ulg',
    'log/2199-01-01/00_00_20.ulg',
    'log/2026-04-11/04_29_40.ulg.txt',
    'log/sess012/log003.ulg',
  ])('is not in the path %s', (path) => {
    expect(begun({ path })[0]).toBe('file-time');
  });

  it('is the time of the file as a last resort, and says so', () => {
    const { clock, warnings } = dated({});
    expect(clock).toMatchObject({ from: 'file-time', offset: modified.getTime() * 1e3 - span.last });
    expect(warnings).toEqual([expect.stringContaining('2024-02-03T04:05:06.000Z')]);
    expect(begun({ modifiedAt: new Date('1969-12-31T00:00:09Z') })).toEqual([
      'file-time',
      '1969-12-31T00:00:00.000Z',
    ]);
  });

  it.each([
    ['no time at all', 0],
    ['before PX4', at('1999-01-01T00:00:00Z')],
    ['in a distant future', at('2300-01-01T00:00:00Z')],
    ['out of all bounds', 2 ** 63],
  ])('is not a boot time that is %s; that is said', (_, boot) => {
    const said = { info: { boot_time_utc_us: boot }, console: opened('2021-04-21/06_30_58') };
    expect(begun(said)).toEqual(['log-name', '2021-04-21T06:30:58.000Z']);
    expect(dated(said).warnings).toContainEqual(expect.stringContaining('Not used: boot_time_utc_us'));
  });

  it('is not what a damaged beginning of the log makes of its name', () => {
    const said = { console: opened('2021-04-21/06_30_58'), startTime: 2 ** 60 };
    expect(dated(said).clock.from).toBe('file-time');
    expect(dated(said).warnings).toContainEqual(expect.stringContaining('Not used: the name'));
  });

  it('names sources that contradict the one that was used', () => {
    const { clock, warnings } = dated({
      rows: [gps(UTC, 3)],
      console: opened('2021-04-21/06_31_20'),
      path: 'log/2026-04-11/04_29_40.ulg',
    });
    expect(clock.from).toBe('gps');
    expect(warnings).toEqual([
      expect.stringMatching(
        /by the path .* at 2026-04-11T04:29:40.000Z, and by .* at 2021-04-21T06:30:58.000Z/,
      ),
    ]);
  });
});
