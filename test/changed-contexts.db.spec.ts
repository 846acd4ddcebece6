import type { EventStore } from '#lib/event-store';
import { flight } from '#lib/flight';
import { EVENT_STORE, RunningContexts, type Context } from '#lib/waylog';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { camera, Measure, NameCamera } from './support/toy-context.js';
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
});
