import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { discardReaction } from './operate.js';

describe('deadlines of a thing that has several', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  const left = async () => {
    const { rows } = await database.pool.query<{ key: string }>(
      `select key from projection.sent_deadlines where id = 'order-1' and discarded_by is null order by key`,
    );
    return rows.map(({ key }) => key);
  };

  it('are discarded one by one, or together', async () => {
    await database.pool.query(
      `insert into projection.sent_deadlines (deadline, id, key, revision, due_at, attempts, error)
       select 'payment', 'order-1', key, 1, '2026-01-01', 12, 'refused' from unnest(array['a', 'b', 'c']) key`,
    );
    const why = { reason: 'test', by: 'cli:tester' };
    const discard = (key?: string) => discardReaction(database.pool, 'payment', 'order-1', { key, ...why });
    await expect(discard('d')).rejects.toMatchObject({ code: 'reactor.nothing-waits' });
    await discard('a');
    expect(await left()).toEqual(['b', 'c']);
    await discard();
    expect(await left()).toEqual([]);
  });
});
