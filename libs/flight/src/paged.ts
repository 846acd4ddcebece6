import type pg from 'pg';
import { asText, databaseCall, type TextRow } from '#lib/platform';
import { rowFromText, type Row, type TableDefinition } from '#lib/projections';

export interface Page<T> {
  readonly items: readonly T[];
  /** How many there are in all. */
  readonly total: number;
  readonly limit: number;
  readonly offset: number;
}

/** A list over a table `t`: what it is joined with, which rows, and in which order. Filters are `$1`, `$2`, ... */
export interface PagedList {
  readonly table: TableDefinition;
  readonly from: string;
  readonly where: string;
  readonly orderBy: string;
}

const DEFAULT_LIMIT = 100;

/** One page of a list, and how long the list is. */
export async function readPage<T>(
  pool: pg.Pool,
  { table, from, where, orderBy }: PagedList,
  filters: readonly (string | null)[],
  page: { readonly limit?: number | null | undefined; readonly offset?: number | null | undefined },
  view: (row: Row) => T,
): Promise<Page<T>> {
  const limit = page.limit ?? DEFAULT_LIMIT;
  const offset = page.offset ?? 0;
  const columns = Object.keys(table.columns);
  const read = async (text: string, values: unknown[]) =>
    (await pool.query<TextRow>({ text, values, rowMode: 'array', types: asText })).rows;
  const listSql = `
    select ${columns.map((column) => `t."${column}"`).join(', ')} from ${from} where ${where}
     order by ${orderBy} limit $${filters.length + 1} offset $${filters.length + 2}`;
  const [rows, counted] = await databaseCall(() =>
    Promise.all([
      read(listSql, [...filters, limit, offset]),
      read(`select count(*) from ${from} where ${where}`, [...filters]),
    ]),
  );
  const items = rows.map((row) => view(rowFromText(table, columns, row)));
  return { items, total: Number(counted[0]?.[0]), limit, offset };
}
