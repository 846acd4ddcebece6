import type pg from 'pg';
import {
  answerTooLarge,
  databaseCall,
  inTransaction,
  mapInTurns,
  readRows,
  timestampFromPostgres,
  Turns,
  type Queryable,
  type TextRow,
  type Timestamp,
} from '#lib/platform';
import { textOf, type ColumnType, type Row, type TableDefinition, type Value } from './projection.js';
import type { MemoryTable } from './row-changes.js';
import { quote } from './table-writer.js';

/** A read of one table, simple enough to be answered both by SQL and from rows in memory. */
export interface TableRead {
  readonly table: TableDefinition;
  /** Columns and the values they must have. */
  readonly where: Row;
  /** Bounds on columns, both inclusive. */
  readonly ranges?: readonly Range[];
  readonly orderBy: readonly string[];
  readonly descending?: boolean;
  readonly limit?: number | undefined;
  /** A row may be large: so many are read at a time, until there is more text than an answer may have. */
  readonly slice?: number;
}

export interface Range {
  readonly column: string;
  readonly from?: number | Timestamp | undefined;
  readonly to?: number | Timestamp | undefined;
}

/** The source of rows: the tables as they are, or a fold of the log as of some time. */
export interface RowSource {
  select(read: TableRead): Promise<Row[]>;
  /** Several reads of one and the same moment. */
  selectTogether(reads: readonly TableRead[]): Promise<Row[][]>;
}

/**
 * The tables as they are. Reads of one moment are one statement: it locks all its tables before its snapshot is taken,
 * so that none of them is swapped for a rebuilt one in between.
 *
 * Each column arrives as one JSON array. For 2,000 waypoints that takes half of this process's time that separate rows
 * and fields would, and the database takes the same time.
 */
export class LiveRows implements RowSource {
  /** With `maxBytes`, a read of more text than that throws `answer.too-large` instead of creating rows. */
  constructor(
    private readonly pool: Queryable,
    private readonly maxBytes: number = Infinity,
  ) {}

  async select(read: TableRead): Promise<Row[]> {
    if (read.slice === undefined) return (await this.selectTogether([read]))[0] as Row[];
    const values: Value[] = [];
    const columns = Object.keys(read.table.columns);
    const sql = rowsSql(read, columns, values);
    const slices = { rows: read.slice, maxBytes: this.maxBytes };
    const rows = await readInSlices(this.pool as pg.Pool, { text: sql, values }, slices);
    return mapInTurns(rows, (row) => rowFromText(read.table, columns, row));
  }

  async selectTogether(reads: readonly TableRead[]): Promise<Row[][]> {
    const values: Value[] = [];
    const parts = reads.map((read, i) => `(${columnArraysSql(read, values)}) t${i}`);
    const sql = `select * from ${parts.join(', ')}`;
    // PostgreSQL may switch a prepared statement to a generic plan, which looks into every chunk of a hypertable.
    const name = reads.some(({ table }) => table.timeColumn) ? undefined : statementName(sql);
    const [arrays = []] = await readRows(this.pool, name, sql, values);
    if (arrays.reduce((sum, json) => sum + (json?.length ?? 0), 0) > this.maxBytes) throw answerTooLarge();
    const turns = new Turns();
    const rows: Row[][] = [];
    let next = 0;
    for (const read of reads) {
      const first = next;
      next += columnsToRead(read).length;
      rows.push(await rowsFromArrays(read, arrays.slice(first, next), turns));
    }
    return rows;
  }
}

/** All columns except those whose value the read itself sets. */
const columnsToRead = ({ table, where }: TableRead): string[] =>
  Object.keys(table.columns).filter((column) => !(column in where));

function columnArraysSql(read: TableRead, values: Value[]): string {
  const columns = columnsToRead(read);
  return (
    `select ${columns.map((column) => `json_agg(${quote(column)})`).join(', ')} from (` +
    `${rowsSql(read, columns, values)}) ordered`
  );
}

