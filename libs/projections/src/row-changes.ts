import { textOf, type Row, type RowChange, type TableDefinition, type Value } from './projection.js';

/** The net effect of many row changes: first `removeWhere`, then `remove`, then `update`, then `upsert`. */
export interface NetChanges {
  readonly removeWhere: readonly Row[];
  readonly remove: readonly Row[];
  readonly update: readonly RowUpdate[];
  readonly upsert: readonly Row[];
}

/** New values of some columns of the row with a key. */
export interface RowUpdate {
  readonly key: Row;
  readonly set: Row;
}

/**
 * Coalesces changes to one table as they come: the last write of a key wins, rows that are removed later are not
 * written at all, and the result can be applied in a few steps whatever the order was.
 */
export class ChangeSet {
  readonly #closed: NetChanges[] = [];
  readonly #rows = new Map<string, Row>();
  readonly #updates = new Map<string, RowUpdate>();
  readonly #removed = new Map<string, Row>();
  readonly #removedWhere: Row[] = [];

  constructor(private readonly table: TableDefinition) {}

  get isEmpty(): boolean {
    return this.#closed.length === 0 && this.#isOpenEmpty;
  }

  get #isOpenEmpty(): boolean {
    const maps = [this.#rows, this.#updates, this.#removed];
    return maps.every(({ size }) => size === 0) && this.#removedWhere.length === 0;
  }

  add(change: RowChange): void {
    switch (change.kind) {
      case 'upsert': {
        const key = keyOf(this.table, change.row);
        this.#rows.set(key, change.row);
        this.#updates.delete(key);
        break;
      }
      case 'remove': {
        const key = keyOf(this.table, change.key);
        this.#rows.delete(key);
        this.#updates.delete(key);
        this.#removed.set(key, change.key);
        break;
      }
      case 'removeWhere':
        // Which rows these are can depend on what was changed before, and it is not known what those hold.
        if (this.#doesUpdate(change.where)) this.#close();
        for (const [key, row] of this.#rows)
          if (matches(row, change.where)) {
            this.#rows.delete(key);
            // In the table it may have other values so far, by which it is not found.
            if (!isOfKey(this.table, change.where)) this.#removed.set(key, keyIn(this.table, row));
          }
        this.#removedWhere.push(change.where);
        break;
      case 'update':
        this.#update(keyOf(this.table, change.key), change);
    }
  }

  #update(key: string, { key: row, set }: RowUpdate): void {
    const written = this.#rows.get(key);
    if (written) this.#rows.set(key, { ...written, ...set });
    else if (!this.#removed.has(key))
      this.#updates.set(key, { key: row, set: { ...this.#updates.get(key)?.set, ...set } });
  }

  #doesUpdate(columns: Row): boolean {
    for (const { set } of this.#updates.values())
      for (const column in columns) if (Object.hasOwn(set, column)) return true;
    return false;
  }

  /** What comes next is applied after what has come so far. */
  #close(): void {
    if (this.#isOpenEmpty) return;
    // A key that is written in the end need not be removed before: the upsert replaces every column.
    for (const key of this.#rows.keys()) this.#removed.delete(key);
    this.#closed.push({
      removeWhere: [...this.#removedWhere],
      remove: [...this.#removed.values()],
      update: [...this.#updates.values()],
      upsert: [...this.#rows.values()],
    });
    this.#removedWhere.length = 0;
    for (const map of [this.#removed, this.#updates, this.#rows]) map.clear();
  }

  /** One after the other; nearly always it is one. */
  net(): readonly NetChanges[] {
    this.#close();
    return this.#closed;
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
        break;
      case 'update': {
        const key = keyOf(this.table, change.key);
        const row = this.#rows.get(key);
        if (row) this.#rows.set(key, { ...row, ...change.set });
      }
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

const isOfKey = ({ key }: TableDefinition, where: Row): boolean =>
  Object.keys(where).every((column) => key.includes(column));

const keyIn = ({ key }: TableDefinition, row: Row): Row =>
  Object.fromEntries(key.map((column) => [column, row[column] as Value]));

const matches = (row: Row, where: Row): boolean =>
  Object.entries(where).every(([column, value]: [string, Value]) => row[column] === value);
