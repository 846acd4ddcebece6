import {
  copyLog,
  DataKeys,
  InMemoryEventStore,
  openEventStore,
  PartOfLog,
  type EventStore,
} from '#lib/event-store';
import { CreateFlight, SaveFrameResult, flight } from '#lib/flight';
import {
  adoptLog,
  CheckpointWatch,
  integrityFindings,
  parkedStreams,
  pauseProjections,
  Projection,
  projectionStates,
  Projector,
  rebuild,
  removeWhere,
  resumeProjections,
  ScheduledVerification,
  unpark,
  upsert,
  verify,
  whileLeading,
  type TableDefinition,
} from '#lib/projections';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { appendRaw } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';
import { tablesOf } from '#lib/waylog';

// Cameras and their lenses beside the flights: another context on the same log, with a table that has the name of one
// of the flight's.
const camerasTable: TableDefinition = {
  schema: 'camera',
  name: 'flights',
  columns: { id: 'text', name: 'text' },
  key: ['id'],
};
const readingsTable: TableDefinition = {
  schema: 'camera',
  name: 'readings',
  columns: { camera: 'text', at: 'timestamptz', celsius: 'double precision' },
  key: ['camera', 'at'],
  timeColumn: 'at',
};
interface CameraEvents {
  FlightCreated: { readonly name: string };
  FlightDeleted: object;
  Measured: { readonly at: string; readonly celsius: number };
}
const idOf = ({ streamId }: { readonly streamId: string }) => streamId.slice(streamId.indexOf('-') + 1);
const projections = [
  new Projection<CameraEvents>('flights', 1, camerasTable)
    .on('FlightCreated', (event) => upsert({ id: idOf(event), name: event.data.name }))
    .on('FlightDeleted', (event) => removeWhere({ id: idOf(event) })),
  new Projection<CameraEvents>('readings', 1, readingsTable)
    .on('Measured', (event) => upsert({ camera: idOf(event), ...event.data }))
    .on('FlightDeleted', (event) => removeWhere({ camera: idOf(event) })),
] as unknown as readonly Projection[];

const quiet = { info: () => undefined, warn: () => undefined };
const CATEGORIES = ['camera', 'lens'];

