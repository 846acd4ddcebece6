import { verifyAudit } from '#lib/audit';
import { DataKeys, type EventStore, type JsonObject } from '#lib/event-store';
import { flight } from '#lib/flight';
import { Projection, upsert } from '#lib/projections';
import { queryOn } from '#lib/timescale';
import { EVENT_STORE, modelsOf, RunningContexts, type Context } from '#lib/waylog';
import { migrate, validateSchema, withWaylogModels } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import {
  camera,
  cameraStream,
  EraseCamera,
  Measure,
  NameCamera,
  NameLens,
  readingsTable,
  thingsTable,
} from './support/toy-context.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

const noon = '2026-05-01T12:00:00.000Z';
const one = '2026-05-01T13:00:00.000Z';

describe.each(logs)('a context that is declared in another way than before, with the log in %s', (log) => {
  let database: TestDatabase;
  let stop = (): Promise<void> => Promise.resolve();
  const rowsOf = async (table: string) =>
    (await database.pool.query<Record<string, unknown>>(`select * from ${table} order by 1, 2`)).rows;
  /** Until it stops, which the end of a test does as well. */
  const start = async (context: Context): Promise<RunningWaylog> => {
    const running = await startWaylog(database, { contexts: [flight, context] });
    stop = () => running.close();
    return running;
  };
  const settled = async ({ app }: RunningWaylog) =>
    app.get(RunningContexts).waitFor(await app.get<EventStore>(EVENT_STORE).head(), 25_000);
  const measure = (running: RunningWaylog, at: string) =>
    running.execute(new Measure({ cameraId: 'f1', at, celsius: 20 }));

  beforeEach(async () => {
    database = await testDatabase(log);
    await migrate(database.url, { contexts: [camera] });
    const running = await start(camera);
    await running.execute(new NameCamera({ cameraId: 'f1', name: 'front' }));
    await measure(running, noon);
    await settled(running);
    await running.close();
  });
  afterEach(async () => {
    await stop();
    await database.drop();
  });

  it('folds a table again that was taken out for a while', async () => {
    const without = { ...camera, projections: camera.projections.filter(({ name }) => name !== 'readings') };
    const meanwhile = await start(without);
    await measure(meanwhile, one);
    await settled(meanwhile);
    expect(await rowsOf('camera.readings')).toHaveLength(1);
    await meanwhile.close();

    const back = await start(camera);
    await settled(back);
    expect(await rowsOf('camera.readings')).toMatchObject([{ at: new Date(noon) }, { at: new Date(one) }]);
    await measure(back, '2026-05-01T14:00:00.000Z');
    await settled(back);
    expect(await rowsOf('camera.readings')).toHaveLength(3);
  });

  const kelvin = (version: number): Context => ({
    ...camera,
    projections: camera.projections.map((projection) =>
      projection.name === 'readings'
        ? new Projection('readings', version, {
            ...readingsTable,
            columns: { ...readingsTable.columns, kelvin: 'double precision' },
          }).on('Measured', ({ streamId, data }) =>
            upsert({
              camera: cameraStream.category.idOf(streamId),
              ...data,
              kelvin: Number(data['celsius']) + 273.15,
            }),
          )
        : projection,
    ),
  });

  it('does not start with a column that no new version makes, and says so', async () => {
    await expect(start(kelvin(1))).rejects.toMatchObject({
      code: 'projection.changed',
      message: expect.stringMatching(
        /table camera\.readings has no column kelvin\. Raise the version of the projection readings \(it is 1\)/,
      ) as string,
    });
    const asked = await validateSchema(
      queryOn(database.pool),
      'basic',
      withWaylogModels(modelsOf([flight, kelvin(1)])),
    );
    expect(asked.issues).toMatchObject([
      {
        category: 'missing-column',
        location: 'camera.readings.kelvin',
        suggestion: expect.stringMatching(/^Raise the version of the projection readings/) as string,
      },
    ]);
    await start(kelvin(2));
    const isMadeAgain = async () => 'kelvin' in ((await rowsOf('camera.readings'))[0] ?? {});
    await eventually(isMadeAgain);
    expect(await rowsOf('camera.readings')).toMatchObject([{ celsius: 20, kelvin: 293.15 }]);
  });

  it('has a column from the start where nothing was folded yet', async () => {
    await database.pool.query(`delete from projection.checkpoints where projector = 'camera'`);
    await database.pool.query(`delete from projection.stream_revisions where projector = 'camera'`);
    await database.pool.query(`delete from projection.folded_log where projector = 'camera'`);
    const running = await start(kelvin(1));
    await settled(running);
    expect(await rowsOf('camera.readings')).toMatchObject([{ celsius: 20, kelvin: 293.15 }]);
  });

  it.each([
    ['lacks a column', { kind: 'camera' }, 'without its column name'],
    ['has one that is not declared', { kind: 'camera', name: 'x', lens: 'y' }, 'with a column lens'],
  ])('refuses an erasure whose row %s, before the key is gone', async (_, row, why) => {
    const things = new Projection('flights', 2, thingsTable)
      .on('FlightCreated', ({ data }) => upsert({ id: 'f1', kind: 'camera', name: data['name'] as string }))
      .on('NameErased', () => upsert({ id: 'f1', ...row }));
    const running = await start({ ...camera, projections: [things] });
    await expect(running.execute(new EraseCamera({ cameraId: 'f1' }))).rejects.toThrow(
      `The projection flights folds NameErased into a row of camera.flights ${why}`,
    );
    // As before: it can still be read, and be erased once the fold is right.
    const { rows } = await database.pool.query(
      `select from log.data_keys where stream_id = 'camera-f1' and key is not null`,
    );
    expect(rows).toHaveLength(1);
  });

  it('knows what it has erased when it is gone, and still tells a lost key', async () => {
    const running = await start(camera);
    await running.execute(new NameLens({ lensId: 'l1', name: 'wide' }));
    await running.execute(new EraseCamera({ cameraId: 'f1' }));
    await running.close();

    const without = await startWaylog(database, { contexts: [flight] });
    stop = () => without.close();
    const store = without.app.get<EventStore>(EVENT_STORE);
    const dataOf = async (streamId: string) => {
      const all: JsonObject[] = [];
      for await (const page of store.readStream(streamId)) all.push(...page.map(({ data }) => data));
      return all;
    };
    expect(await dataOf('camera-f1')).toHaveLength(3);
    expect(await dataOf('lens-l1')).toEqual([{ name: 'wide' }]);
    const audit = () =>
      verifyAudit({
        pool: database.pool,
        keys: new Map(),
        vocabulary: without.app.get(RunningContexts).vocabulary,
      });
    if (log === 'PostgreSQL') expect((await audit()).problems).toEqual([]);

    await database.pool.query(`update log.data_keys set key = null where stream_id = 'lens-l1'`);
    without.app.get(DataKeys).forgetAll();
    await expect(dataOf('lens-l1')).rejects.toMatchObject({ code: 'event.unreadable' });
    if (log === 'PostgreSQL')
      expect((await audit()).problems).toMatchObject([{ code: 'key-missing', streamId: 'lens-l1' }]);
  });
});
