import { copyFile, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WaylogError } from '#lib/platform';
import { flightIdOfFile } from './flight-id.js';
import { readLogFile } from './log-file.js';
import { readUlog, type ReadUlogOptions } from './read-ulog.js';
import { WANTED } from './topics.js';
import { reportLines } from './ulog-flight.js';
import { UlogWriter } from './testing/ulog-writer.js';

const SECOND = 1e6;
const UTC = Date.UTC(2026, 4, 1, 12) * 1e3;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waylog-ulog-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function fileOf(bytes: Buffer, name = 'flight.ulg'): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}
const read = async (log: UlogWriter | Buffer, options?: ReadUlogOptions) =>
  readUlog(await fileOf(Buffer.isBuffer(log) ? log : log.bytes()), options);

/** Small logs, each of which was once read wrongly. */
const logNamed = (name: string) => fileURLToPath(new URL(`testing/logs/${name}.ulg`, import.meta.url));

async function refusal(reading: Promise<unknown>): Promise<WaylogError> {
  const error = await reading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(WaylogError);
  return error as WaylogError;
}

const GLOBAL = 'double lat;double lon;float alt;float eph';
const ATTITUDE = 'float[4] q;uint8_t quat_reset_counter';
const GPS = 'uint64_t time_utc_usec;int32_t lat;int32_t lon;int32_t alt;uint8_t fix_type';

/** Ten seconds north at 5 Hz from 63 N 10 E, 100 m, facing east. */
function northward(seconds = 10): UlogWriter {
  const log = new UlogWriter()
    .info('sys_name', 'PX4')
    .info('ver_hw', 'PX4_SITL')
    .topic(1, 'vehicle_global_position', GLOBAL)
    .topic(2, 'vehicle_attitude', ATTITUDE)
    .topic(3, 'vehicle_gps_position', GPS)
    .topic(7, 'cpuload', 'float load');
  for (let i = 0; i <= seconds * 5; i++) {
    const time = 5 * SECOND + i * 200_000;
    log.data(1, time, 63 + i * 1e-5, 10, 100, 1);
    log.data(2, time + 1, Math.SQRT1_2, 0, 0, Math.SQRT1_2, 0);
    log.data(7, time + 2, 0.5);
    if (i % 5 === 0) log.data(3, time, UTC + time, 630_000_000, 100_000_000, 100_000, 3);
  }
  return log;
}

