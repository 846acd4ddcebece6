import { copyLog, InMemoryEventStore, type EventStore } from '#lib/event-store';
import { CreateFlight, flight, SaveFrameResult } from '#lib/flight';
import {
  adoptLog,
  integrityFindings,
  parkedStreams,
  pauseProjections,
  Projection,
  Projector,
  projectionStates,
  rebuild,
  resumeProjections,
  ScheduledVerification,
  type TableDefinition,
  unpark,
  upsert,
  verify,
  whileLeading,
} from '#lib/projections';
import {
  capabilities,
  foreignCode,
  Hypertables,
  queryOn,
  readCatalog,
  rightsDeviations,
  roleNames,
  unruledTables,
} from '#lib/timescale';
import { EVENT_STORE, modelsOf, RunningContexts, tablesOf, type Context } from '#lib/waylog';
import { migrate, runMigrations, validateSchema, withWaylogModels } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { appendRaw } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { camera, GetReadings, Measure, NameCamera, NameLens } from './support/toy-context.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

const quiet = { info: () => undefined, warn: () => undefined };
const noon = '2026-05-01T12:00:00.000Z';

describe.each(logs)('two contexts on one log in %s', (log) => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  let store: EventStore;
  const running = (context: Context) => waylog.app.get(RunningContexts).of(context);
  const tables = (context: Context, from = store) => ({
    ...tablesOf(context, from),
    connectionString: database.url,
  });
  const hold = async (position: string) => waylog.app.get(RunningContexts).waitFor(position, 25_000);
  const settled = async () => hold(await store.head());
  const rowsOf = async (table: string) =>
    (await database.pool.query<Record<string, unknown>>(`select * from ${table} order by 1, 2`)).rows;
  const createFlight = () => waylog.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
  const nameCamera = (name = 'front') => waylog.execute(new NameCamera({ cameraId: 'f1', name }));

  beforeEach(async () => {
    database = await testDatabase(log);
    await migrate(database.url, { contexts: [camera] });
    waylog = await startWaylog(database, { contexts: [flight, camera] });
    store = waylog.app.get<EventStore>(EVENT_STORE);
  });
  afterEach(async () => {
    await waylog.close();
    await database.drop();
  });

  it('keep their tables apart, also where streams, events and tables have the same names', async () => {
    await createFlight();
    await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await settled();
    const before = await tableHashes(database.url);
    const first = await waylog.execute(new NameCamera({ cameraId: 'f1', name: 'front', commandId: 'c1' }));
    expect(first).toMatchObject({ cameraId: 'f1', revision: 0 });
    await waylog.execute(new Measure({ cameraId: 'f1', at: noon, celsius: 21.5 }));
    expect(await waylog.execute(new NameLens({ lensId: 'f1', name: 'wide' }))).toMatchObject({
      lensId: 'f1',
    });
    // A repeat, and refusals of the rules and of the decision.
    expect(
      await waylog.execute(new NameCamera({ cameraId: 'f1', name: 'front', commandId: 'c1' })),
    ).toMatchObject(first);
    await expect(nameCamera('')).rejects.toMatchObject({ code: 'input.invalid' });
    await expect(waylog.execute(new Measure({ cameraId: 'f2', at: noon, celsius: 0 }))).rejects.toMatchObject(
      { code: 'camera.unknown' },
    );
    // Of no context here; the first one is as long as `flight`.
    if (log === 'PostgreSQL')
      for (const stream of ['planes-f1', 'flights-f1', 'flight', 'f1', '-f1'])
        await appendRaw(store, stream, 'FlightDeleted', {});
    await settled();
    expect(await tableHashes(database.url)).toEqual(before);
    expect(await rowsOf('camera.flights')).toEqual([
      { id: 'f1', kind: 'camera', name: 'front' },
      { id: 'f1', kind: 'lens', name: 'wide' },
    ]);
    expect(await waylog.query(new GetReadings('f1'))).toEqual([{ camera: 'f1', at: noon, celsius: 21.5 }]);
    const streams = async (projector: string) =>
      (
        await database.pool.query<{ id: string }>(
          `select stream_id as id from projection.stream_revisions where projector = $1 order by 1`,
          [projector],
        )
      ).rows.map(({ id }) => id);
    expect(await streams('camera')).toEqual(['camera-f1', 'lens-f1']);
    expect(await streams('flight')).toEqual(['flight-f1']);

    for (const context of [camera, flight]) {
      expect(await verify({ ...tables(context), by: 'test' })).toMatchObject({ isSound: true, records: [] });
      await rebuild(tables(context));
    }
    expect(await tableHashes(database.url)).toEqual(before);
    const states = await waylog.app.get(RunningContexts).states(database.pool);
    expect(states.filter(({ projector }) => projector === 'camera')).toMatchObject([
      { projection: 'flights', lagEvents: 0 },
      { projection: 'readings', lagEvents: 0 },
    ]);
  }, 60_000);

  it('have no false findings of each other', async () => {
    await createFlight();
    await nameCamera();
    // Two streams of one context, whose rows begin with the same id.
    await waylog.execute(new NameLens({ lensId: 'f1', name: 'wide' }));
    await settled();
    for (const context of [camera, flight]) {
      const verification = new ScheduledVerification({ ...tables(context), log: quiet, share: 1 });
      verification.start();
      const isDone = async () =>
        (
          await database.pool.query(
            `select from projection.verifications where projector = $1 and last_round_ended_at is not null`,
            [context.name],
          )
        ).rowCount === 1;
      await eventually(isDone);
      await verification.stop();
    }
    expect(await integrityFindings(database.pool)).toEqual([]);

    await database.pool.query(`update camera.flights set name = 'changed' where kind = 'camera'`);
    const open = () => integrityFindings(database.pool, { open: true });
    expect(await verify({ ...tables(flight), by: 'test' })).toMatchObject({ isSound: true });
    await verify({ ...tables(camera), by: 'test' });
    expect(await open()).toMatchObject([{ projector: 'camera', projection: 'flights', key: 'f1' }]);
    await verify({ ...tables(flight), by: 'test' });
    expect(await open()).toHaveLength(1);
    await verify({ ...tables(camera), repair: true, by: 'test' });
    expect(await open()).toEqual([]);
    expect(await rowsOf('camera.flights')).toEqual([
      { id: 'f1', kind: 'camera', name: 'front' },
      { id: 'f1', kind: 'lens', name: 'wide' },
    ]);
  }, 60_000);

  it('are adopted, paused and parked each for itself', async () => {
    await createFlight();
    await nameCamera();
    await settled();
    const flights = running(flight).projector;
    await flights.stop();
    await whileLeading(database.url, 'flight', () => adoptLog({ ...tables(flight), onlyIfWhole: false }));
    flights.start();
    const { position } = await waylog.execute(new Measure({ cameraId: 'f1', at: noon, celsius: 20 }));
    await hold(position);
    expect(await rowsOf('camera.readings')).toHaveLength(1);
    expect(running(camera).projector.status.lastError).toBeUndefined();

    await pauseProjections(database.pool, ['camera'], { reason: 'to look', by: 'test' });
    await waylog.execute(new Measure({ cameraId: 'f1', at: '2026-05-01T13:00:00.000Z', celsius: 21 }));
    const frame = await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await running(flight).watch.waitFor(frame.position, 25_000);
    expect(await rowsOf('camera.readings')).toHaveLength(1);
    const { log: cameraLog, context } = running(camera);
    expect(await projectionStates(database.pool, cameraLog, 'camera', context.projections)).toMatchObject([
      { state: 'paused', lagEvents: 1 },
      { state: 'paused', lagEvents: 1 },
    ]);
    await resumeProjections(database.pool, ['camera']);
    await hold(frame.position);

    await appendRaw(store, 'camera-f1', 'Measured', { at: 'no time', celsius: 21 });
    await settled();
    expect(await parkedStreams(database.pool, 'camera')).toMatchObject([{ streamId: 'camera-f1' }]);
    expect(await parkedStreams(database.pool, 'flight')).toEqual([]);
    const discard = { reason: 'no time', by: 'test' };
    await unpark({ ...tables(camera), pool: database.pool, streamId: 'camera-f1', discard });
    expect(await verify({ ...tables(camera), by: 'test' })).toMatchObject({ isSound: true });
  }, 60_000);

  it('follow a log that has moved, each for itself', async () => {
    await createFlight();
    await nameCamera();
    await settled();
    const before = await rowsOf('camera.flights');
    await running(camera).projector.stop();
    const moved = new InMemoryEventStore();
    // No event keeps its position.
    await appendRaw(moved, 'flight-other', 'Nothing', {});
    await copyLog({ from: store, to: moved });
    const projector = new Projector({
      ...tables(camera, moved),
      name: 'camera',
      pool: database.pool,
      log: quiet,
    });
    projector.start();
    try {
      await appendRaw(moved, 'camera-f2', 'FlightCreated', { name: 'rear' });
      await eventually(async () => (await rowsOf('camera.flights')).length === 2);
      expect(await rowsOf('camera.flights')).toEqual([...before, { id: 'f2', kind: 'camera', name: 'rear' }]);
    } finally {
      await projector.stop();
    }
    // The flight's tables stay with the log that they are of.
    const frame = await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await running(flight).watch.waitFor(frame.position, 25_000);
    expect(await verify({ ...tables(flight), by: 'test' })).toMatchObject({ isSound: true });
  }, 60_000);
});

