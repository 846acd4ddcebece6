import { answerTooLarge, type Queryable } from '#lib/platform';
import type { TableDefinition } from './projection.js';
import { LiveRows } from './table-reads.js';

const table: TableDefinition = {
  schema: 'toy',
  name: 'notes',
  columns: { id: 'integer', text: 'text', at: 'timestamptz' },
  key: ['id'],
};

describe('rows of the tables', () => {
  const N = 200_000;
  const column = (value: (n: number) => unknown) =>
    JSON.stringify(Array.from({ length: N }, (_, n) => value(n)));
  const arrays = [
    column((n) => n),
    column((n) => (n % 2 === 0 ? `note ${n}` : null)),
    column(() => '2026-05-01T12:00:00.123456+00:00'),
  ];
  const pool = { query: () => Promise.resolve({ rows: [arrays] }) } as unknown as Queryable;
  const read = { table, where: {}, orderBy: ['id'] };

  it('are created from their columns, and other work runs meanwhile', async () => {
    let turns = 0;
    let isDone = false;
    const others = () => {
      turns++;
      if (!isDone) setImmediate(others);
    };
    const reading = new LiveRows(pool).select(read);
    setImmediate(others);
    const rows = await reading;
    isDone = true;
    expect(turns).toBeGreaterThan(1);
    expect(rows).toHaveLength(N);
    expect(rows[1]).toEqual({ id: 1, text: null, at: '2026-05-01T12:00:00.123456Z' });
    expect(rows.at(-2)).toEqual({ id: N - 2, text: `note ${N - 2}`, at: '2026-05-01T12:00:00.123456Z' });
  });

  it('are not created from more text than allowed', async () => {
    const length = arrays.join('').length;
    await expect(new LiveRows(pool, length).select(read)).resolves.toHaveLength(N);
    await expect(new LiveRows(pool, length - 1).select(read)).rejects.toThrow(answerTooLarge());
  });

  it('that are large are read a few at a time, until there is more text than they may have', async () => {
    const asked: string[] = [];
    const row = ['1', 'x'.repeat(1_000), '2026-05-01 12:00:00+00'];
    const client = {
      query: (ask: string | { text: string }) => {
        const text = typeof ask === 'string' ? ask : ask.text;
        asked.push(text.trim().split(' ')[0] ?? '');
        return Promise.resolve({ rows: text.startsWith('fetch 5') ? Array(5).fill(row) : [] });
      },
      release: () => asked.push('release'),
    };
    const endless = { connect: () => Promise.resolve(client) } as unknown as Queryable;
    await expect(new LiveRows(endless, 12_000).select({ ...read, slice: 5 })).rejects.toThrow(
      answerTooLarge(),
    );
    expect(asked).toEqual(['begin', 'declare', 'fetch', 'fetch', 'fetch', 'rollback', 'release']);
  });
});
