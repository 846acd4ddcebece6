import type { ClientBase } from 'pg';
import { rowsHash } from '#lib/platform';
import type { TableDefinition } from './projection.js';

export interface TableHash {
  readonly rows: number;
  readonly hash: string;
}

/**
 * A fingerprint of a table's rows, whatever their order: the sum of 128-bit row hashes, in constant memory. Two tables
 * with the same columns have the same fingerprint if and only if (but for odds of 1 in 2^128) they hold the same rows.
 *
 * By `format`, as a cast to text could be one that the owner of the table has created, and would run with the caller's
 * rights.
 */
export async function hashTable(client: ClientBase, table: string, where = ''): Promise<TableHash> {
  const { rows } = await client.query<{ rows: string; hash: string }>(
    `select count(*)::text as rows, ${rowsHash.text} as hash
       from (select md5(format('%s', t)) as h from ${table} t ${where}) hashed`,
  );
  return { rows: Number(rows[0]?.rows), hash: rows[0]?.hash ?? '' };
}

/** Conditions: the row is of the time of which nothing was dropped on purpose, and the row is from before. */
export function sidesOf(
  { timeColumn }: TableDefinition,
  since: Date | undefined,
): { readonly kept: string; readonly dropped: string } {
  if (!since || !timeColumn) return { kept: 'true', dropped: 'false' };
  const at = `'${since.toISOString()}'::timestamptz`;
  return { kept: `"${timeColumn}" >= ${at}`, dropped: `"${timeColumn}" < ${at}` };
}

/** The rows of one key in which two tables differ. */
export interface KeyDifference {
  /** The value of the first key column: the id of a stream. */
  readonly key: string;
  readonly rowsFound: number;
  readonly rowsExpected: number;
}

export interface TableComparison {
  /** Rows that were found in the table. */
  readonly rows: number;
  readonly differences: readonly KeyDifference[];
}

/** Compares two tables of one definition by hash, key by key; `where` bounds both. */
export async function compareByKey(
  client: ClientBase,
  table: TableDefinition,
  found: string,
  expected: string,
  where = '',
): Promise<TableComparison> {
  const key = `"${table.key[0]}"`;
  const hashes = (name: string) =>
    `select key, count(*) as rows, ${rowsHash.first} as a, ${rowsHash.second} as b
       from (select ${key} as key, md5(t::text) as h from ${name} t ${where}) hashed group by key`;
  const { rows } = await client.query<{ key: string | null; found: string; expected: string }>(
    `with found as materialized (${hashes(found)}), expected as materialized (${hashes(expected)})
     select key, coalesce(f.rows, 0) as found, coalesce(e.rows, 0) as expected
       from found f full join expected e using (key)
      where (f.rows, f.a, f.b) is distinct from (e.rows, e.a, e.b)
     union all
     select null, coalesce(sum(rows), 0), 0 from found
      order by 1`,
  );
  return {
    rows: Number(rows.find((row) => row.key === null)?.found ?? 0),
    differences: rows.flatMap((row) =>
      row.key === null
        ? []
        : [{ key: row.key, rowsFound: Number(row.found), rowsExpected: Number(row.expected) }],
    ),
  };
}

/** The difference of one key. */
export interface ExplainedDifference extends KeyDifference {
  /** Rows that should exist and do not. */
  readonly missing: number;
  /** Rows that exist and should not. */
  readonly surplus: number;
  /** Rows that exist with other values. */
  readonly changed: number;
  /** Up to three of those rows, by what else their key says; none where it says nothing else. */
  readonly examples: readonly string[];
}

/** Says of keys whose rows differ how many rows do, and some of them by name. */
export async function explainDifferences(
  client: ClientBase,
  table: TableDefinition,
  found: string,
  expected: string,
  differences: readonly KeyDifference[],
  where: string,
): Promise<ExplainedDifference[]> {
  const [first, ...rest] = table.key;
  const id = rest.map((column) => `'${column} ' || "${column}"::text`).join(', ');
  const columns = Object.keys(table.columns).map((column) => `"${column}"`);
  const rowsOf = (name: string) =>
    `select "${first}" as key, concat_ws(', ', ${id || `''`}) as id, row(${columns.join(', ')})::text as content
       from ${name} ${where} and "${first}" = any ($1)`;
  const { rows } = await client.query<{
    key: string;
    missing: number;
    surplus: number;
    changed: number;
    examples: string[];
  }>(
    `with found as materialized (${rowsOf(found)}), expected as materialized (${rowsOf(expected)})
     select key, count(*) filter (where f.id is null)::integer as missing,
            count(*) filter (where e.id is null)::integer as surplus,
            count(*) filter (where f.id is not null and e.id is not null)::integer as changed,
            coalesce((array_agg(id order by id) filter (where id <> ''))[1:3], '{}') as examples
       from found f full join expected e using (key, id)
      where f.content is distinct from e.content
      group by key`,
    [differences.map(({ key }) => key)],
  );
  const known = new Map(rows.map((row) => [row.key, row]));
  return differences.map((difference) => ({
    ...difference,
    ...(known.get(difference.key) ?? { missing: 0, surplus: 0, changed: 0, examples: [] }),
  }));
}
