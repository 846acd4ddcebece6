import { namesOfTables } from '#lib/waylog';
import { contexts } from '../../../contexts.js';

// What exists in any Waylog with these contexts, for the page of the API to fill in.

const [first] = contexts;
const [stream] = first?.streams ?? [];
const [, projection] = namesOfTables(contexts).keys();
const hypertable = contexts
  .flatMap(({ projections }) => projections)
  .find(({ table }) => table.timeColumn)?.table;

export const samples = {
  projector: first?.name,
  projection,
  stream: stream && stream.category.streamOf(first?.examples?.ids[stream.category.name] ?? '1'),
  table: hypertable && `${hypertable.schema}.${hypertable.name}`,
};