describe('reading a flight log', () => {
  it('gives frames, waypoints and times', async () => {
    const flight = await read(northward());
    expect(flight).toMatchObject({
      startedAt: '2026-05-01T12:00:05.000Z',
      durationSeconds: 10,
      start: { lat: 63, lon: 10, altitude: 100 },
      vehicle: { system: 'PX4', hardware: 'PX4_SITL' },
    });
    expect(flight.frames).toHaveLength(21);
    expect(flight.frames[3]).toEqual({
      frameId: 3,
      lat: 63.000075,
      lon: 10,
      altitude: 100,
      heading: 90,
      confidence: 0.8333,
      timestamp: '2026-05-01T12:00:06.500Z',
    });
    expect(flight.waypoints).toHaveLength(21);
    expect(flight.report).toMatchObject({
      positions: { topic: 'vehicle_global_position', used: 51 },
      headings: { topic: 'vehicle_attitude' },
      clock: { from: 'gps' },
      unused: [{ topic: 'vehicle_gps_position' }],
      damage: { places: 0, bytes: 0, cutOff: 0 },
      warnings: [],
    });
    expect(reportLines(flight).join('\n')).toContain(
      'positions: vehicle_global_position (lat, lon, alt), 51 of 51 rows',
    );
  });

  it('takes every n-th frame as a waypoint, and the last', async () => {
    const { waypoints } = await read(northward(), { waypointEvery: 8 });
    expect(waypoints.map(({ timestamp }) => timestamp.slice(17, 23))).toEqual([
      '05.000',
      '09.000',
      '13.000',
      '15.000',
    ]);
  });

  it('warns that frames above the rate of the log are interpolated', async () => {
    const { frames, report } = await read(northward(), { rate: 50 });
    expect(frames).toHaveLength(501);
    expect(report.warnings).toEqual([expect.stringContaining('5 positions per second')]);
  });

  it('warns of no interpolation where every frame is at a position, or nearly', async () => {
    const slow = await readUlog(logNamed('slow'));
    expect(slow.frames).toHaveLength(60);
    expect(slow.report.warnings.join('\n')).not.toContain('interpolated');
    // Bursts at 5 Hz with a minute in between: few positions over the whole time, enough where there are any.
    const bursts = new UlogWriter().topic(1, 'vehicle_global_position', GLOBAL);
    for (let i = 0; i < 100; i++)
      bursts.data(1, i * 200_000 + Math.floor(i / 25) * 60 * SECOND, 63, 10, 100, 1);
    expect((await read(bursts)).report.warnings.join('\n')).not.toContain('interpolated');
  });

  it('begins the second log of a boot when that one began', async () => {
    const { startedAt, report } = await readUlog(logNamed('two_logs_one_boot'));
    expect(startedAt).toBe('2025-07-30T06:49:36.049Z');
    expect(report.clock.from).toBe('log-name');
  });

  it('keeps the end of a long console output, which names this log', async () => {
    const log = new UlogWriter().topic(1, 'vehicle_global_position', GLOBAL);
    log.console('INFO  [logger] Opened full log file: ./log/2025-07-30/06_00_00.ulg\n');
    for (let i = 0; i < 200; i++) log.console(`${i} ${'.'.repeat(1_000)}\n`);
    log.console('INFO  [logger] Opened full log file: ./log/2025-07');
    log.console('-30/06_49_36.ulg\n').data(1, SECOND, 63, 10, 100, 1);
    expect((await read(log)).startedAt).toBe('2025-07-30T06:49:37.000Z');
  });

  it('takes the time of the boot, wherever it stands in the log', async () => {
    const { startedAt, report } = await readUlog(logNamed('boot_time_utc'));
    expect(startedAt).toBe('2025-09-08T01:02:38.985Z');
    expect(report.clock).toEqual({ from: 'boot-time', how: 'boot_time_utc_us of the log' });
    expect(report.warnings).toEqual([]);
    const late = new UlogWriter().topic(1, 'vehicle_global_position', GLOBAL).data(1, SECOND, 63, 10, 100, 1);
    expect((await read(late.number('uint64_t', 'boot_time_utc_us', UTC))).startedAt).toBe(
      '2026-05-01T12:00:01.000Z',
    );
  });

  it('takes the date of the path', async () => {
    await mkdir(join(folder, 'log', '2026-04-11'), { recursive: true });
    const path = join(folder, 'log', '2026-04-11', '04_29_40.ulg');
    await copyFile(logNamed('slow'), path);
    const { report } = await readUlog(path);
    expect(report.clock.from).toBe('file-path');
    expect(report.sources.time).toContain('2026-04-11/04_29_40.ulg');
  });

  it('counts altitudes above home from the home in force', async () => {
    const { waypoints, report } = await readUlog(logNamed('home_moved'));
    expect(waypoints.map(({ altitude }) => altitude)).toEqual([150, 150, 150]);
    expect(report.waypoints.from).toBe('the mission in navigator_mission_item');
  });

  it('leaves out no item of a mission for being near to another message', async () => {
    const log = northward().topic(
      8,
      'navigator_mission_item',
      'float latitude;float longitude;float altitude;uint16_t nav_cmd;uint8_t altitude_is_relative',
    );
    for (const [i, command] of [178, 16, 178, 16].entries())
      log.data(8, 6 * SECOND + i * 1_000, 63 + i, 10, 90, command, 0);
    expect((await read(log)).waypoints.map(({ lat }) => lat)).toEqual([64, 66]);
  });

  it('reads nested messages and instances', async () => {
    const log = new UlogWriter()
      .message(
        'F',
        Buffer.from(
          'sensor_gnss:uint64_t timestamp;double latitude;double longitude;double altitude_msl;float eph;',
        ),
      )
      .topic(1, 'vehicle_gnss', 'sensor_gnss receiver;uint8_t selected_instance', 0)
      .topic(2, 'sensor_gps', 'double latitude_deg;double longitude_deg;double altitude_msl_m', 1);
    for (let i = 0; i < 20; i++) {
      const body = Buffer.alloc(2 + 8 + 8 + 24 + 4 + 1);
      body.writeUInt16LE(1);
      body.writeBigUInt64LE(BigInt(i * 200_000), 2);
      [63 + i * 1e-5, 10, 80].forEach((value, k) => body.writeDoubleLE(value, 18 + k * 8));
      body.writeFloatLE(2, 42);
      log.message('D', body).data(2, i * 200_000, 63, 10, 80);
    }
    const { report, start, frames } = await read(log);
    expect(start).toEqual({ lat: 63, lon: 10, altitude: 80 });
    expect(report.positions.topic).toBe('vehicle_gnss');
    expect(report.unused.map(({ topic }) => topic)).toEqual(['sensor_gps#1']);
    expect(frames[0]!.confidence).toBeCloseTo(1 / 1.4, 3);
    expect(report.headings.from).toBe('course over ground');
  });

  it('dates a log without any time by the file, and says so', async () => {
    const log = new UlogWriter().topic(1, 'vehicle_global_position', GLOBAL);
    for (let i = 0; i <= 10; i++) log.data(1, i * 200_000, 63, 10, 100, 0);
    const path = await fileOf(log.bytes());
    await utimes(path, new Date(), new Date('2023-01-02T03:04:05Z'));
    const { startedAt, report, frames } = await readUlog(path);
    expect(startedAt).toBe('2023-01-02T03:04:03.000Z');
    expect(report.warnings.join(' ')).toMatch(/last modified, 2023-01-02T03:04:05.000Z.*all headings are 0/);
    expect(report.confidence).toMatch(/^0.5, for the log does not say/);
    expect(frames.every(({ confidence, heading }) => confidence === 0.5 && heading === 0)).toBe(true);
  });

  it('refuses a rate and a waypoint distance that cannot be, both at once', async () => {
    for (const rate of [0, -1, NaN, Infinity, 1_001]) {
      const error = await refusal(read(northward(1), { rate, waypointEvery: 0.5 }));
      expect(error.code).toBe('input.invalid');
      expect(error.data['errors']).toMatchObject([{ field: 'rate' }, { field: 'waypointEvery' }]);
    }
  });

  it('names the topics it looked for, and those that the log has', async () => {
    const log = new UlogWriter()
      .topic(1, 'cpuload', 'float load')
      .topic(2, 'sensor_gps', 'int32_t lat;int32_t lon;int32_t alt;uint8_t fix_type');
    const error = await refusal(read(log.data(1, 1, 0.5).data(2, 2, 0, 0, 0, 0)));
    expect(error.code).toBe('ulog.no-position');
    expect(error.message).toContain('vehicle_global_position (not in the log)');
    expect(error.message).toContain('sensor_gps (1 row: 1 without a 3D fix)');
    expect(error.message).toContain('The log has messages of: cpuload, sensor_gps.');
  });

  it('refuses what is no log', async () => {
    expect(await refusal(read(Buffer.from('no log at all, but text')))).toMatchObject({
      code: 'ulog.unreadable',
    });
    expect(await refusal(read(Buffer.alloc(0)))).toMatchObject({ code: 'ulog.unreadable' });
    expect(await refusal(readUlog(folder))).toMatchObject({ code: 'ulog.unreadable' });
    expect(await refusal(readUlog(join(folder, 'missing.ulg')))).toMatchObject({ code: 'ulog.unreadable' });
    expect(await refusal(flightIdOfFile(join(folder, 'missing.ulg')))).toMatchObject({
      code: 'ulog.unreadable',
    });
  });

  it('refuses a log of a format that it does not know', async () => {
    const flags = Buffer.alloc(40);
    flags[8] = 2;
    const error = await refusal(read(new UlogWriter().message('B', flags)));
    expect(error).toMatchObject({
      code: 'ulog.unreadable',
      message: expect.stringContaining('0200000000000000') as string,
    });
  });

  it('refuses more frames than one import can take', async () => {
    const log = new UlogWriter().topic(1, 'vehicle_global_position', GLOBAL);
    for (let s = 0; s <= 1_200; s++) log.data(1, s * SECOND, 63, 10, 100, 1);
    expect(await refusal(read(log, { rate: 1_000 }))).toMatchObject({ code: 'ulog.too-many-frames' });
  });

  it('gives the same id for the same bytes under any name', async () => {
    const a = await flightIdOfFile(await fileOf(northward(1).bytes(), 'a.ulg'));
    const b = await flightIdOfFile(await fileOf(northward(1).bytes(), 'b.ulg'));
    const c = await flightIdOfFile(await fileOf(northward(2).bytes(), 'c.ulg'));
    expect(a).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5/);
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });
});

