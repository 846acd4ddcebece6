import { flightProjections } from '#lib/flight';
import { tableSql } from '#lib/projections';
import { queryOn, readCatalog } from '#lib/timescale';
import { testDatabase, type TestDatabase } from './support/database.js';

describe('the declared tables of the flight', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  /** The objects of these tables in a schema, and what TimescaleDB and PostgreSQL say besides. */
  async function objectsIn(schema: string): Promise<Map<string, string>> {
    const query = queryOn(database.pool);
    const names = flightProjections.map(({ table }) => table.name);
    const nameless = (text: string) => text.replaceAll(`${schema}.`, '');
    const objects = [...(await readCatalog(query, [schema])).values()]
      .filter(({ of }) => names.includes(nameless(of)))
      .map(
        ({ kind, of, name, definition }) =>
          [`${kind} ${nameless(of)} ${name}`, nameless(definition)] as const,
      );
    const more = await query<{ key: string; definition: string }>(
      `select 'comment ' || relname as key, coalesce(obj_description(oid, 'pg_class'), '') as definition
         from pg_class where relnamespace = $1::regnamespace and relname = any ($2)
        union all
       select format('statistics %s.%s', c.relname, attname), coalesce(attstattarget::text, '-1')
         from pg_attribute a join pg_class c on c.oid = attrelid
        where c.relnamespace = $1::regnamespace and c.relname = any ($2) and attnum > 0
        union all
       select 'interval ' || hypertable_name, time_interval::text
         from timescaledb_information.dimensions where hypertable_schema = $1::text and hypertable_name = any ($2)`,
      [schema, names],
    );
    return new Map([...objects, ...more.map(({ key, definition }) => [key, definition] as const)].sort());
  }

  it('are what the migrations of 0.1 have made', async () => {
    await database.pool.query('create schema declared');
    for (const { table } of flightProjections)
      for (const statement of tableSql(table, 'declared')) await database.pool.query(statement);
    expect(await objectsIn('declared')).toEqual(await objectsIn('flight'));
  });
});
