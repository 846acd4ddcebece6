import type { ClientBase } from 'pg';
import { millisecondsOf, pgArray } from '#lib/platform';
import { textOf, type Row, type TableDefinition, type Value } from './projection.js';
import type { NetChanges, RowUpdate } from './row-changes.js';

/**
 * Writes net changes to one table: one statement for each kind, however many rows there are, and for each set of columns
 * that are changed. Only rows of a hypertable that are removed or changed need one statement for each range of time.
 */
export class TableWriter {
  readonly #name: string;
  readonly #upsertSql: string;
  readonly #columns: readonly string[];

  constructor(
    private readonly table: TableDefinition,
    /** The schema of the table; not its own for a shadow table. */
    schema = table.schema,
  ) {
    this.#name = `${schema}.${table.name}`;
    this.#columns = Object.keys(table.columns);
    const list = this.#columns.map(quote).join(', ');
    const written = this.#columns.filter((column) => !table.key.includes(column));
    this.#upsertSql =
      `insert into ${this.#name} (${list}) select * from ${this.#unnest(this.#columns)} ` +
      `on conflict (${table.key.map(quote).join(', ')}) ` +
      // A row that consists only of its key either exists or does not.
      (written.length === 0
        ? 'do nothing'
        : `do update set ${written.map((column) => `${quote(column)} = excluded.${quote(column)}`).join(', ')}`);
  }

  async write(client: ClientBase, changes: NetChanges): Promise<void> {
    for (const [columns, rows] of byColumns(changes.removeWhere)) {
      await client.query(this.#removeSql(columns), this.#arrays(columns, rows));
    }
    await this.remove(client, changes.remove);
    await this.#update(client, changes.update);
    if (changes.upsert.length > 0) {
      await client.query({
        name: `upsert ${this.#name}`,
        text: this.#upsertSql,
        values: this.#arrays(this.#columns, changes.upsert),
      });
    }
  }

  /** Removes the rows with these keys: one statement, or, for a hypertable, one for each run of times. */
  async remove(client: ClientBase, keys: readonly Row[]): Promise<void> {
    const { key } = this.table;
    await this.#atKeys(client, this.#removeSql(key), key, keys);
  }

  async #update(client: ClientBase, updates: readonly RowUpdate[]): Promise<void> {
    for (const [columns, rows] of byColumns(updates.map(({ key: of, set }) => ({ ...of, ...set }))))
      await this.#atKeys(client, this.#updateSql(columns), columns, rows);
  }

  /** Runs a statement for the rows with these keys, which is given their columns as arrays. */
  async #atKeys(
    client: ClientBase,
    sql: string,
    columns: readonly string[],
    rows: readonly Row[],
  ): Promise<void> {
    const { timeColumn } = this.table;
    if (rows.length === 0) return;
    if (!timeColumn) {
      await client.query(sql, this.#arrays(columns, rows));
      return;
    }
    const n = columns.length;
    const between = ` and t.${quote(timeColumn)} between $${n + 1}::timestamptz and $${n + 2}::timestamptz`;
    for (const run of runsOf(this.table, timeColumn, rows))
      await client.query(sql + between, [...this.#arrays(columns, run.rows), run.from, run.to]);
  }

  #removeSql(columns: readonly string[]): string {
    return columns.length === 1
      ? `delete from ${this.#name} t where ${this.#listed(columns)}`
      : `delete from ${this.#name} t using ${this.#given(columns)} where ${this.#listed(columns)} and ${same(columns)}`;
  }

  #updateSql(columns: readonly string[]): string {
    const { key } = this.table;
    const set = columns.filter((column) => !key.includes(column)).map(quote);
    return (
      `update ${this.#name} t set ${set.map((column) => `${column} = given.${column}`).join(', ')} ` +
      `from ${this.#given(columns)} where ${this.#listed(columns)} and ${same(key)}`
    );
  }

  /**
   * Compressed rows that a TimescaleDB statement might change are decompressed first. TimescaleDB narrows them down
   * only by conditions with constants: a join excludes none. So the first column, by which chunks are segmented, is
   * also compared with the list itself, which leaves whole batches compressed.
   */
  #listed([first = '']: readonly string[]): string {
    return `t.${quote(first)} = any ($1::${this.#type(first)}[])`;
  }

  #given(columns: readonly string[]): string {
    return `${this.#unnest(columns)} as given (${columns.map(quote).join(', ')})`;
  }

  #unnest(columns: readonly string[]): string {
    return `unnest(${columns.map((column, i) => `$${i + 1}::${this.#type(column)}[]`).join(', ')})`;
  }

  #arrays(columns: readonly string[], rows: readonly Row[]): string[] {
    return columns.map((column) => {
      const isJson = this.table.columns[column] === 'jsonb';
      return pgArray(
        rows.map((row) => {
          const value = row[column] as Value;
          return isJson
            ? value === null
              ? null
              : JSON.stringify(value)
            : (value as string | number | boolean | null);
        }),
      );
    });
  }

  #type(column: string): string {
    const type = this.table.columns[column];
    if (!type) throw new Error(`Table ${this.table.name} has no column ${column}.`);
    return type;
  }
}

export const quote = (identifier: string): string => `"${identifier}"`;

const same = (columns: readonly string[]): string =>
  columns.map((column) => `t.${quote(column)} = given.${quote(column)}`).join(' and ');

function byColumns(rows: readonly Row[]): Iterable<[readonly string[], Row[]]> {
  const groups = new Map<string, [string[], Row[]]>();
  for (const row of rows) {
    const columns = Object.keys(row);
    const group = groups.get(columns.join());
    if (group) group[1].push(row);
    else groups.set(columns.join(), [columns, [row]]);
  }
  return groups.values();
}

/** Less than the time span of a batch of compressed rows, at any realistic frame rate. */
const RUN_GAP_MS = 10_000;

/**
 * Rows of one first key column that follow each other in time, with bounds around them. Rows far apart are in separate
 * runs: otherwise the rows between them would be decompressed for nothing, and more chunks searched.
 */
function runsOf(
  { key }: TableDefinition,
  timeColumn: string,
  keys: readonly Row[],
): { rows: Row[]; from: string; to: string }[] {
  const first = (row: Row) => textOf(row[key[0] as string]);
  const timed = keys
    .map((row) => ({ row, of: first(row), at: millisecondsOf(textOf(row[timeColumn])) }))
    .sort((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : a.at - b.at));
  const runs: (typeof timed)[] = [];
  for (const next of timed) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run && last && last.of === next.of && next.at - last.at <= RUN_GAP_MS) run.push(next);
    else runs.push([next]);
  }
  // Rounded down and up: milliseconds cannot order times that differ in microseconds.
  return runs.map((run) => ({
    rows: run.map(({ row }) => row),
    from: new Date(run[0]?.at ?? NaN).toISOString(),
    to: new Date((run.at(-1)?.at ?? NaN) + 1).toISOString(),
  }));
}
