import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { readPage, type Page, type PagedList, type PageOf } from './paged.js';

describe('a page of a list', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
    await database.pool.query(`
      insert into flight.flights (id, name, description, start_lat, start_lon, altitude, camera_params, created_at, updated_at)
      select 'f' || n, 'a', '', 0, 0, 0, '{}', now(), now() from generate_series(1, 2) as n;
      insert into flight.flights (id, name, description, start_lat, start_lon, altitude, camera_params, created_at, updated_at)
      select 'later-' || n, 'b', '', 0, 0, 0, '{}', '2100-01-01T00:00:00.123456Z'::timestamptz + n / 3 * interval '1 us', now()
        from generate_series(1, 8) as n`);
  });
  afterAll(() => database.drop());

  const flights: PagedList = {
    table: {
      schema: 'flight',
      name: 'flights',
      columns: { id: 'text', name: 'text', created_at: 'timestamptz' },
      key: ['id'],
    },
    from: 'flight.flights t',
    orderBy: ['created_at', 'id'],
  };

  // Text is made into rows in this process, and other requests wait meanwhile.
  it.each([100, 101])('of %s lets other work run between two rows that take long', async (limit) => {
    const order: unknown[] = [];
    await readPage(database.pool, flights, [['t.name =', 'a']], { limit }, ({ id }) => {
      if (order.length === 0) setImmediate(() => order.push('another'));
      for (const began = performance.now(); performance.now() - began < 20;);
      order.push(id);
    });
    expect(order).toEqual(['f1', 'another', 'f2']);
  });

  const page = (of: PageOf & { limit?: number }) =>
    readPage(database.pool, flights, [['t.name =', 'b']], of, ({ id }) => id);

  // Three share each time, so that a page ends within one.
  it.each([1, 2, 3, 4, 8])('by `after` has each row once, %s at a time', async (limit) => {
    const ids: unknown[] = [];
    const lengths: number[] = [];
    let after: string | null = null;
    do {
      const { items, next, total }: Page<unknown> = await page({ limit, after });
      expect(total).toBe(8);
      ids.push(...items);
      lengths.push(items.length);
      after = next;
    } while (after !== null);
    expect(ids).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `later-${n}`));
    expect(lengths).toHaveLength(Math.ceil(8 / limit));
  });

  it('continues after a row that was removed since', async () => {
    const { next } = await page({ limit: 3 });
    await database.pool.query(`delete from flight.flights where id = 'later-3'`);
    expect((await page({ limit: 2, after: next })).items).toEqual(['later-4', 'later-5']);
  });

  it('counts only if requested', async () => {
    expect(await page({ limit: 3, total: false })).toMatchObject({ total: null, next: expect.any(String) });
  });

  it.each([
    'x',
    'e30',
    Buffer.from('["2026-02-31T00:00:00Z","a"]').toString('base64url'),
    Buffer.from('[1,2]').toString('base64url'),
    Buffer.from('["2026-02-01T00:00:00Z","a\\u0000"]').toString('base64url'),
  ])('refuses an `after` that is not from a page: %s', async (after) => {
    await expect(page({ after })).rejects.toMatchObject({ code: 'input.invalid' });
  });
});
