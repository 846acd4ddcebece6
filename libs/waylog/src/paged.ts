import { IsBoolean, IsInt, Max, Min } from 'class-validator';
import type pg from 'pg';
import {
  FreeText,
  invalidInput,
  mapInTurns,
  MAX_ANSWER_BYTES,
  Meaning,
  Optional,
  parseTimestamp,
  readRows,
  Relation,
} from '#lib/platform';
import { readInSlices, rowFromText, type Row, type TableDefinition } from '#lib/projections';

export interface Page<T> {
  readonly items: readonly T[];
  /** The total number; null if `total: false` asked not to count. */
  readonly total: number | null;
  readonly limit: number;
  readonly offset: number;
  /** The `after` of the next page; null on the last one. */
  readonly next: string | null;
}

/** Which page of a list. */
export class PageOf {
  @Optional() @IsInt() @Min(0) @Max(1_000_000_000) readonly offset?: number | null | undefined;
  @Meaning(
    '`next` of the page before. A page costs the same however far down the list it is; a page by offset does not.',
  )
  @Optional()
  @FreeText(1_000)
  @Relation<PageOf>(
    'afterOrOffset',
    'must not be given together with offset',
    ({ after, offset }) => !after || !offset,
  )
  readonly after?: string | null | undefined;
  @Meaning('false leaves `total` null: counting reads every row that fits.')
  @Optional()
  @IsBoolean()
  readonly total?: boolean | null | undefined;
}

/** A list over a table `t`: what it is joined with, and the columns of `t` that sort it: a time, and ids for equal ones. */
export interface PagedList {
  readonly table: TableDefinition;
  readonly from: string;
  readonly orderBy: readonly [time: string, ...ids: string[]];
}

/** The left side of a comparison with its operator, and the right side. Null means no condition. */
export type Condition = readonly [is: string, value: string | null | undefined];

const DEFAULT_LIMIT = 100;
/** How many rows are fetched at a time: each can hold some 60 KB. */
const SLICE = 100;

/** One page of a list. Throws `input.invalid` for an `after` that is not from a page. */
export async function readPage<T>(
  pool: pg.Pool,
  { table, from, orderBy }: PagedList,
  conditions: readonly Condition[],
  page: PageOf & { readonly limit?: number | null | undefined },
  view: (row: Row) => T,
): Promise<Page<T>> {
  const limit = page.limit ?? DEFAULT_LIMIT;
  const offset = page.offset ?? 0;
  const columns = Object.keys(table.columns);
  const given = conditions.filter((condition): condition is [string, string] => condition[1] != null);
  const filters = given.map(([, value]) => value);
  const fits = ['true', ...given.map(([is], index) => `${is} $${index + 1}`)];
  const n = filters.length;
  const after = page.after == null ? [] : placeIn(page.after, orderBy.length);
  const order = orderBy.map((column) => `t."${column}"`).join(', ');
  const place = orderBy.map((_, i) => `$${n + 3 + i}${i === 0 ? '::timestamptz' : ''}`).join(', ');
  const beyond = after.length > 0 ? [`(${order}) > (${place})`] : [];
  const list = {
    text: `
    select ${columns.map((column) => `t."${column}"`).join(', ')}
      from ${from} where ${[...fits, ...beyond].join(' and ')}
     order by ${order} limit $${n + 1} offset $${n + 2}`,
    // One more than requested shows whether there is a next page.
    values: [...filters, limit + 1, offset, ...after],
  };
  const [rows, counted] = await Promise.all([
    limit <= SLICE
      ? readRows(pool, undefined, list.text, list.values)
      : readInSlices(pool, list, { rows: SLICE, maxBytes: MAX_ANSWER_BYTES }),
    page.total === false
      ? undefined
      : readRows(pool, undefined, `select count(*) from ${from} where ${fits.join(' and ')}`, filters),
  ]);
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const items = await mapInTurns(shown, (row) => view(rowFromText(table, columns, row)));
  return {
    items,
    total: counted ? Number(counted[0]?.[0]) : null,
    limit,
    offset,
    next: last && rows.length > limit ? placeOf(rowFromText(table, columns, last), orderBy) : null,
  };
}

/** The place of a row in the order of its list, opaque to clients. */
const placeOf = (row: Row, orderBy: PagedList['orderBy']): string =>
  Buffer.from(JSON.stringify(orderBy.map((column) => row[column]))).toString('base64url');

/** The time and the ids at a place. Throws `input.invalid` if it is not from a page of such a list. */
function placeIn(after: string, columns: number): readonly string[] {
  try {
    const [time, ...ids] = JSON.parse(Buffer.from(after, 'base64url').toString()) as unknown[];
    const from = typeof time === 'string' ? parseTimestamp(time) : undefined;
    const areTexts = ids.every((id): id is string => typeof id === 'string' && !id.includes('\0'));
    if (from !== undefined && areTexts && ids.length === columns - 1) return [from, ...ids];
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  throw invalidInput([{ field: 'after', message: 'is not what a page of this list gave as `next`' }]);
}
