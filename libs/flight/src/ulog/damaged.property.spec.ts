import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { badFields, parseTimestamp, WaylogError, type Class } from '#lib/platform';
import { readUlog } from './read-ulog.js';
import { UlogWriter } from './testing/ulog-writer.js';
import { ulogCommands } from './ulog-commands.js';
import { reportLines, type UlogFlight } from './ulog-flight.js';

const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const runs = (every: number) => Number(process.env['WAYLOG_FUZZ_RUNS'] ?? every);

const SECOND = 1e6;
const UTC = Date.UTC(2026, 4, 1, 12) * 1e3;

/** A log with everything that the import reads: estimate, GPS, local position, attitude, mission, home, console. */
function everything(): Buffer {
  const flags = Buffer.alloc(40);
  const log = new UlogWriter(SECOND)
    .message('B', flags)
    .info('sys_name', 'PX4')
    .info('ver_hw', 'PX4_SITL')
    .console('NuttX starts\n')
    .topic(1, 'vehicle_global_position', 'double lat;double lon;float alt;float eph')
    .topic(2, 'vehicle_attitude', 'float[4] q;uint8_t quat_reset_counter')
    .topic(
      3,
      'vehicle_gps_position',
      'uint64_t time_utc_usec;int32_t lat;int32_t lon;int32_t alt;uint8_t fix_type',
    )
    .topic(
      4,
      'vehicle_local_position',
      'float x;float y;float z;uint8_t xy_valid;uint8_t z_valid;uint8_t xy_global;uint8_t z_global;double ref_lat;double ref_lon;float ref_alt;float heading',
    )
    .topic(5, 'home_position', 'double lat;double lon;float alt')
    .topic(6, 'position_setpoint_triplet', 'double lat;double lon;float alt')
    .topic(7, 'cpuload', 'float load');
  log.data(5, 4 * SECOND, 63, 10, 100);
  for (let i = 0; i <= 40; i++) {
    const time = 5 * SECOND + i * 200_000;
    log.data(1, time, 63 + i * 1e-5, 10, 100, 1);
    log.data(2, time + 1, Math.SQRT1_2, 0, 0, Math.SQRT1_2, 0);
    log.data(4, time + 2, i, 0, -1, 1, 1, 1, 1, 63, 10, 100, 1);
    log.data(7, time + 3, 0.5);
    if (i % 5 === 0) log.data(3, time, UTC + time, 630_000_000, 100_000_000, 100_000, 3);
    if (i % 20 === 0)
      log.message('O', Buffer.from([30, 0])).message('S', Buffer.from('2f731320250cbb12', 'hex'));
  }
  return log.bytes();
}

const part = fc.noBias(fc.nat(999_999)).map((n) => n / 1_000_000);
/** Where definitions stand a bit counts for more; numbers that are sizes, ids and times for the most. */
const damage = fc.oneof(
  fc.record({ at: part, head: fc.boolean(), bit: fc.nat(7) }),
  fc.record({ at: part, head: fc.boolean(), bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }) }),
  fc.record({
    at: part,
    head: fc.boolean(),
    fill: fc.constantFrom(0, 0xff, 0x44, 0x7f),
    length: fc.nat(600),
  }),
  fc.record({ at: part, head: fc.boolean(), drop: fc.integer({ min: 1, max: 200 }) }),
  fc.record({ at: part, head: fc.boolean(), insert: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
  fc.record({ at: part, head: fc.boolean(), double: fc.integer({ min: 1, max: 2_000 }) }),
);
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(whole: Buffer, by: Damage): Buffer {
  const at = Math.floor(by.at * (by.head ? Math.min(whole.length, 1_500) : whole.length));
  const bytes = Buffer.from(whole);
  if ('bit' in by) {
    bytes[at] = (bytes[at] ?? 0) ^ (1 << by.bit);
    return bytes;
  }
  if ('bytes' in by) {
    bytes.set(by.bytes.subarray(0, bytes.length - at), at);
    return bytes;
  }
  if ('fill' in by) return bytes.fill(by.fill, at, Math.min(bytes.length, at + by.length));
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  if ('drop' in by) return Buffer.concat([before, after.subarray(by.drop)]);
  if ('insert' in by) return Buffer.concat([before, by.insert, after]);
  return Buffer.concat([before, after.subarray(0, by.double), after]);
}

/** The most frames of one import, and of the waypoints of a flight: what the output is bounded by. */
const MAX_FRAMES = 1_000_000;
const MAX_WAYPOINTS = 5_000;

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));
const rejections: unknown[] = [];
const noted = (reason: unknown) => rejections.push(reason);
beforeAll(() => {
  process.on('unhandledRejection', noted);
});
afterAll(() => {
  process.off('unhandledRejection', noted);
  expect(rejections).toEqual([]);
});

async function reader() {
  const folder = await mkdtemp(join(tmpdir(), 'waylog-ulog-damaged-'));
  folders.push(folder);
  const path = join(folder, 'flight.ulg');
  const count = { refused: 0, read: 0 };
  const read = async (bytes: Buffer): Promise<UlogFlight | WaylogError> => {
    await writeFile(path, bytes);
    const flight = await readUlog(path).catch((error: unknown) => error);
    if (flight instanceof WaylogError) {
      count.refused++;
      expect(['ulog.unreadable', 'ulog.no-position', 'ulog.too-many-frames']).toContain(flight.code);
      expect(flight.message.length).toBeLessThan(10_000);
      return flight;
    }
    if (flight instanceof Error) throw flight;
    count.read++;
    mustBeSound(flight as UlogFlight);
    return flight as UlogFlight;
  };
  return { read, count };
}