describe('a damaged flight log', () => {
  it('gives what stands before and behind the damage', async () => {
    const bytes = northward().bytes();
    bytes.fill(0xff, bytes.length / 2, bytes.length / 2 + 500);
    const { frames, report } = await read(bytes);
    expect(frames).toHaveLength(21);
    expect(report.damage.places).toBe(1);
    expect(report.damage.bytes).toBeGreaterThanOrEqual(500);
    expect(report.damage.bytes).toBeLessThan(600);
    expect(report.warnings[0]).toMatch(/^The file is damaged: \d+ bytes in 1 places/);
  });

  it('gives what there is of a file that was cut off', async () => {
    const bytes = northward().bytes();
    const { durationSeconds, report } = await read(bytes.subarray(0, bytes.length - 1_500));
    expect(durationSeconds).toBeGreaterThan(5);
    expect(durationSeconds).toBeLessThan(10);
    expect(report.damage.cutOff).toBeGreaterThan(0);
    expect(report.warnings[0]).toContain('ends in the middle of a message');
  });

  it('skips messages of a later version of the format', async () => {
    const { report } = await read(
      new UlogWriter()
        .message('Z', Buffer.from('new'))
        .topic(1, 'vehicle_global_position', GLOBAL)
        .data(1, 1, 63, 10, 100, 1),
    );
    expect(report).toMatchObject({ frames: 1, damage: { places: 0 } });
  });

  it('goes on in the data that a crashed logger appended', async () => {
    const flags = Buffer.alloc(40);
    flags[8] = 1;
    const make = (offset: number) => {
      flags.writeBigUInt64LE(BigInt(offset), 16);
      return new UlogWriter()
        .message('B', Buffer.from(flags))
        .topic(1, 'vehicle_global_position', GLOBAL)
        .data(1, 1, 63, 10, 100, 1);
    };
    const begun = Buffer.from([30, 0, 0x44, 1, 0, 7, 7]);
    const offset = make(0).bytes().length + begun.length;
    const tail = make(0)
      .data(1, SECOND, 63.00001, 10, 100, 1)
      .bytes()
      .subarray(offset - begun.length);
    const { report } = await read(Buffer.concat([make(offset).bytes(), begun, tail]));
    expect(report).toMatchObject({ positions: { used: 2 }, damage: { places: 0, cutOff: 0 } });
  });

  it('ends quickly in hostile definitions: a type that contains itself, arrays without end', async () => {
    const log = new UlogWriter()
      .message('F', Buffer.from('vehicle_global_position:uint64_t timestamp;vehicle_global_position lat;'))
      .message('A', Buffer.concat([Buffer.from([0, 1, 0]), Buffer.from('vehicle_global_position')]))
      .message('F', Buffer.from('vehicle_gps_position:uint64_t timestamp;double[99999999999] lat;'))
      .message('A', Buffer.concat([Buffer.from([0, 2, 0]), Buffer.from('vehicle_gps_position')]))
      .message('D', Buffer.alloc(60_000, 1));
    expect(await refusal(read(log))).toMatchObject({ code: 'ulog.no-position' });
  });

  it('keeps no more of a log than its limits say, whatever it subscribes to and defines', async () => {
    const log = northward();
    for (let n = 0; n < 12_000; n++)
      log.message('A', Buffer.from([0, n & 0xff, 4 + (n >> 8), ...Buffer.from(`topic${n}`)]));
    const fields = Array.from({ length: 4_000 }, (_, i) => `float f${i}`).join(';');
    for (let n = 0; n < 40; n++) log.message('F', Buffer.from(`many${n}:uint64_t timestamp;${fields};`));
    // The definitions of the topic come too late to be kept.
    log.topic(9, 'vehicle_local_position', 'float x;float y;double ref_lat;double ref_lon');
    const path = await fileOf(log.bytes());
    const { topics, notes } = await readLogFile(path, { wanted: WANTED, spacing: 0 });
    expect(topics).toHaveLength(10_000);
    expect(notes.join()).toMatch(/more than 10000 instances of topics/);
    expect((await readUlog(path)).report.positions.used).toBe(51);
  });

  it('shows nothing of a topic that a terminal would obey', async () => {
    const name = 'abcd\u001b]0;x\u0007\u001b[31m\u009b2J\u202e';
    const log = new UlogWriter().topic(1, name, 'float x').data(1, 1, 1);
    const error = await refusal(read(log));
    expect(error.message).toContain('The log has messages of: abcd ]0;x [31m 2J.');
    expect(JSON.stringify(error)).not.toMatch(/[\u0080-\u009f\u202e]|u001b/);
  });

  it('ends quickly in megabytes of noise', async () => {
    const noise = Buffer.alloc(3_000_000);
    let state = 1;
    for (let i = 0; i < noise.length; i++) noise[i] = (state = (state * 48_271) % 2_147_483_647) & 0xff;
    const { report } = await read(Buffer.concat([northward().bytes(), noise]));
    expect(report.positions.used).toBe(51);
    expect(report.damage.bytes).toBeGreaterThan(2_000_000);
  });
});