describe('the tables that a context declares', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(() => database.drop());
  const run = (contexts: readonly Context[], more: object = {}) =>
    runMigrations(database.url, { serviceName: 'waylog', ...more }, { contexts });

  it('are made by migrate, once, for the roles that work with them', async () => {
    const query = queryOn(database.pool);
    expect(await run([flight, camera])).toMatchObject({
      success: true,
      message: 'made camera.flights, camera.readings',
      hypertablesCreated: ['camera.readings'],
    });
    expect((await run([camera])).message).toMatch(/nothing ran/);
    // Also by a program that does not know the context.
    expect(await run([flight])).toMatchObject({ success: true });
    const [app, projector, reader] = roleNames(new URL(database.url).pathname.slice(1)) as [
      string,
      string,
      string,
    ];
    expect(await rightsDeviations(query)).toEqual([]);
    expect(await unruledTables(query, ['camera', 'rebuild_camera', 'verify_camera'])).toEqual([]);
    const { rows } = await database.pool.query(
      `select r as role, string_agg(p, ' ' order by p) as rights
         from unnest($1::text[]) r, unnest('{select,insert,drop}'::text[]) p
        where case p when 'drop' then pg_has_role(r, (select relowner from pg_class where oid = 'camera.readings'::regclass), 'usage')
                     else has_table_privilege(r, 'camera.readings', p) end
        group by 1 order by 1`,
      [[app, projector, reader]],
    );
    expect(rows).toEqual(
      [
        { role: app, rights: 'select' },
        { role: projector, rights: 'drop insert select' },
        { role: reader, rights: 'select' },
      ].sort((a, b) => (a.role < b.role ? -1 : 1)),
    );
    const models = withWaylogModels(modelsOf([flight, camera]));
    expect((await validateSchema(query, 'strict', models)).issues).toEqual([]);
    await database.pool.query(`create function camera.f() returns integer language sql as 'select 1'`);
    expect(await foreignCode(query)).toEqual(['function camera.f()']);
  });

  it('are missed at the start of an application that has the context', async () => {
    await expect(startWaylog(database, { contexts: [flight, camera] })).rejects.toMatchObject({
      code: 'schema.behind',
      message: expect.stringMatching(/lacks the tables camera.flights, camera.readings. Run/) as string,
    });
  });

  it('get the indexes that were declared since, and are checked against the declaration', async () => {
    await migrate(database.url, { contexts: [camera] });
    await database.pool.query(
      `drop index camera.readings_warmest; alter table camera.readings alter celsius drop not null`,
    );
    const models = withWaylogModels(modelsOf([flight, camera]));
    expect(await run([camera])).toMatchObject({ success: true, message: 'made camera.readings_warmest' });
    const catalog = await readCatalog(queryOn(database.pool), ['camera']);
    expect(catalog.get('index camera.readings.readings_warmest')?.definition).toMatch(/celsius DESC/);
    expect((await validateSchema(queryOn(database.pool), 'strict', models)).issues).toMatchObject([
      { category: 'changed-column', location: 'camera.readings.celsius' },
    ]);
  });

  it('are made again in the shape of a new version, and filled from the log', async () => {
    await migrate(database.url, { contexts: [camera] });
    const before = await startWaylog(database, { contexts: [flight, camera] });
    await before.execute(new NameCamera({ cameraId: 'f1', name: 'front' }));
    const { position } = await before.execute(new Measure({ cameraId: 'f1', at: noon, celsius: 20 }));
    await before.app.get(RunningContexts).waitFor(position, 25_000);
    await before.close();
    const [cameras, readings] = camera.projections as [Projection, Projection];
    const table: TableDefinition = {
      ...readings.table,
      columns: { ...readings.table.columns, fahrenheit: 'double precision', note: 'text' },
      nullable: ['note'],
      indexes: { readings_coldest: ['fahrenheit'] },
    };
    const inFahrenheit = new Projection<{ Measured: { at: string; celsius: number } }>(
      'readings',
      2,
      table,
    ).on('Measured', ({ streamId, data }) =>
      upsert({ camera: streamId, ...data, fahrenheit: data.celsius * 1.8 + 32, note: null }),
    );
    const changed: Context = { ...camera, projections: [cameras, inFahrenheit] };
    expect((await run([changed])).message).toMatch(/nothing ran/);
    const after = await startWaylog(database, { contexts: [flight, changed] });
    try {
      const rows = async () => (await database.pool.query(`select * from camera.readings`)).rows as object[];
      await eventually(async () => (await rows()).some((row) => 'fahrenheit' in row));
      expect(await rows()).toMatchObject([{ camera: 'camera-f1', celsius: 20, fahrenheit: 68, note: null }]);
      const models = withWaylogModels(modelsOf([flight, changed]));
      expect((await validateSchema(queryOn(database.pool), 'strict', models)).issues).toEqual([]);
      const catalog = await readCatalog(queryOn(database.pool), ['camera']);
      expect([...catalog.keys()].filter((key) => /^(index|hypertable)/.test(key)).sort()).toEqual([
        'hypertable camera.readings',
        'index camera.readings.readings_coldest',
      ]);
      expect(await rightsDeviations(queryOn(database.pool))).toEqual([]);
    } finally {
      await after.close();
    }
  }, 60_000);

  it('keep retention and compression in a new version that names the key and the time otherwise', async () => {
    await migrate(database.url, { contexts: [camera] });
    const before = await startWaylog(database, { contexts: [flight, camera] });
    await before.execute(new NameCamera({ cameraId: 'f1', name: 'front' }));
    const { position } = await before.execute(new Measure({ cameraId: 'f1', at: noon, celsius: 20 }));
    await before.app.get(RunningContexts).waitFor(position, 25_000);
    await before.close();
    const models = withWaylogModels(modelsOf([flight, camera]));
    const hypertables = new Hypertables(database.pool, models);
    // If the edition cannot compress, the rest is done.
    await hypertables.change('camera.readings', { retentionPeriod: '9000 days', compressAfter: '8000 days' });
    const settings = async () => {
      const { retention, compression } = await hypertables.get('camera.readings');
      return { period: retention.retentionPeriod, after: compression.compressAfter };
    };
    const set = await settings();
    const [cameras, readings] = camera.projections as [Projection, Projection];
    const table: TableDefinition = {
      ...readings.table,
      columns: { device: 'text', measured: 'timestamptz', celsius: 'double precision' },
      key: ['device', 'measured'],
      timeColumn: 'measured',
    };
    const renamed = new Projection<{ Measured: { at: string; celsius: number } }>('readings', 2, table).on(
      'Measured',
      ({ streamId, data: { at, celsius } }) => upsert({ device: streamId, measured: at, celsius }),
    );
    const after = await startWaylog(database, {
      contexts: [flight, { ...camera, projections: [cameras, renamed] }],
    });
    try {
      const rows = async () => (await database.pool.query(`select * from camera.readings`)).rows as object[];
      await eventually(async () => (await rows()).some((row) => 'device' in row));
      expect(await rows()).toMatchObject([{ device: 'camera-f1', celsius: 20 }]);
      expect(await settings()).toEqual(set);
      const { rows: compressed } = await database.pool.query(
        `select segmentby, orderby from timescaledb_information.hypertable_compression_settings
          where hypertable = 'camera.readings'::regclass and segmentby is not null`,
      );
      expect(compressed).toEqual(
        (await capabilities(database.pool)).compression.available
          ? [{ segmentby: 'device', orderby: 'measured' }]
          : [],
      );
    } finally {
      await after.close();
    }
  });

  it('go with the checkpoints that say how far they are folded', async () => {
    await migrate(database.url, { contexts: [camera] });
    const back = await runMigrations(
      database.url,
      { serviceName: 'waylog', targetRevision: '0', confirmDataLoss: true },
      { contexts: [flight, camera] },
    );
    expect(back).toMatchObject({ success: true });
    const { rows } = await database.pool.query(
      `select nspname as name from pg_namespace where nspname ~ '(camera|flight)$'`,
    );
    expect(rows).toEqual([]);
  });
});
