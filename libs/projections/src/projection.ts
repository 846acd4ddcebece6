import type { JsonObject, RecordedEvent } from '#lib/event-store';
import { parseTimestamp } from '#lib/platform';

export type ColumnType = 'text' | 'integer' | 'double precision' | 'boolean' | 'timestamptz' | 'jsonb';

/** The value of a column: times are canonical timestamps, jsonb is any JSON value. */
export type Value = string | number | boolean | null | object;
export type Row = Readonly<Record<string, Value>>;

/** A table, as its projection declares it: `waylog migrate` makes it of this (table-sql.ts). */
export interface TableDefinition {
  /** The file of this declaration, in the repository of its context. */
  readonly source?: string;
  /** The name of its context. */
  readonly schema: string;
  readonly name: string;
  /** What it is, for those who look at the database. */
  readonly comment?: string;
  /** Names are lower-case words, with underscores between. */
  readonly columns: Readonly<Record<string, ColumnType>>;
  /** Columns that can be null; no other can. */
  readonly nullable?: readonly string[];
  /** Conditions on columns, in SQL: `{ lat: 'lat between -90 and 90' }`. */
  readonly checks?: Readonly<Record<string, string>>;
  /** The primary key. A hypertable's ends with its time column. */
  readonly key: readonly string[];
  /** Further indexes, by name, with their columns in SQL: `{ flights_newest: ['created_at desc', 'id'] }`. */
  readonly indexes?: Readonly<Record<string, readonly string[]>>;
  /** The row that a row of this table depends on: `{ column: 'flight_id', table: 'flights', key: 'id' }`. No foreign key enforces it. */
  readonly owner?: { readonly column: string; readonly table: string; readonly key: string };
  /** Percent of a page that is filled at first. The rest is room for rows that change, default none. */
  readonly fillfactor?: number;
  /** Makes the table a hypertable over this column. */
  readonly timeColumn?: string;
  /**
   * The columns that say what a row of a hypertable is about, if there is one row of it whatever its time: a flight's
   * frame. A restored archive leaves out what has another time by now. Without it every time is a row of its own.
   */
  readonly identity?: readonly string[];
  /** The time that a chunk of it covers at first, such as `1 day`; default 7 days. Operators can change it. */
  readonly chunkInterval?: string;
  /**
   * Columns that an erasure clears. PostgreSQL keeps no statistics of them (`set statistics 0`): those hold values,
   * readable by every role that can read the column, until the table is analyzed again.
   */
  readonly erasable?: readonly string[];
}

/** The change of rows that a fold requests. */
export type RowChange =
  | { readonly kind: 'upsert'; readonly row: Row }
  /** Removes the one row with this key, if it is there. */
  | { readonly kind: 'remove'; readonly key: Row }
  /** Removes every row with these column values. */
  | { readonly kind: 'removeWhere'; readonly where: Row }
  /** Changes some columns of the one row with this key, if it is there. */
  | { readonly kind: 'update'; readonly key: Row; readonly set: Row };

/** The text of a value, for keys and comparisons; JSON for objects. */
export const textOf = (value: Value | undefined): string =>
  typeof value === 'object' ? JSON.stringify(value) : String(value);

export const upsert = (row: Row): RowChange => ({ kind: 'upsert', row });
export const remove = (key: Row): RowChange => ({ kind: 'remove', key });
export const removeWhere = (where: Row): RowChange => ({ kind: 'removeWhere', where });
export const update = (key: Row, set: Row): RowChange => ({ kind: 'update', key, set });

/** An event as a fold sees it. */
export interface FoldedEvent<Data = JsonObject> {
  readonly streamId: string;
  readonly revision: number;
  readonly data: Data;
}

/** A fold gives rows that its table cannot take, whatever the event says: the code of the projection is wrong. */
export class RowError extends Error {
  override readonly name = 'RowError';
}

type Fold<Data> = (event: FoldedEvent<Data>) => RowChange | readonly RowChange[];
type AnyFold = Fold<never>;

