import fc from 'fast-check';
import type { JsonObject, RecordedEvent } from '#lib/event-store';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { writeBatch } from './careful-fold.js';
import { foldBatch } from './fold-batch.js';
import {
  Projection,
  remove,
  removeWhere,
  update,
  upsert,
  type Row,
  type RowChange,
  type TableDefinition,
} from './projection.js';
import { MemoryTable } from './row-changes.js';
import { LiveRows } from './table-reads.js';
import { TableWriter } from './table-writer.js';

const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const runs = (every: number) => Number(process.env['WAYLOG_FUZZ_RUNS'] ?? every);

const table: TableDefinition = {
  schema: 'public',
  name: 'of_all_types',
  columns: {
    owner: 'text',
    id: 'integer',
    time: 'timestamptz',
    text: 'text',
    number: 'double precision',
    flag: 'boolean',
    json: 'jsonb',
  },
  key: ['owner', 'id', 'time'],
  timeColumn: 'time',
};
const columns = Object.keys(table.columns);

const projection = new Projection<{ Changed: { readonly changes: readonly RowChange[] } }>(
  'of_all_types',
  1,
  table,
).on('Changed', ({ data }) => data.changes) as unknown as Projection;

// Few keys, so that changes meet; times that differ only in microseconds, and some that are far from the others.
const key = fc.record({
  owner: fc.constantFrom('a', '"{,}\\ null', 'ü\u00a0🚁\u2028'),
  id: fc.constantFrom(0, 1, -2_147_483_648),
  time: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom(
        '2026-05-01T12:00:00.000Z',
        '2026-05-01T12:00:00.000001Z',
        '2026-05-01T12:00:00.000500Z',
        '2026-05-01T12:00:00.000999Z',
        '2026-05-01T12:00:00.001Z',
      ),
    },
    { weight: 1, arbitrary: fc.constantFrom('1970-01-01T00:00:00.000Z', '2199-12-31T23:59:59.999999Z') },
  ),
});
const text = fc.oneof(
  fc.constantFrom('', ' ', 'NULL', 'nUll', '{}', '\\', '"', "'", ',', '\t\n\v\f\r', '\\"', '\ufeff', '$1'),
  fc.string({ unit: 'binary' }).filter((s) => !s.includes('\0')),
);
const number = fc.oneof(
  fc.constantFrom(0, 5e-324, 1e300, -1e300, 0.1, 1e21, 123456789.12345679),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const json = fc
  .jsonValue({ stringUnit: 'grapheme', maxDepth: 3 })
  .filter((value) => !JSON.stringify(value).includes('\\u0000'));
const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null, freq: 5 });
const values = { text: orNull(text), number: orNull(number), flag: orNull(fc.boolean()), json: orNull(json) };
const row = fc.tuple(key, fc.record(values)).map(([k, rest]) => ({ ...k, ...rest }));

/** The changes that folds request: rows, parts of rows, rows that move to another time, and removals of one or of many. */
const changes: fc.Arbitrary<readonly RowChange[]> = fc.oneof(
  { weight: 6, arbitrary: row.map((r) => [upsert(r)]) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(key, fc.record(values, { requiredKeys: [] }))
      .filter(([, set]) => Object.keys(set).length > 0)
      .map(([k, set]) => [update(k, set as Row)]),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(row, key)
      .map(([r, { time }]) => [remove({ owner: r['owner'], id: r['id'], time }), upsert(r)]),
  },
  { weight: 3, arbitrary: fc.array(key, { minLength: 1, maxLength: 3 }).map((keys) => keys.map(remove)) },
  { weight: 1, arbitrary: key.map(({ owner }) => [removeWhere({ owner })]) },
  { weight: 1, arbitrary: key.map(({ owner, id }) => [removeWhere({ owner, id })]) },
  { weight: 1, arbitrary: fc.boolean().map((flag) => [removeWhere({ flag })]) },
);
const log = fc.array(changes, { minLength: 1, maxLength: 60, size: 'max' }).map((all) =>
  all.map((one, n): RecordedEvent => ({
    streamId: 'stream',
    revision: n,
    position: String(n + 1),
    recordedAt: '2026-05-01T12:00:00.000Z',
    id: `event ${n}`,
    type: 'Changed',
    schemaVersion: 1,
    data: { changes: one } as unknown as JsonObject,
    metadata: { commandId: 'c', command: 'C', correlationId: 'c', causationId: 'c', actor: 'a' },
  })),
);
const sizes = fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 8 });

function* batches(events: readonly RecordedEvent[], given: readonly number[]): Generator<RecordedEvent[]> {
  for (let from = 0, i = 0; from < events.length; i++) {
    const size = given[i % given.length] as number;
    yield events.slice(from, from + size);
    from += size;
  }
}

/** As stored, for comparison: -0 is 0, and jsonb does not keep the order of keys. */
const canonical = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(canonical)
    : typeof value === 'object' && value !== null
      ? Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, inner]) => [name, canonical(inner)])
      : value;
const rowsOf = (rows: readonly Row[]) =>
  rows.map((one) => JSON.stringify(columns.map((column) => canonical(one[column] ?? null)))).sort();

function oneByOne(events: readonly RecordedEvent[]): MemoryTable {
  const memory = new MemoryTable(table);
  for (const event of events) for (const change of projection.fold(event)) memory.apply(change);
  return memory;
}

describe('a fold in batches of any sizes', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
    await database.pool.query(
      `create table of_all_types (
         owner text, id integer, time timestamptz, text text, number double precision, flag boolean, json jsonb,
         primary key (owner, id, time))`,
    );
    await database.pool.query(
      `select create_hypertable('of_all_types', 'time', chunk_time_interval => interval '1000 weeks')`,
    );
  });
  afterAll(() => database.drop());

  it('leaves the same rows in memory as the events one by one', () =>
    fc.assert(
      fc.property(log, sizes, (events, given) => {
        const memory = new MemoryTable(table);
        for (const batch of batches(events, given))
          for (const [, all] of foldBatch([projection], batch))
            for (const net of all) {
              for (const where of net.removeWhere) memory.apply(removeWhere(where));
              for (const gone of net.remove) memory.apply(remove(gone));
              for (const changed of net.update) memory.apply(update(changed.key, changed.set));
              for (const written of net.upsert) memory.apply(upsert(written));
            }
        expect(rowsOf(memory.rows())).toEqual(rowsOf(oneByOne(events).rows()));
      }),
      { seed, numRuns: runs(300) },
    ));

  it('leaves the same rows in the table', async () => {
    const client = await database.pool.connect();
    const writers = new Map([[projection, new TableWriter(table)]]);
    try {
      await fc.assert(
        fc.asyncProperty(log, sizes, async (events, given) => {
          await client.query('begin');
          try {
            for (const batch of batches(events, given)) await writeBatch(client, writers, batch);
            const found = await new LiveRows(client).select({ table, where: {}, orderBy: table.key });
            expect(rowsOf(found)).toEqual(rowsOf(oneByOne(events).rows()));
          } finally {
            await client.query('rollback');
          }
        }),
        { seed, numRuns: runs(60) },
      );
    } finally {
      client.release();
    }
  });
});
