import type pg from 'pg';
import {
  answerTooLarge,
  databaseCall,
  inTransaction,
  mapInTurns,
  MAX_ANSWER_BYTES,
  readRows,
  type TextRow,
} from '#lib/platform';
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
/** Rows that are fetched at a time: each may hold some 60 KB. */
const SLICE = 100;

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
  const listSql = `
    select ${columns.map((column) => `t."${column}"`).join(', ')} from ${from} where ${where}
     order by ${orderBy} limit $${filters.length + 1} offset $${filters.length + 2}`;
  const ask = { text: listSql, values: [...filters, limit, offset] };
  const [rows, counted] = await Promise.all([
    limit <= SLICE ? readRows(pool, undefined, ask.text, ask.values) : readInSlices(pool, ask),
    readRows(pool, undefined, `select count(*) from ${from} where ${where}`, [...filters]),
  ]);
  const items = await mapInTurns(rows, (row) => view(rowFromText(table, columns, row)));
  return { items, total: Number(counted[0]?.[0]), limit, offset };
}

/** Rows that come a few at a time, so that too many of them are noticed before all are here. Throws `answer.too-large`. */
function readInSlices(pool: pg.Pool, ask: { text: string; values: unknown[] }): Promise<TextRow[]> {
  return databaseCall(async () => {
    const client = await pool.connect();
    try {
      return await inTransaction(client, async () => {
        await client.query(`declare list no scroll cursor for ${ask.text}`, ask.values);
        const rows: TextRow[] = [];
        let length = 0;
        for (;;) {
          const slice = await readRows(client, undefined, `fetch ${SLICE} from list`, []);
          rows.push(...slice);
          length += slice.flat().reduce((sum, cell) => sum + (cell?.length ?? 0), 0);
          if (length > MAX_ANSWER_BYTES) throw answerTooLarge();
          if (slice.length < SLICE) return rows;
        }
      });
    } finally {
      client.release();
    }
  });
}
