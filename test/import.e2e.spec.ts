import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import {
  DeleteFlight,
  flightIdOfFile,
  GetFlight,
  GetFlightEvents,
  GetFrameResults,
  readUlog,
  ulogCommands,
} from '#lib/flight';
import { useWaylog } from './support/waylog.js';

/** Ten seconds with a mission, without any time of day. */
const log = resolve('libs/flight/src/ulog/testing/logs/home_moved.ulg');

describe('waylog import', () => {
  const waylog = useWaylog();
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-import-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** A copy of the log under a name, last modified at a time. */
  async function copyOf(name: string, modifiedAt: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await copyFile(log, path);
    await utimes(path, new Date(), new Date(modifiedAt));
    return path;
  }

  interface Result {
    readonly flightId: string;
    readonly report: { readonly clock: { readonly from: string; readonly how: string } };
  }
  interface Ended {
    readonly code: number;
    readonly result: Result;
    readonly notes: string;
  }
  const run = (...args: string[]) =>
    new Promise<Ended>((done) => {
      const env = { ...process.env, DATABASE_URL: waylog.store.url };
      execFile(
        process.execPath,
        ['dist/apps/cli/src/main.js', '--json', 'import', ...args],
        { env },
        (error, out, err) =>
          done({
            code: error ? Number(error.code) : 0,
            result: (out === '' ? {} : JSON.parse(out)) as Result,
            notes: err,
          }),
      );
    });
  const events = (flightId: string) => waylog.query(new GetFlightEvents(flightId, 0, 5_000));
  const times = async (flightId: string) =>
    (await waylog.query(new GetFrameResults(flightId))).map(({ timestamp }) => timestamp);

  it('records a flight, reports the source of its times, and records nothing more from any copy of its log', async () => {
    const { result } = await run(await copyOf('a.ulg', '2025-03-04T05:06:07Z'));
    const { flightId } = result;
    expect(result).toMatchObject({ report: { clock: { from: 'file-time' }, frames: 21 } });
    const flight = await waylog.query(new GetFlight(flightId));
    expect(flight).toMatchObject({
      name: 'a.ulg',
      cameraParams: { clockFrom: 'file-time', clock: result.report.clock.how },
    });
    expect(flight.waypoints.map(({ altitude }) => altitude)).toEqual([150, 150, 150]);
    const recorded = await events(flightId);
    for (const copy of [
      await copyOf('b.ulg', '1969-12-31T23:59:59.123Z'),
      await copyOf('log/2026-04-11/04_29_40.ulg', '2026-01-01T00:00:00Z'),
    ]) {
      const again = await run(copy);
      expect(again).toMatchObject({ code: 0, result: { flightId, report: { frames: 21 } } });
      expect(again.result.report.clock.from).toBe('earlier-import');
      expect(again.notes).toContain('An earlier import made this flight');
    }
    expect(await events(flightId)).toEqual(recorded);
    expect((await times(flightId)).at(-1)).toBe('2025-03-04T05:06:07.000Z');
  });

  it('continues an interrupted import from a fresh copy, with the times of the first run', async () => {
    const first = await readUlog(await copyOf('first.ulg', '2025-03-04T05:06:07.001Z'), { rate: 150 });
    const commands = [...ulogCommands(first, { flightId: 'cut-off' })];
    // The flight, its state, the first of several batches of frames.
    for (const command of commands.slice(0, 3)) await waylog.execute(command);
    const copy = await copyOf('fresh.ulg', '2026-07-08T09:10:11.002Z');
    expect(await run('--id', 'cut-off', '--rate', '150', copy)).toMatchObject({ code: 0 });
    expect(await times('cut-off')).toEqual(first.frames.map(({ timestamp }) => timestamp));
    expect(first.frames.length).toBeGreaterThan(1_000);
    expect((await events('cut-off')).filter(({ type }) => type === 'FlightCreated')).toHaveLength(1);
  });

  it('uses the date of the path if there is nothing better', async () => {
    const path = await copyOf('log/2026-04-11/04_29_40.ulg', '2026-01-01T00:00:00Z');
    const { result } = await run('--id', 'by-path', path);
    expect(result.report.clock.from).toBe('file-path');
    expect((await times('by-path'))[0]).toBe('2026-04-11T04:29:40.000Z');
  });

  it('refuses another log, or other options, for an existing flight', async () => {
    const path = await copyOf('a.ulg', '2025-03-04T05:06:07Z');
    const { code, notes } = await run('--id', 'by-path', '--rate', '4', path);
    expect(code).toBe(1);
    expect(notes).toContain('with other options or from another log');
  });

  it('records a deleted flight again', async () => {
    const path = await copyOf('a.ulg', '2026-01-01T00:00:00Z');
    const flightId = await flightIdOfFile(path);
    await waylog.execute(new DeleteFlight({ flightId }));
    await run(path);
    expect(await times(flightId)).toHaveLength(21);
    await run(await copyOf('b.ulg', '2024-01-01T00:00:00Z'));
    expect((await times(flightId)).at(-1)).toBe('2026-01-01T00:00:00.000Z');
  });

  it('explains --waypoint-every in its help', async () => {
    const help = await new Promise<string>((done) =>
      execFile(process.execPath, ['dist/apps/cli/src/main.js', 'import', '--help'], (_error, out) =>
        done(out),
      ),
    );
    expect(help.replaceAll(/\s+/g, ' ')).toContain(
      'every n-th frame becomes a waypoint, even where the log has a mission',
    );
  });
});
