import type { ClientBase } from 'pg';
import { millisecondsOf, pgArray } from '#lib/platform';
import { textOf, type Row, type TableDefinition, type Value } from './projection.js';
import type { NetChanges } from './row-changes.js';

/**
 * Writes net changes to one table: one statement for each of the three kinds, however many rows there are. Only rows
 * that are removed from a hypertable, because they get another time, need one statement for each range of time.
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
    const { key, timeColumn } = this.table;
    if (!timeColumn) {
      if (keys.length > 0) await client.query(this.#removeSql(key), this.#arrays(key, keys));
      return;
    }
    const sql = `${this.#removeSql(key)} and t.${quote(timeColumn)} between $${key.length + 1}::timestamptz and $${key.length + 2}::timestamptz`;
    for (const { rows, from, to } of runsOf(this.table, timeColumn, keys)) {
      await client.query(sql, [...this.#arrays(key, rows), from, to]);
    }
  }

  /**
   * Compressed rows that a TimescaleDB statement might remove are decompressed first. TimescaleDB narrows them down
   * only by conditions with constants: a join excludes none. So the first column, by which chunks are segmented, is
   * also compared with the list itself, which leaves whole batches compressed.
   */
  #removeSql(columns: readonly string[]): string {
    const [first, ...more] = columns.map(quote) as [string, ...string[]];
    const listed = `t.${first} = any ($1::${this.#type(columns[0] as string)}[])`;
    return more.length === 0
      ? `delete from ${this.#name} t where ${listed}`
      : `delete from ${this.#name} t using ${this.#unnest(columns)} as gone (${[first, ...more].join(', ')}) ` +
          `where ${listed} and ${[first, ...more].map((column) => `t.${column} = gone.${column}`).join(' and ')}`;
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