describe.each(logs)('two contexts on one log in %s', (log) => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  let cameras: Projector;
  let store: EventStore;
  const cameraLog = () => new PartOfLog(store, CATEGORIES);
  const camerasOf = () => ({
    projector: 'camera',
    projections,
    keyOf: (streamId: string) => idOf({ streamId }),
    store: cameraLog(),
    connectionString: database.url,
  });
  const flightsOf = () => ({
    ...tablesOf(flight, store),
    connectionString: database.url,
  });
  const startCameras = () => {
    cameras = new Projector({
      name: 'camera',
      projections,
      store: cameraLog(),
      pool: database.pool,
      connectionString: database.url,
      log: quiet,
    });
    cameras.start();
  };
  const watchOf = () =>
    new CheckpointWatch(database.pool, database.listener, cameraLog(), {
      projector: 'camera',
      names: projections.map(({ name }) => name),
    });
  const camerasHold = async (position: string) => {
    const watch = watchOf();
    await watch.waitFor(position, 25_000).finally(() => watch.close());
  };
  const flightsHold = (position: string) => flightOf(waylog.app).watch.waitFor(position, 25_000);
  const rowsOf = async (table: string) =>
    (await database.pool.query<Record<string, unknown>>(`select * from ${table} order by 1, 2`)).rows;

  beforeEach(async () => {
    database = await testDatabase(log);
    await database.pool.query(`
      create schema camera;
      create table camera.flights (id text collate "C" primary key, name text not null);
      create table camera.readings (
        camera text collate "C" not null, at timestamptz not null, celsius double precision not null, primary key (camera, at));
      select create_hypertable('camera.readings', by_range('at', interval '1 day'), create_default_indexes => false)`);
    waylog = await startWaylog(database);
    store = await openEventStore({
      ...database,
      keys: new DataKeys(database.pool),
      vocabulary: { ...flight.vocabulary, camera: {}, lens: {} },
    });
    startCameras();
  });
  afterEach(async () => {
    await cameras.stop();
    await store.close();
    await waylog.close();
    await database.drop();
  });

  it('keep their tables apart, also where streams, events and tables have the same names', async () => {
    await waylog.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
    const { position } = await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await flightsHold(position);
    const before = await tableHashes(database.url);
    await appendRaw(store, 'camera-f1', 'FlightCreated', { name: 'front' });
    await appendRaw(store, 'camera-f1', 'Measured', { at: '2026-05-01T12:00:00.000Z', celsius: 21.5 });
    await appendRaw(store, 'lens-f1', 'FlightCreated', { name: 'wide' });
    // Of no context here; the first one is as long as `flight`.
    if (log === 'PostgreSQL')
      for (const stream of ['planes-f1', 'flights-f1', 'flight', 'f1', '-f1'])
        await appendRaw(store, stream, 'FlightDeleted', {});
    const head = await store.head();
    await Promise.all([camerasHold(head), flightsHold(head)]);
    expect(await tableHashes(database.url)).toEqual(before);
    expect(await rowsOf('camera.flights')).toEqual([{ id: 'f1', name: 'wide' }]);
    expect(await rowsOf('camera.readings')).toEqual([
      { camera: 'f1', at: new Date('2026-05-01T12:00:00.000Z'), celsius: 21.5 },
    ]);
    const streams = async (projector: string) =>
      (
        await database.pool.query<{ id: string }>(
          `select stream_id as id from projection.stream_revisions where projector = $1 order by 1`,
          [projector],
        )
      ).rows.map(({ id }) => id);
    expect(await streams('camera')).toEqual(['camera-f1', 'lens-f1']);
    expect(await streams(flight.name)).toEqual(['flight-f1']);

    for (const options of [camerasOf(), flightsOf()]) {
      expect(await verify({ ...options, by: 'test' })).toMatchObject({ isSound: true, records: [] });
      await rebuild(options);
    }
    expect(await tableHashes(database.url)).toEqual(before);
    const states = await projectionStates(database.pool, cameraLog(), 'camera', projections);
    expect(states).toMatchObject([
      { projection: 'flights', projector: 'camera', lagEvents: 0 },
      { projection: 'readings', projector: 'camera', lagEvents: 0 },
    ]);
  }, 60_000);

  it('have no false findings of each other', async () => {
    await waylog.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
    await appendRaw(store, 'camera-f1', 'FlightCreated', { name: 'front' });
    const head = await store.head();
    await Promise.all([camerasHold(head), flightsHold(head)]);
    for (const options of [camerasOf(), flightsOf()]) {
      const { projector } = options;
      const verification = new ScheduledVerification({ ...options, log: quiet, share: 1 });
      verification.start();
      const isDone = async () =>
        (
          await database.pool.query(
            `select from projection.verifications where projector = $1 and last_round_ended_at is not null`,
            [projector],
          )
        ).rowCount === 1;
      await eventually(isDone);
      await verification.stop();
    }
    expect(await integrityFindings(database.pool)).toEqual([]);

    await database.pool.query(`update camera.flights set name = 'changed'`);
    expect(await verify({ ...flightsOf(), by: 'test' })).toMatchObject({ isSound: true });
    await verify({ ...camerasOf(), by: 'test' });
    expect(await integrityFindings(database.pool, { open: true })).toMatchObject([
      { projector: 'camera', projection: 'flights', key: 'f1' },
    ]);
    await verify({ ...flightsOf(), by: 'test' });
    expect(await integrityFindings(database.pool, { open: true })).toHaveLength(1);
    await verify({ ...camerasOf(), repair: true, by: 'test' });
    expect(await integrityFindings(database.pool, { open: true })).toEqual([]);
    expect(await rowsOf('camera.flights')).toEqual([{ id: 'f1', name: 'front' }]);
  }, 60_000);

  it('are adopted, paused and parked each for itself', async () => {
    await waylog.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
    await appendRaw(store, 'camera-f1', 'FlightCreated', { name: 'front' });
    let head = await store.head();
    await Promise.all([camerasHold(head), flightsHold(head)]);
    await flightOf(waylog.app).projector.stop();
    await whileLeading(database.url, flight.name, () => adoptLog({ ...flightsOf(), onlyIfWhole: false }));
    flightOf(waylog.app).projector.start();
    await appendRaw(store, 'camera-f1', 'Measured', { at: '2026-05-01T12:00:00.000Z', celsius: 20 });
    await camerasHold(await store.head());
    expect(await rowsOf('camera.readings')).toHaveLength(1);
    expect(cameras.status.lastError).toBeUndefined();

    await pauseProjections(database.pool, ['camera'], { reason: 'to look', by: 'test' });
    await appendRaw(store, 'camera-f1', 'Measured', { at: '2026-05-01T13:00:00.000Z', celsius: 21 });
    await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    head = await store.head();
    await flightsHold(head);
    expect(await rowsOf('camera.readings')).toHaveLength(1);
    expect(await projectionStates(database.pool, cameraLog(), 'camera', projections)).toMatchObject([
      { state: 'paused', lagEvents: 1 },
      { state: 'paused', lagEvents: 1 },
    ]);
    await resumeProjections(database.pool, ['camera']);
    await camerasHold(head);

    await appendRaw(store, 'camera-f1', 'Measured', { at: 'no time', celsius: 21 });
    await camerasHold(await store.head());
    expect(await parkedStreams(database.pool, 'camera')).toMatchObject([{ streamId: 'camera-f1' }]);
    expect(await parkedStreams(database.pool, flight.name)).toEqual([]);
    const discard = { reason: 'no time', by: 'test' };
    await unpark({ ...camerasOf(), pool: database.pool, streamId: 'camera-f1', discard });
    expect(await verify({ ...camerasOf(), by: 'test' })).toMatchObject({ isSound: true });
  }, 60_000);

  it('follow a log that has moved, each for itself', async () => {
    await waylog.execute(new CreateFlight({ flight: aFlight('f1', 2) }));
    await appendRaw(store, 'camera-f1', 'FlightCreated', { name: 'front' });
    const head = await store.head();
    await Promise.all([camerasHold(head), flightsHold(head)]);
    const before = await rowsOf('camera.flights');
    await cameras.stop();
    const moved = new InMemoryEventStore();
    // No event keeps its position.
    await appendRaw(moved, 'flight-other', 'Nothing', {});
    await copyLog({ from: store, to: moved });
    const here = store;
    store = moved;
    startCameras();
    await appendRaw(moved, 'camera-f2', 'FlightCreated', { name: 'rear' });
    await camerasHold(await moved.head());
    expect(await rowsOf('camera.flights')).toEqual([...before, { id: 'f2', name: 'rear' }]);
    // The flight's tables stay with the log that they are of.
    store = here;
    await waylog.execute(new SaveFrameResult({ flightId: 'f1', frame: aFrame(1) }));
    await flightsHold(await here.head());
    expect(await verify({ ...flightsOf(), by: 'test' })).toMatchObject({ isSound: true });
  }, 60_000);
});
