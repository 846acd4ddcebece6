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
 */
export async function hashTable(client: ClientBase, table: string, where = ''): Promise<TableHash> {
  const { rows } = await client.query<{ rows: string; hash: string }>(
    `select count(*)::text as rows, ${rowsHash.text} as hash
       from (select md5(t::text) as h from ${table} t ${where}) hashed`,
  );
  return { rows: Number(rows[0]?.rows), hash: rows[0]?.hash ?? '' };
}

/** The rows of one key that two tables do not have in common. */
export interface KeyDifference {
  /** The value of the first key column: a flight. */
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
