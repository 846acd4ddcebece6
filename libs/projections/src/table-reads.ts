import type { Pool, PoolClient } from 'pg';
import { asText, databaseCall, timestampFromPostgres, type TextRow } from '#lib/platform';
import { textOf, type ColumnType, type Row, type TableDefinition, type Value } from './projection.js';
import type { MemoryTable } from './row-changes.js';
import { quote } from './table-writer.js';

/** A read of one table, small enough to be answered by SQL and by rows in memory alike. */
export interface TableRead {
  readonly table: TableDefinition;
  /** Columns and the values they must have. */
  readonly where: Row;
  /** Bounds on a column, both inclusive. */
  readonly range?: {
    readonly column: string;
    readonly from?: number | undefined;
    readonly to?: number | undefined;
  };
  readonly orderBy: readonly string[];
  readonly descending?: boolean;
  readonly limit?: number | undefined;
}

/** Where rows come from: the tables as they are, or a fold of the log as of some time. */
export interface RowSource {
  select(read: TableRead): Promise<Row[]>;
  /** Several reads of one and the same moment, of these tables. */
  together<T>(tables: readonly TableDefinition[], work: (moment: RowSource) => Promise<T>): Promise<T>;
}

/** The tables as they are. Transient failures are tried three times: a read is harmless when repeated. */
export class LiveRows implements RowSource {
  constructor(private readonly pool: Pool) {}

  select(read: TableRead): Promise<Row[]> {
    return databaseCall(() => new TableRows(this.pool).select(read));
  }

  together<T>(tables: readonly TableDefinition[], work: (moment: RowSource) => Promise<T>): Promise<T> {
    return databaseCall(async () => {
      const client = await this.pool.connect();
      try {
        await client.query('begin isolation level repeatable read read only');
        // Before the first read fixes the moment: a rebuilt table that took its place after that would look empty.
        await client.query(
          `lock table ${tables.map(({ schema, name }) => `${schema}.${name}`).join(', ')} in access share mode`,
        );
        const result = await work(new TableRows(client));
        await client.query('commit');
        client.release();
        return result;
      } catch (error) {
        // The connection may be broken, or in a failed transaction: it is not used again.
        client.release(true);
        throw error;
      }
    });
  }
}

class TableRows implements RowSource {
  constructor(private readonly client: Pool | PoolClient) {}

  together<T>(_tables: readonly TableDefinition[], work: (moment: RowSource) => Promise<T>): Promise<T> {
    return work(this);
  }

  async select(read: TableRead): Promise<Row[]> {
    const { table, where, range, orderBy, descending, limit } = read;
    const values: Value[] = [];
    const bind = (value: Value) => `$${values.push(value)}`;
    const conditions = Object.entries(where).map(([column, value]) => `${quote(column)} = ${bind(value)}`);
    if (range?.from !== undefined) conditions.push(`${quote(range.column)} >= ${bind(range.from)}`);
    if (range?.to !== undefined) conditions.push(`${quote(range.column)} <= ${bind(range.to)}`);
    const columns = Object.keys(table.columns);
    const sql =
      `select ${columns.map(quote).join(', ')} from ${table.schema}.${table.name}` +
      ` where ${conditions.join(' and ') || 'true'}` +
      ` order by ${orderBy.map((column) => quote(column) + (descending ? ' desc' : '')).join(', ')}` +
      (limit === undefined ? '' : ` limit ${bind(limit)}`);
    const query = { name: statementName(sql), text: sql, values, rowMode: 'array' as const, types: asText };
    const { rows } = await this.client.query<TextRow>(query);
    return rows.map((row) => rowFromText(table, columns, row));
  }
}

/** The texts are a handful for each table, so each can have a name to be prepared under. */
const statementNames = new Map<string, string>();
function statementName(sql: string): string {
  let name = statementNames.get(sql);
  if (!name) statementNames.set(sql, (name = `table read ${statementNames.size + 1}`));
  return name;
}

/** One table's row from the texts of its columns. */
export function rowFromText(
  table: TableDefinition,
  columns: readonly string[],
  texts: readonly (string | null)[],
): Row {
  const row: Record<string, Value> = {};
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i] as string;
    const text = texts[i] ?? null;
    row[column] = text === null ? null : valueFromText(table.columns[column] as ColumnType, text);
  }
  return row;
}

/** Rows folded from events, read as the tables would be. */
export class MemoryRows implements RowSource {
  constructor(private readonly tables: ReadonlyMap<TableDefinition, MemoryTable>) {}

  together<T>(_tables: readonly TableDefinition[], work: (moment: RowSource) => Promise<T>): Promise<T> {
    return work(this);
  }

  select({ table, where, range, orderBy, descending, limit }: TableRead): Promise<Row[]> {
    const rows = (this.tables.get(table)?.rows() ?? []).filter(
      (row) =>
        Object.entries(where).every(([column, value]) => row[column] === value) &&
        (range?.from === undefined || Number(row[range.column]) >= range.from) &&
        (range?.to === undefined || Number(row[range.column]) <= range.to),
    );
    rows.sort((a, b) => {
      for (const column of orderBy) {
        const order = compareValues(a[column], b[column]);
        if (order !== 0) return descending ? -order : order;
      }
      return 0;
    });
    return Promise.resolve(limit === undefined ? rows : rows.slice(0, limit));
  }
}

function compareValues(a: Value | undefined, b: Value | undefined): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  // By code point, as columns with collation "C" are; canonical timestamps sort so too (.123Z before .123456Z does not).
  return Buffer.compare(Buffer.from(sortable(textOf(a))), Buffer.from(sortable(textOf(b))));
}

/** Milliseconds padded to microseconds, so that times of both lengths compare. */
const sortable = (text: string): string =>
  /^\d{4}-.*T.*\.\d{3}Z$/.test(text) ? `${text.slice(0, -1)}000Z` : text;

function valueFromText(type: ColumnType, text: string): Value {
  switch (type) {
    case 'text':
      return text;
    case 'integer':
    case 'double precision':
      return Number(text);
    case 'boolean':
      return text === 't';
    case 'timestamptz':
      return timestampFromPostgres(text);
    case 'jsonb':
      return JSON.parse(text) as Value;
  }
}