/**
 * A pure fold from events to the rows of one table. It never reads, never fails and never uses the clock: the same
 * events give the same rows, whether the projector applies them in SQL, an `asOf` read in memory, or a rebuild in a
 * shadow table.
 *
 * `Events` maps event types to their data, so that `on` knows the type that a handler gets.
 */
export class Projection<Events extends object = Record<string, JsonObject>> {
  readonly #folds = new Map<string, AnyFold>();
  readonly #times: readonly string[];
  readonly #columns: readonly string[];

  constructor(
    readonly name: string,
    /** Increases with every change of the fold: a table that another version wrote must be rebuilt. */
    readonly version: number,
    readonly table: TableDefinition,
  ) {
    const columns = Object.keys(table.columns);
    this.#columns = columns;
    this.#times = columns.filter((column) => table.columns[column] === 'timestamptz');
  }

  on<Type extends keyof Events & string>(type: Type, fold: Fold<Events[Type]>): this {
    this.#folds.set(type, fold);
    return this;
  }

  /** The event types that this projection folds. */
  get types(): Iterable<string> {
    return this.#folds.keys();
  }

  /** Whether it folds events of this type. */
  concerns(type: string): boolean {
    return this.#folds.has(type);
  }

  /** The row changes for an event; none for an event of another type. */
  fold(event: Pick<RecordedEvent, 'type' | 'streamId' | 'revision' | 'data'>): readonly RowChange[] {
    const changes = this.#folds.get(event.type)?.(event as never);
    if (changes === undefined) return none;
    const all = 'kind' in changes ? [changes] : changes;
    return this.#times.length > 0 ? all.map((change) => this.#inOneForm(change)) : all;
  }

  /**
   * Throws `RowError` for a change that the table cannot take. A row without a column would be written with null, or not
   * at all; and a column that is not declared, nowhere. Only what is written is checked: it takes half a microsecond, a
   * third of a fold in memory.
   */
  check(change: RowChange, type: string): void {
    switch (change.kind) {
      case 'upsert':
        this.#checkRow(type, change.row, this.#columns);
        break;
      case 'remove':
        this.#checkRow(type, change.key, this.table.key);
        break;
      case 'removeWhere':
        this.#checkRow(type, change.where, none);
        break;
      case 'update':
        this.#checkRow(type, change.key, this.table.key);
        this.#checkRow(type, change.set, Object.keys(change.set));
        for (const column of this.table.key)
          if (column in change.set)
            throw this.#wrong(
              type,
              `with another ${column}, which is of its key: remove it, and make another one.`,
            );
    }
  }

  #checkRow(type: string, given: Row, wanted: readonly string[]): void {
    for (const column of wanted)
      if (given[column] === undefined)
        throw this.#wrong(type, `without its column ${column}: give every column, with null for no value.`);
    for (const column in given)
      if (!Object.hasOwn(this.table.columns, column))
        throw this.#wrong(type, `with a column ${column}, which is not declared.`);
  }

  #wrong(type: string, how: string): RowError {
    const { schema, name } = this.table;
    return new RowError(`The projection ${this.name} folds ${type} into a row of ${schema}.${name} ${how}`);
  }

  /** The same instant can be written in several ways. A key that is one for the database must be one here, too. */
  #inOneForm(change: RowChange): RowChange {
    switch (change.kind) {
      case 'upsert':
        return upsert(this.#timesInOneForm(change.row));
      case 'remove':
        return remove(this.#timesInOneForm(change.key));
      case 'removeWhere':
        return removeWhere(this.#timesInOneForm(change.where));
      case 'update':
        return update(this.#timesInOneForm(change.key), this.#timesInOneForm(change.set));
    }
  }

  #timesInOneForm(given: Row): Row {
    let row = given;
    for (const column of this.#times) {
      const value = given[column];
      const time = typeof value === 'string' ? parseTimestamp(value) : undefined;
      if (time !== undefined && time !== value) row = { ...row, [column]: time };
    }
    return row;
  }
}

const none: readonly never[] = [];

/** One of any events. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- its folds take the events that are of its types
export type AnyProjection = Projection<any>;
