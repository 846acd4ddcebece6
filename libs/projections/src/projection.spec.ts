import { Projection, remove, removeWhere, RowError, update, upsert, type RowChange } from './projection.js';

const table = {
  schema: 'survey',
  name: 'plots',
  columns: { id: 'text', name: 'text' },
  nullable: ['name'],
  key: ['id'],
} as const;

describe('a fold', () => {
  const plots = new Projection('plots', 1, table);
  const giving = (change: unknown) => () => plots.check(change as RowChange, 'PlotMarked');

  it.each([
    ['every column', upsert({ id: 'p1', name: null })],
    ['the key to remove', remove({ id: 'p1' })],
    ['what to remove', removeWhere({ name: 'a' })],
    ['what to change', update({ id: 'p1' }, { name: 'a' })],
  ])('gives %s', (_, change) => {
    expect(giving(change)).not.toThrow();
  });

  it.each([
    ['without its column name', upsert({ id: 'p1' })],
    ['without its column name', { kind: 'upsert', row: { id: 'p1', name: undefined } }],
    ['with a column size', upsert({ id: 'p1', name: 'a', size: 1 })],
    ['without its column id', remove({})],
    ['with a column size', removeWhere({ size: 1 })],
    ['without its column id', update({}, { name: 'a' })],
    ['with a column size', update({ id: 'p1' }, { size: 1 })],
    ['without its column name', { kind: 'update', key: { id: 'p1' }, set: { name: undefined } }],
    ['with another id', update({ id: 'p1' }, { id: 'p2' })],
  ])('is refused a row %s', (what, change) => {
    expect(giving(change)).toThrow(RowError);
    expect(giving(change)).toThrow(
      `The projection plots folds PlotMarked into a row of survey.plots ${what}`,
    );
  });
});