function rowsSql(read: TableRead, columns: readonly string[], values: Value[]): string {
  const { table, where, ranges = [], orderBy, descending, limit } = read;
  const bind = (value: Value) => `$${values.push(value)}`;
  const conditions = Object.entries(where).map(([column, value]) => `${quote(column)} = ${bind(value)}`);
  for (const { column, from, to } of ranges) {
    if (from !== undefined) conditions.push(`${quote(column)} >= ${bind(from)}`);
    if (to !== undefined) conditions.push(`${quote(column)} <= ${bind(to)}`);
  }
  return (
    `select ${columns.map(quote).join(', ')} from ${table.schema}.${table.name}` +
    ` where ${conditions.join(' and ') || 'true'}` +
    ` order by ${orderBy.map((column) => quote(column) + (descending ? ' desc' : '')).join(', ')}` +
    (limit === undefined ? '' : ` limit ${bind(limit)}`)
  );
}

/**
 * Rows that come a few at a time, so that too much text is noticed before all of it is here, and the database has not read it all
 * either. Throws `answer.too-large`.
 */
export function readInSlices(
  pool: pg.Pool,
  ask: { readonly text: string; readonly values: unknown[] },
  { rows: sliceRows, maxBytes }: { readonly rows: number; readonly maxBytes: number },
): Promise<TextRow[]> {
  return databaseCall(async () => {
    const client = await pool.connect();
    try {
      return await inTransaction(client, async () => {
        await client.query(`declare list no scroll cursor for ${ask.text}`, ask.values);
        const rows: TextRow[] = [];
        let length = 0;
        for (;;) {
          const slice = await readRows(client, undefined, `fetch ${sliceRows} from list`, []);
          rows.push(...slice);
          length += slice.flat().reduce((sum, cell) => sum + (cell?.length ?? 0), 0);
          if (length > maxBytes) throw answerTooLarge();
          if (slice.length < sliceRows) return rows;
        }
      });
    } finally {
      client.release();
    }
  });
}

/** How many rows are created before the clock is checked. */
const ROWS_A_LOOK = 1_000;

/** Other work runs in between: 100,000 rows take a quarter of a second. */
async function rowsFromArrays(
  read: TableRead,
  arrays: readonly (string | null)[],
  turns: Turns,
): Promise<Row[]> {
  const columns = columnsToRead(read);
  // Rows are copies of one that has every column: adding columns by name to each costs V8 twenty times as much.
  const blank: Record<string, Value> = { ...read.where };
  for (const column of columns) blank[column] = null;
  const rows: Record<string, Value>[] = [];
  for (const [i, column] of columns.entries()) {
    const isTime = read.table.columns[column] === 'timestamptz';
    const values = JSON.parse(arrays[i] ?? '[]') as Value[];
    if (turns.isOver) await turns.next();
    for (let n = 0; n < values.length; n++) {
      const row = (rows[n] ??= { ...blank });
      const value = values[n] ?? null;
      row[column] = isTime && value !== null ? timestampFromPostgres(value as string) : value;
      if (n % ROWS_A_LOOK === 0 && turns.isOver) await turns.next();
    }
  }
  return rows;
}

/** There are only a few texts for each table, so each can have a name to be prepared under. */
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

  selectTogether(reads: readonly TableRead[]): Promise<Row[][]> {
    return Promise.all(reads.map((read) => this.select(read)));
  }

  select({ table, where, ranges = [], orderBy, descending, limit }: TableRead): Promise<Row[]> {
    const rows = (this.tables.get(table)?.rows() ?? []).filter(
      (row) =>
        Object.entries(where).every(([column, value]) => row[column] === value) &&
        ranges.every(
          ({ column, from, to }) =>
            (from === undefined || compareValues(row[column], from) >= 0) &&
            (to === undefined || compareValues(row[column], to) <= 0),
        ),
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
