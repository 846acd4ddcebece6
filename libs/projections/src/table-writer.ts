import type { ClientBase } from 'pg';
import { millisecondsOf, pgArray } from '#lib/platform';
import { textOf, type Row, type TableDefinition, type Value } from './projection.js';
import type { NetChanges } from './row-changes.js';

/** Writes net changes to one table: at most one statement for each of the three kinds, however many rows there are. */
export class TableWriter {
  readonly #upsertSql: string;
  readonly #removeSql: string;
  readonly #columns: readonly string[];

  constructor(
    private readonly table: TableDefinition,
    /** Where the table is; another schema than its own for a shadow. */
    schema = table.schema,
  ) {
    const name = `${schema}.${table.name}`;
    this.#columns = Object.keys(table.columns);
    const unnest = (columns: readonly string[]) =>
      `unnest(${columns.map((column, i) => `$${i + 1}::${this.#type(column)}[]`).join(', ')})`;
    const list = this.#columns.map(quote).join(', ');
    const written = this.#columns.filter((column) => !table.key.includes(column));
    this.#upsertSql =
      `insert into ${name} (${list}) select * from ${unnest(this.#columns)} ` +
      `on conflict (${table.key.map(quote).join(', ')}) ` +
      // A row that is all key is there or is not.
      (written.length === 0
        ? 'do nothing'
        : `do update set ${written.map((column) => `${quote(column)} = excluded.${quote(column)}`).join(', ')}`);
    this.#removeSql =
      `delete from ${name} t using ${unnest(table.key)} as gone (${table.key.map(quote).join(', ')}) ` +
      `where ${table.key.map((column) => `t.${quote(column)} = gone.${quote(column)}`).join(' and ')}` +
      // Bounds that the planner knows spare it the chunks of the hypertable in which nothing can be.
      (table.timeColumn
        ? ` and t.${quote(table.timeColumn)} between $${table.key.length + 1}::timestamptz and $${table.key.length + 2}::timestamptz`
        : '');
    this.#name = name;
  }
  readonly #name: string;

  async write(client: ClientBase, changes: NetChanges): Promise<void> {
    for (const [columns, rows] of byColumns(changes.removeWhere)) {
      await client.query(this.#removeWhereSql(columns), this.#arrays(columns, rows));
    }
    if (changes.remove.length > 0) {
      await client.query(this.#removeSql, [
        ...this.#arrays(this.table.key, changes.remove),
        ...this.#timeBounds(changes.remove),
      ]);
    }
    if (changes.upsert.length > 0) {
      await client.query({
        name: `upsert ${this.#name}`,
        text: this.#upsertSql,
        values: this.#arrays(this.#columns, changes.upsert),
      });
    }
  }

  #removeWhereSql(columns: readonly string[]): string {
    const arrays = columns.map((column, i) => `$${i + 1}::${this.#type(column)}[]`).join(', ');
    const equal = columns.map((column) => `t.${quote(column)} = gone.${quote(column)}`).join(' and ');
    return `delete from ${this.#name} t using unnest(${arrays}) as gone (${columns.map(quote).join(', ')}) where ${equal}`;
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

  #timeBounds(rows: readonly Row[]): string[] {
    const { timeColumn } = this.table;
    if (!timeColumn) return [];
    const times = rows.map((row) => millisecondsOf(textOf(row[timeColumn]))).sort((a, b) => a - b);
    // Rounded down and up: milliseconds do not order what differs in microseconds.
    return [new Date(times[0] ?? NaN).toISOString(), new Date((times.at(-1) ?? NaN) + 1).toISOString()];
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
