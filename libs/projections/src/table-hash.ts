import type { ClientBase } from 'pg';

export interface TableHash {
  readonly rows: number;
  readonly hash: string;
}

/**
 * A fingerprint of a table's rows, whatever their order: the sum of 128-bit row hashes, in constant memory. Two tables
 * with the same columns have the same fingerprint if and only if (but for odds of 1 in 2^128) they hold the same rows.
 */
export async function hashTable(client: ClientBase, table: string, where = ''): Promise<TableHash> {
  const half = (start: number) =>
    `coalesce(sum(('x' || substr(h, ${start}, 16))::bit(64)::bigint::numeric), 0)`;
  const { rows } = await client.query<{ rows: string; hash: string }>(
    `select count(*)::text as rows, ${half(1)} || ':' || ${half(17)} as hash
       from (select md5(t::text) as h from ${table} t ${where}) hashed`,
  );
  return { rows: Number(rows[0]?.rows), hash: rows[0]?.hash ?? '' };
}
