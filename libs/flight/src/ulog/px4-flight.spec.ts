import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { badFields, WaylogError } from '#lib/platform';
import { CreateFlight } from '../flight/create-flight.js';
import { flightIdOfFile } from './flight-id.js';
import { readUlog } from './read-ulog.js';
import { ulogCommands } from './ulog-commands.js';
import type { UlogFlight } from './ulog-flight.js';

/** A real flight of a VTOL with PX4 1.11.2, from PX4/pyulog (BSD-3-Clause). */
const file = resolve(process.cwd(), '../shared/data/px4-flight.ulg');
const there = existsSync(file);
const suite = there ? describe : describe.skip;

suite(there ? 'a real PX4 flight log' : `a real PX4 flight log (skipped: there is no ${file})`, () => {
  let flight: UlogFlight;
  beforeAll(async () => {
    flight = await readUlog(file, { rate: 4 });
  });

  it('flies where and when it flew', () => {
    expect(flight.startedAt).toBe('2021-04-21T06:30:58.613Z');
    expect(flight.start.lat).toBeCloseTo(63.417, 3);
    expect(flight.start.lon).toBeCloseTo(10.408, 3);
    for (const { lat, lon, altitude } of flight.frames) {
      expect(Math.abs(lat - 63.417)).toBeLessThan(0.001);
      expect(Math.abs(lon - 10.408)).toBeLessThan(0.001);
      expect(altitude).toBeGreaterThan(60);
      expect(altitude).toBeLessThan(70);
    }
  });

  it('has a frame every quarter of a second', () => {
    expect(flight.durationSeconds).toBeCloseTo(6, 0);
    expect(Math.abs(flight.frames.length - (flight.durationSeconds * 4 + 1))).toBeLessThanOrEqual(1);
    expect(flight.frames.map(({ frameId }) => frameId)).toEqual([...flight.frames.keys()]);
    const times = flight.frames.map(({ timestamp }) => Date.parse(timestamp));
    for (const [i, time] of times.slice(1).entries())
      expect(Math.abs(time - times[i]! - 250)).toBeLessThanOrEqual(1);
  });

  it('has the headings of its attitude and the confidence of its GPS', () => {
    // The quaternion and the estimator's own heading (0.2426 rad) agree at the beginning; the yaw then settles.
    expect(flight.frames[0]!.heading).toBeCloseTo(13.2, 0);
    for (const { heading, confidence } of flight.frames) {
      expect(heading).toBeGreaterThan(0);
      expect(heading).toBeLessThan(20);
      expect(confidence).toBeGreaterThan(1 / (1 + 3.3 / 5));
      expect(confidence).toBeLessThan(0.7);
    }
  });

  it('says what it used and what it did not', () => {
    expect(flight.vehicle).toMatchObject({
      system: 'PX4',
      hardware: 'CUBEPILOT_CUBEORANGE',
      firmware: '1.11.2',
    });
    expect(flight.report).toMatchObject({
      positions: { topic: 'vehicle_gps_position', rows: 32, used: 32 },
      headings: { topic: 'vehicle_attitude' },
      clock: { from: 'gps', how: 'time_utc_usec of vehicle_gps_position (32 messages)' },
      unused: [{ topic: 'vehicle_local_position', why: expect.stringContaining('not valid') as string }],
      dropouts: { count: 1, milliseconds: 30 },
      damage: { places: 0, bytes: 0, cutOff: 0 },
      gapCount: 0,
    });
    expect(flight.report.waypoints.from).toContain('the log has no mission');
    expect(flight.waypoints).toHaveLength(flight.frames.length);
  });

  it('becomes commands that pass validation', async () => {
    const commands = [...ulogCommands(flight, { flightId: await flightIdOfFile(file) })];
    for (const command of commands)
      expect(badFields(command.constructor as typeof CreateFlight, command)).toEqual([]);
    expect(commands[0]).toBeInstanceOf(CreateFlight);
  });

  describe('damaged', () => {
    let folder: string;
    let whole: Buffer;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'waylog-px4-'));
      whole = await readFile(file);
    });
    afterAll(() => rm(folder, { recursive: true }));

    /** A flight, or an error that says what is wrong: nothing else may come of any file. */
    async function outcome(bytes: Buffer): Promise<UlogFlight | WaylogError> {
      const path = join(folder, 'damaged.ulg');
      await writeFile(path, bytes);
      const result = await readUlog(path).catch((error: unknown) => error);
      if (result instanceof WaylogError) expect(result.code).toMatch(/^ulog\./);
      else expectSound(result as UlogFlight);
      return result as UlogFlight | WaylogError;
    }

    it('gives the first half when the file is cut in the middle', async () => {
      const half = await outcome(whole.subarray(0, whole.length >> 1));
      expect(half).not.toBeInstanceOf(WaylogError);
      expect((half as UlogFlight).durationSeconds).toBeGreaterThan(1);
      expect((half as UlogFlight).durationSeconds).toBeLessThan(5);
      expect((half as UlogFlight).report.warnings.join(' ')).toContain('ends in the middle of a message');
    });

    it('gives a result or a clear error wherever it is cut', async () => {
      for (let part = 0; part < 32; part++)
        await outcome(whole.subarray(0, Math.floor((whole.length * part) / 32)));
      for (const length of [1, 15, 16, 17, 18, 19, 58, 59]) await outcome(whole.subarray(0, length));
    });

    it('gives a result or a clear error for each of 64 seeded bit flips', async () => {
      const random = seeded(20_210_421);
      let read = 0;
      for (let i = 0; i < 64; i++) {
        const bytes = Buffer.from(whole);
        // Half of them in the definitions, where a bit counts for more.
        const at = Math.floor(random() * (i % 2 === 0 ? bytes.length : 60_000));
        bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8));
        if (!((await outcome(bytes)) instanceof WaylogError)) read += 1;
      }
      expect(read).toBeGreaterThan(48);
    });

    it('gives a result or a clear error when a thousand bits flip at once', async () => {
      const random = seeded(7);
      for (let i = 0; i < 8; i++) {
        const bytes = Buffer.from(whole);
        for (let k = 0; k < 1_000; k++) {
          const at = Math.floor(random() * bytes.length);
          bytes[at] = bytes[at]! ^ (1 << Math.floor(random() * 8));
        }
        await outcome(bytes);
      }
    });
  });
});

function expectSound({ frames, waypoints, durationSeconds, start }: UlogFlight): void {
  expect(frames.length).toBeGreaterThan(0);
  expect(frames.length).toBeLessThan(100);
  expect(durationSeconds).toBeLessThan(60);
  expect(Math.abs(start.lat)).toBeLessThanOrEqual(90);
  for (const { lat, lon, altitude, heading, confidence, timestamp } of frames) {
    expect([lat, lon, altitude].every((value) => Number.isFinite(value))).toBe(true);
    expect(heading >= 0 && heading < 360 && confidence >= 0 && confidence <= 1).toBe(true);
    expect(timestamp).toMatch(/^20\d\d-/);
  }
  expect(waypoints.length).toBeLessThan(200);
}

/** mulberry32: small, and the same on every machine. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
