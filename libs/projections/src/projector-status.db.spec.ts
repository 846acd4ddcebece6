import { openSession } from '#lib/platform';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { reportProjector } from './projector-status.js';
import { eventually } from '../../../test/support/eventually.js';

describe('the reported state of a projector', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('counts while its session exists, which holds the lead', async () => {
    const leader = await openSession({ connectionString: database.url, applicationName: 'leader' });
    const say = (eventsFolded: number) =>
      reportProjector(database.pool, 'flight', leader, {
        ...{ state: 'active', position: undefined, eventsFolded, lastError: undefined, eventsPerSecond: 0 },
      });
    const said = async () =>
      (await database.pool.query<{ n: string }>(`select events_folded as n from projection.projectors`)).rows;
    await say(1);
    expect(await said()).toEqual([{ n: '1' }]);

    const { rows } = await leader.query<{ pid: number }>('select pg_backend_pid() as pid');
    await leader.end();
    const alive = `select from pg_stat_activity where pid = $1`;
    await eventually(async () => (await database.pool.query(alive, [rows[0]?.pid])).rowCount === 0);
    await say(2);
    expect(await said()).toEqual([{ n: '1' }]);
  });
});
