import { seededRandom } from '#lib/platform';
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
import { ChangeSet, MemoryTable } from './row-changes.js';

const table: TableDefinition = {
  schema: 's',
  name: 't',
  columns: { owner: 'text', id: 'integer', time: 'text', value: 'integer', mark: 'integer' },
  key: ['owner', 'id', 'time'],
};

/**
 * Changes as the folds request them: rows, rows that move to another time, removals, and owners that are removed with
 * all they have. Some remove by what changes in part.
 */
function randomChanges(count: number, random: () => number): RowChange[] {
  const pick = (n: number) => Math.floor(random() * n);
  return Array.from({ length: count }, (_, value): RowChange[] => {
    const key = { owner: `o${pick(3)}`, id: pick(4), time: `t${pick(3)}` };
    const kind = random();
    const mark = pick(3);
    if (kind < 0.3) return [upsert({ ...key, value, mark })];
    if (kind < 0.5) return [update(key, { value })];
    if (kind < 0.6) return [update(key, { mark })];
    if (kind < 0.75) return [remove({ ...key, time: `t${pick(3)}` }), upsert({ ...key, value, mark })];
    if (kind < 0.88) return [remove(key)];
    if (kind < 0.94) return [removeWhere({ owner: key.owner, mark })];
    return [removeWhere({ owner: key.owner })];
  }).flat();
}

const sorted = (rows: Row[]) => rows.map((row) => JSON.stringify(row)).sort();

describe('coalesced changes', () => {
  it('leave the same rows as the changes one by one, however the events are cut into batches', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = seededRandom(seed);
      const changes = randomChanges(80, random);
      const oneByOne = new MemoryTable(table);
      for (const change of changes) oneByOne.apply(change);

      const inBatches = new MemoryTable(table);
      for (let from = 0; from < changes.length;) {
        const size = 1 + Math.floor(random() * 30);
        const batch = new ChangeSet(table);
        for (const change of changes.slice(from, from + size)) batch.add(change);
        // The steps in which a table is written.
        for (const net of batch.net()) {
          for (const where of net.removeWhere) inBatches.apply(removeWhere(where));
          for (const key of net.remove) inBatches.apply(remove(key));
          for (const { key, set } of net.update) inBatches.apply(update(key, set));
          for (const row of net.upsert) inBatches.apply(upsert(row));
        }
        from += size;
      }
      expect({ seed, rows: sorted(inBatches.rows()) }).toEqual({ seed, rows: sorted(oneByOne.rows()) });
    }
  });

  it('write each key at most once, and nothing that is removed again', () => {
    const changes = new ChangeSet(table);
    const key = { owner: 'o', id: 1, time: 't' };
    const row = (value: number) => ({ ...key, value, mark: 0 });
    const nothing = { removeWhere: [], remove: [], update: [], upsert: [] };
    for (let value = 0; value < 10; value++) changes.add(upsert(row(value)));
    changes.add(update(key, { value: 10 }));
    expect(changes.net()).toEqual([{ ...nothing, upsert: [row(10)] }]);
    const more = new ChangeSet(table);
    more.add(upsert(row(1)));
    more.add(removeWhere({ owner: 'o' }));
    expect(more.net()).toEqual([{ ...nothing, removeWhere: [{ owner: 'o' }] }]);
  });

  it('change a row in part once, with all that was said of it', () => {
    const changes = new ChangeSet(table);
    const key = { owner: 'o', id: 1, time: 't' };
    changes.add(update(key, { value: 1 }));
    changes.add(update(key, { mark: 2 }));
    changes.add(update(key, { value: 3 }));
    expect(changes.net()).toEqual([
      { removeWhere: [], remove: [], update: [{ key, set: { value: 3, mark: 2 } }], upsert: [] },
    ]);
  });
});

describe('a projection', () => {
  it('writes an instant in one form, so that two spellings of it are one key', () => {
    const projection = new Projection<{ Measured: { at: string } }>('readings', 1, {
      schema: 's',
      name: 'readings',
      columns: { at: 'timestamptz', said: 'text' },
      key: ['at'],
    }).on('Measured', ({ data }) => [
      remove({ at: data.at }),
      removeWhere({ at: data.at }),
      upsert({ at: data.at, said: data.at }),
    ]);
    const changes = ['2026-05-01T01:00:00+01:00', '2026-05-01T00:00:00Z'].flatMap((at) =>
      projection.fold({ type: 'Measured', data: { at } } as unknown as Parameters<typeof projection.fold>[0]),
    );
    const rows = new MemoryTable(projection.table);
    const net = new ChangeSet(projection.table);
    for (const change of changes) {
      rows.apply(change);
      net.add(change);
    }
    // What is no time stays as it was written.
    const last = { at: '2026-05-01T00:00:00.000Z', said: '2026-05-01T00:00:00Z' };
    expect(rows.rows()).toEqual([last]);
    expect(net.net().map((changes) => changes.upsert)).toEqual([[last]]);
  });
});
