import type { RecordedEvent } from '#lib/event-store';
import { byType, foldEvent } from './fold-batch.js';
import type { Projection, TableDefinition } from './projection.js';
import { MemoryTable } from './row-changes.js';
import { MemoryRows } from './table-reads.js';

/** The rows that these events give, through the same folds that write the tables. Throws `FoldError`. */
export async function foldInMemory(
  projections: readonly Projection[],
  pages: AsyncIterable<readonly RecordedEvent[]>,
): Promise<MemoryRows> {
  const tables = new Map<TableDefinition, MemoryTable>(
    projections.map(({ table }) => [table, new MemoryTable(table)]),
  );
  const folds = byType(projections, ({ table }) => tables.get(table) as MemoryTable);
  for await (const page of pages) {
    for (const event of page) {
      for (const [projection, table] of folds.get(event.type) ?? []) {
        foldEvent(projection, event, (change) => table.apply(change));
      }
    }
  }
  return new MemoryRows(tables);
}
