import { textOf, type Row, type RowChange, type TableDefinition, type Value } from './projection.js';

/** The net effect of many row changes: first `removeWhere`, then `remove`, then `upsert`. */
export interface NetChanges {
  readonly removeWhere: readonly Row[];
  readonly remove: readonly Row[];
  readonly upsert: readonly Row[];
}

/**
 * Coalesces changes to one table as they come: the last write of a key wins, rows that are removed later are not
 * written at all, and the result can be applied in three steps whatever the order was.
 */
export class ChangeSet {
  readonly #rows = new Map<string, Row>();
  readonly #removed = new Map<string, Row>();
  readonly #removedWhere: Row[] = [];

  constructor(private readonly table: TableDefinition) {}

  get isEmpty(): boolean {
    return this.#rows.size === 0 && this.#removed.size === 0 && this.#removedWhere.length === 0;
  }

  add(change: RowChange): void {
    switch (change.kind) {
      case 'upsert':
        this.#rows.set(keyOf(this.table, change.row), change.row);
        break;
      case 'remove': {
        const key = keyOf(this.table, change.key);
        this.#rows.delete(key);
        this.#removed.set(key, change.key);
        break;
      }
      case 'removeWhere':
        for (const [key, row] of this.#rows) if (matches(row, change.where)) this.#rows.delete(key);
        this.#removedWhere.push(change.where);
    }
  }

  net(): NetChanges {
    // A key that is written in the end need not be removed before: the upsert replaces every column.
    for (const key of this.#rows.keys()) this.#removed.delete(key);
    return {
      removeWhere: this.#removedWhere,
      remove: [...this.#removed.values()],
      upsert: [...this.#rows.values()],
    };
  }
}

/** The rows of one table in memory, changed in the same way as the table would be: `asOf` reads use them. */
export class MemoryTable {
  readonly #rows = new Map<string, Row>();

  constructor(private readonly table: TableDefinition) {}

  apply(change: RowChange): void {
    switch (change.kind) {
      case 'upsert':
        this.#rows.set(keyOf(this.table, change.row), change.row);
        break;
      case 'remove':
        this.#rows.delete(keyOf(this.table, change.key));
        break;
      case 'removeWhere':
        for (const [key, row] of this.#rows) if (matches(row, change.where)) this.#rows.delete(key);
    }
  }

  rows(): Row[] {
    return [...this.#rows.values()];
  }
}

function keyOf({ key }: TableDefinition, row: Row): string {
  let text = '';
  for (const column of key) text += `${textOf(row[column])}\u0000`;
  return text;
}

const matches = (row: Row, where: Row): boolean =>
  Object.entries(where).every(([column, value]: [string, Value]) => row[column] === value);
