import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { EventStore } from '#lib/event-store';
import { CreateFlight, flight, SaveFrameResult } from '#lib/flight';
import { EVENT_STORE, RunningContexts } from '#lib/waylog';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { appendRaw } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { camera, GetReadings, Measure, NameCamera, NameLens } from './support/toy-context.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- results of every shape
  readonly result: any;
}

/** The command line of an application with both contexts, built by `npm test`. */
const waylog = (env: Record<string, string>, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--import', './dist/test/support/with-both-contexts.js', 'dist/apps/cli/src/main.js', ...args],
      { env: { ...process.env, ...env }, maxBuffer: 16 * 1024 * 1024 },
      (error, out, err) =>
        resolve({
          code: error ? (typeof error.code === 'number' ? error.code : -1) : 0,
          out,
          err,
          result: args.includes('--json') && out ? JSON.parse(out) : undefined,
        }),
    );
  });

describe.each(logs)('the command line with two contexts, with the log in %s', (log) => {
  let database: TestDatabase;
  let running: RunningWaylog;
  let stop = (): Promise<void> => Promise.resolve();
  let folder: string;
  const isHere = log === 'PostgreSQL';
  /** What is the same wherever the log is: it takes a minute of processes that start. */
  const once = isHere ? it : it.skip;
  const envOf = (url: string, eventStore = '') => ({ DATABASE_URL: url, EVENT_STORE: eventStore });
  const run = (...args: string[]) => waylog(envOf(database.url, database.eventStore), ...args);
  const json = async (...args: string[]) => {
    const { code, err, result } = await run('--json', ...args);
    return { code, err: code === 0 ? '' : err, result };
  };
  const settled = async () => {
    const head = await running.app.get<EventStore>(EVENT_STORE).head();
    await running.app.get(RunningContexts).waitFor(head, 25_000);
  };
  const rowsOf = async (table: string, url = database.url) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const { rows } = await client.query<Record<string, unknown>>(`select * from ${table} order by 1, 2`);
    await client.end();
    return rows;
  };
  const things = [
    { id: 'f1', kind: 'camera', name: 'front' },
    { id: 'f1', kind: 'lens', name: 'wide' },
  ];
  const days = ['2020-01-01T12:00:00.000Z', '2020-01-02T12:00:00.000Z', new Date().toISOString()];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-contexts-'));
    database = await testDatabase(log);
  });
  afterAll(async () => {
    await stop();
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it('makes the tables of both, and misses them before', async () => {
    const before = await json('doctor');
    expect(before.result.findings).toContainEqual(
      expect.objectContaining({
        check: 'schema',
        level: 'problem',
        what: 'lacks the tables camera.flights, camera.readings',
        remedy: 'waylog migrate',
      }),
    );
    expect((await run('verify')).err).toMatch(/lacks the tables camera.flights, camera.readings/);
    expect((await run('migrate')).code).toBe(0);
    expect((await run('schema', 'check')).code).toBe(0);
    expect((await run('schema', 'show')).out).toMatch(/create table camera\.readings/);
    expect((await run('routes')).out).toMatch(/^admin +POST +\/v1\/cameras\/:id\/erase$/m);

    running = await startWaylog(database, { contexts: [flight, camera] });
    stop = running.close;
    await running.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
    await running.execute(new NameCamera({ cameraId: 'f1', name: 'front' }));
    await running.execute(new NameLens({ lensId: 'f1', name: 'wide' }));
    for (const at of days) await running.execute(new Measure({ cameraId: 'f1', at, celsius: 20 }));
    await running.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await settled();
  });

  it('shows, verifies and rebuilds both, or one', async () => {
    const { findings } = (await json('doctor')).result;
    const said = findings
      .filter(({ check }: { check: string }) => check === 'projections')
      .map(({ what }: { what: string }) => what);
    expect(said).toEqual([
      expect.stringMatching(/^flight: active/),
      expect.stringMatching(/^camera: active/),
    ]);
    const before = await tableHashes(database.url);
    expect(await json('verify')).toMatchObject({ code: 0, result: { isSound: true } });
    const one = await json('verify', 'camera');
    expect(one.result.tables).toMatchObject([
      { projector: 'camera', projection: 'flights', rows: 2 },
      { projector: 'camera', projection: 'readings', rows: 3 },
    ]);
    expect((await json('rebuild', 'camera.flights', 'waypoints')).result.tables).toMatchObject([
      { projector: 'flight', projection: 'waypoints' },
      { projector: 'camera', projection: 'flights' },
    ]);
    expect((await json('rebuild')).code).toBe(0);
    expect(await tableHashes(database.url)).toEqual(before);
    expect(await rowsOf('camera.flights')).toEqual(things);
    expect((await run('verify', 'lens')).err).toMatch(/all of a context are flight or camera/);
    expect((await json('projections')).result.projections).toHaveLength(flight.projections.length + 3);
  });

  once('pauses the one, and says which', async () => {
    expect(await run('projections', 'pause', 'camera', '--reason', 'to look')).toMatchObject({ code: 0 });
    const text = (await run('projections')).out;
    expect(text).toMatch(/^camera\.readings +paused/m);
    expect(text).toMatch(/^flight\.waypoints +active/m);
    expect(text).toMatch(/^camera: paused since .* to look$/m);
    const { findings } = (await json('doctor')).result;
    expect(findings).toContainEqual(
      expect.objectContaining({
        check: 'projections',
        what: expect.stringMatching(/^camera: paused/) as string,
      }),
    );
    expect(await run('projections', 'pause', 'lens', '--reason', 'to look')).toMatchObject({ code: 2 });
    expect((await json('projections', 'resume', 'camera')).result).toEqual({
      resumed: ['flights', 'readings'],
    });
  });

  it('lists what is parked of both, retries and discards it', async () => {
    const store = running.app.get<EventStore>(EVENT_STORE);
    await appendRaw(store, 'camera-bad', 'Measured', { at: 'no time', celsius: 21 });
    await appendRaw(store, 'flight-bad', 'FrameResultSaved', { frameId: 667 });
    await running.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(2) }));
    await settled();
    expect((await json('parked')).result.parked).toMatchObject([
      { streamId: 'flight-bad' },
      { streamId: 'camera-bad' },
    ]);
    const { findings } = (await json('doctor')).result;
    for (const name of ['flight', 'camera'])
      expect(findings).toContainEqual(expect.objectContaining({ what: `${name}: 1 stream parked` }));
    expect(await json('parked', 'retry')).toMatchObject({ code: 1, result: { results: [{}, {}] } });
    for (const stream of ['camera-bad', 'flight-bad'])
      expect(await run('parked', 'discard', stream, '--reason', 'bad')).toMatchObject({ code: 0 });
    expect(await json('verify')).toMatchObject({ code: 0, result: { isSound: true } });
  });

  it('archives old chunks of a table of the other context, and drops those that nobody keeps', async () => {
    const readings = async () => (await rowsOf('camera.readings')).length;
    const asOf = async () => {
      const all = await running.query(new GetReadings('f1', { asOf: '99999' })).catch(() => undefined);
      return (all ?? (await running.query(new GetReadings('f1', { asOf: '3' })))).length;
    };
    const to = join(folder, 'archive');
    const archived = await json('archive', 'run', '--older-than', '2020-01-02T00:00:00Z', '--to', to);
    expect(archived).toMatchObject({
      code: 0,
      result: { confirmations: [{ tableName: 'camera.readings', chunks: 1, rows: 1 }] },
    });
    expect(await readings()).toBe(2);
    expect(await asOf()).toBe(3);
    expect(await json('verify')).toMatchObject({ code: 0, result: { isSound: true } });
    const [{ eventId }] = (await json('archive', 'list')).result.events as [{ eventId: string }];
    expect((await json('archive', 'restore', eventId)).result).toMatchObject({ restored: 1 });
    expect(await readings()).toBe(3);

    await run('hypertables', 'set', 'camera.readings', '--retention', '30d');
    expect((await json('hypertables', 'apply-retention')).code).toBe(0);
    expect(await readings()).toBe(1);
    expect(await asOf()).toBe(3);
    expect(await json('verify')).toMatchObject({ code: 0, result: { isSound: true } });
  });

  once('signs and audits the log of both', async () => {
    const key = join(folder, 'audit.pem');
    expect((await run('audit', 'new-key', key)).code).toBe(0);
    const digest = await run('audit', 'digest', '--key-file', key, '--digests', folder);
    // Only the log in PostgreSQL is chained.
    expect(digest.code).toBe(isHere ? 0 : 2);
    if (!isHere) return;
    expect(await json('verify', '--audit', '--public-key', `${key}.pub`, '--digests', folder)).toMatchObject({
      code: 0,
      result: { isSound: true, signed: 1, streams: 5 },
    });
  });

  once('backs up both, and restores both', async () => {
    const { result: done } = await json('backup', '--to', `${folder}/`);
    expect(Object.keys(done.manifest.tables as object)).toEqual(
      expect.arrayContaining(['camera.flights', 'camera.readings', 'flight.flights']),
    );
    const fold = isHere ? ['--fold'] : [];
    expect(await run('backup', 'verify', done.file as string, ...fold)).toMatchObject({ code: 0 });
    const restored = new URL(database.url);
    restored.pathname = `${restored.pathname}_restored`;
    try {
      const { code, result } = await json(
        'restore',
        done.file as string,
        '--database',
        restored.pathname.slice(1),
      );
      expect({ code, differences: result.differences }).toEqual({ code: 0, differences: [] });
      expect(await rowsOf('camera.flights', restored.href)).toEqual(things);
      const there = envOf(restored.href, database.eventStore);
      expect((await waylog(there, 'migrate')).code).toBe(0);
      expect((await waylog(there, 'verify')).out).toMatch(
        /^camera\.readings +1 row since .* · as the log says$/m,
      );
    } finally {
      await dropDatabase(restored.href);
    }
    await run('hypertables', 'set', 'camera.readings', '--no-retention');
    expect((await json('rebuild', 'camera.readings')).code).toBe(0);
    expect(await rowsOf('camera.readings')).toHaveLength(3);
  });

  it('moves both to another database: by file, and by a copy with the keys', async () => {
    const file = join(folder, 'all.ndjson.zst');
    expect(await run('log', 'export', '--to', file)).toMatchObject({ code: 0 });
    const imported = await testDatabase();
    const copy = await testDatabase();
    const secret = async ({ pool }: TestDatabase) =>
      (
        await pool.query<{ id: string; gone: boolean }>(
          `select stream_id as id, key is null as gone from log.data_keys where stream_id ~ 'f1$' order by 1`,
        )
      ).rows;
    const there = (name: boolean) =>
      ['camera-f1', 'flight-f1', 'lens-f1'].map((id) => ({ id, gone: id === 'camera-f1' && name }));
    try {
      expect((await waylog(envOf(imported.url), 'migrate')).code).toBe(0);
      expect(await waylog(envOf(imported.url), 'log', 'import', file)).toMatchObject({ code: 0 });
      expect(await rowsOf('camera.flights', imported.url)).toEqual(things);
      expect(await tableHashes(imported.url)).toMatchObject({
        waypoints: (await tableHashes(database.url))['waypoints'],
      });
      expect(await waylog(envOf(imported.url), 'verify')).toMatchObject({ code: 0 });
      if (!isHere) return;
      const both = { ...envOf(copy.url), FROM: database.url, TO: copy.url };
      const copied = () => waylog(both, '--json', 'log', 'copy', '--from', 'env:FROM', '--to', 'env:TO');
      expect((await waylog(both, 'migrate')).code).toBe(0);
      expect(await copied()).toMatchObject({ code: 0, result: { identical: true } });
      expect(await secret(copy)).toEqual(there(false));
      // What was discarded is known to the other database alone.
      expect(await waylog(both, 'projections', 'adopt', 'camera', '--yes')).toMatchObject({
        code: 1,
        out: expect.stringMatching(/^PARKED · camera-bad/) as string,
      });
      expect(await rowsOf('camera.flights', copy.url)).toEqual(things);
      expect(await rowsOf('flight.flights', copy.url)).toEqual([]);
      expect((await waylog(both, 'projections', 'adopt', '--yes')).out).toMatch(/adopted: .* of 5 streams/);
      expect(await rowsOf('flight.flights', copy.url)).toHaveLength(1);

      expect(await run('erase', 'camera', 'f1', '--yes')).toMatchObject({ code: 0 });
      expect(await secret(database)).toEqual(there(true));
      expect(await copied()).toMatchObject({ code: 0, result: { identical: true } });
      expect(await secret(copy)).toEqual(there(true));
      // No server folds the erasure here.
      expect((await waylog(both, 'projections', 'adopt', '--yes')).out).toMatch(/adopted/);
      expect(await rowsOf('camera.flights', copy.url)).toEqual([{ ...things[0], name: 'erased' }, things[1]]);
      expect(await waylog(both, 'verify')).toMatchObject({ code: 0 });
    } finally {
      await imported.drop();
      await copy.drop();
    }
  });

  it('erases what is sensitive of a camera, for good', async () => {
    expect(await run('erase', 'lens', 'f1', '--yes')).toMatchObject({ code: 2 });
    expect(await run('erase', 'camera', 'f1', '--yes')).toMatchObject({ code: 0 });
    await settled();
    expect(await rowsOf('camera.flights')).toEqual([{ ...things[0], name: 'erased' }, things[1]]);
    expect((await json('rebuild')).code).toBe(0);
    expect(await rowsOf('camera.flights')).toEqual([{ ...things[0], name: 'erased' }, things[1]]);
    expect(await json('verify')).toMatchObject({ code: 0, result: { isSound: true } });
    const { rows } = await database.pool.query(
      `select from log.snapshots where stream_id = 'camera-f1' and state::text ~ 'front'`,
    );
    expect(rows).toEqual([]);
    if (isHere)
      expect((await run('verify', '--audit', '--public-key', join(folder, 'audit.pem.pub'))).code).toBe(0);
  });
});

async function dropDatabase(url: string): Promise<void> {
  const server = new URL(url);
  const name = server.pathname.slice(1);
  server.pathname = '/postgres';
  const client = new pg.Client({ connectionString: server.href });
  await client.connect();
  await client.query(`drop database if exists ${name} with (force)`);
  await client.end();
}