/** What can be imported: every command valid, every number bounded, the report readable. */
function mustBeSound(flight: UlogFlight): void {
  const { frames, waypoints, report, start } = flight;
  expect(frames.length).toBeGreaterThan(0);
  expect(frames.length).toBeLessThanOrEqual(MAX_FRAMES);
  expect(waypoints.length).toBeLessThanOrEqual(MAX_WAYPOINTS);
  expect(Math.abs(start.lat)).toBeLessThanOrEqual(90);
  const isBad = ({ lat, lon, altitude, heading, confidence, timestamp }: (typeof frames)[number]) =>
    !(Math.abs(lat) <= 90 && Math.abs(lon) <= 180 && Number.isFinite(altitude)) ||
    !(heading >= 0 && heading < 360 && confidence >= 0 && confidence <= 1) ||
    parseTimestamp(timestamp) === undefined;
  expect(frames.filter(isBad)).toEqual([]);
  const text = reportLines(flight).join('\n');
  expect(text.length).toBeLessThan(50_000);
  // eslint-disable-next-line no-control-regex -- they are what it looks for
  expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\ufffd]/);
  if (report.damage.places > 0 || report.damage.cutOff > 0) expect(report.warnings.join(' ')).not.toBe('');
  for (const command of ulogCommands(flight, { flightId: 'f' }))
    expect(badFields(command.constructor as Class, command)).toEqual([]);
}

describe('a flight log of every topic', () => {
  const whole = everything();

  it('is read whole when it is whole', async () => {
    const { read } = await reader();
    const flight = await read(whole);
    expect(flight).not.toBeInstanceOf(WaylogError);
    expect((flight as UlogFlight).report.damage).toEqual({ places: 0, bytes: 0, cutOff: 0 });
  });

  it('gives a flight or an error wherever it is cut, and says so where something is missing', async () => {
    const { read, count } = await reader();
    const ends = messageEnds(whole);
    // At each end of a message, and somewhere within each one.
    const lengths = [0, 1, 15, 16, ...ends.flatMap((end, i) => [end, end - 1 - (i % 7), end + 1, end + 2])];
    for (const length of new Set(lengths)) {
      if (length < 0 || length > whole.length) continue;
      const flight = await read(whole.subarray(0, length));
      if (flight instanceof WaylogError || ends.includes(length)) continue;
      expect({ length, ...flight.report.damage }).not.toMatchObject({ places: 0, cutOff: 0 });
      expect(flight.report.warnings.join(' ')).toMatch(/ends in the middle|The file is damaged/);
    }
    expect(count.read).toBeGreaterThan(100);
    expect(count.refused).toBeGreaterThan(20);
  });

  it('gives a flight or an error for a bit that flips anywhere in its first kilobyte', async () => {
    const { read, count } = await reader();
    for (let at = 0; at < 1_024; at += 3) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
      await read(bytes);
    }
    expect(count.read).toBeGreaterThan(200);
    expect(count.refused).toBeGreaterThan(0);
  });

  it('gives a flight or an error whatever happens to it', async () => {
    const { read, count } = await reader();
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 6 }), async (all) => {
        await read(all.reduce(damaged, whole));
      }),
      { seed, numRuns: runs(400) },
    );
    expect(count.read).toBeGreaterThan(count.refused / 10);
  });

  it('gives a flight or an error for numbers that no flight has', async () => {
    const { read, count } = await reader();
    const number = fc.oneof(
      fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1e308, -1e308, 5e-324, 90, 180, 91, 2 ** 53),
      fc.double(),
    );
    const time = fc.oneof(
      fc.integer({ min: 0, max: 60 }).map((s) => s * 100_000),
      fc.constantFrom(0, 1, 2 ** 53, 1.8e19, 4.1e15),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(time, number, number, number, number), { minLength: 1, maxLength: 40 }),
        fc.array(fc.tuple(time, number, number, number, number), { maxLength: 10 }),
        async (positions, attitudes) => {
          const log = new UlogWriter()
            .topic(1, 'vehicle_global_position', 'double lat;double lon;double alt;double eph')
            .topic(2, 'vehicle_attitude', 'float[4] q')
            .data(1, 1, 63, 10, 100, 1);
          for (const values of positions) log.data(1, ...values);
          for (const values of attitudes) log.data(2, ...values);
          await read(log.bytes());
        },
      ),
      { seed, numRuns: runs(150) },
    );
    expect(count.read).toBeGreaterThan(20);
  });
});

/** Where the messages of a whole file end. */
function messageEnds(bytes: Buffer): number[] {
  const ends = [16];
  for (let at = 16; at < bytes.length;) ends.push((at += 3 + bytes.readUInt16LE(at)));
  return ends;
}

const real = resolve(process.cwd(), '../shared/data/px4-flight.ulg');
const there = existsSync(real);
const suite = there ? describe : describe.skip;
suite(there ? 'a real flight log' : `a real flight log (skipped: there is no ${real})`, () => {
  it('gives a flight or an error whatever happens to it', async () => {
    const whole = await readFile(real);
    const { read, count } = await reader();
    await fc.assert(
      fc.asyncProperty(
        fc.array(damage, { minLength: 1, maxLength: 6 }),
        fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: part }),
        async (all, length) => {
          const bytes = all.reduce(damaged, whole);
          await read(bytes.subarray(0, Math.ceil(bytes.length * length)));
        },
      ),
      { seed, numRuns: runs(30) },
    );
    expect(count.read).toBeGreaterThan(0);
  });
});
