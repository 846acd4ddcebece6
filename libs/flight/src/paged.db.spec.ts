import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { flightsTable } from './flight/flights.projection.js';
import { readPage, type PagedList } from './paged.js';

describe('a page of a list', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
    await database.pool.query(`
      insert into flight.flights (id, name, description, start_lat, start_lon, altitude, camera_params, created_at, updated_at)
      select 'f' || n, 'a', '', 0, 0, 0, '{}', now(), now() from generate_series(1, 2) as n`);
  });
  afterAll(() => database.drop());

  const flights: PagedList = {
    table: flightsTable,
    from: 'flight.flights t',
    where: 'true',
    orderBy: 't.id',
  };

  // Text is made into rows in this process, and nobody else is served meanwhile.
  it.each([100, 101])('of %s lets others go on between two rows that take long', async (limit) => {
    const order: unknown[] = [];
    await readPage(database.pool, flights, [], { limit }, ({ id }) => {
      if (order.length === 0) setImmediate(() => order.push('another'));
      for (const began = performance.now(); performance.now() - began < 20;);
      order.push(id);
    });
    expect(order).toEqual(['f1', 'another', 'f2']);
  });
});
