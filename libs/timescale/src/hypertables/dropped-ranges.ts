import type { ClientBase, Pool } from 'pg';

/** Why rows are not there although the log has their events. */
export type DropReason = 'retention' | 'operator' | 'archive';

export interface Range {
  readonly start: Date;
  readonly end: Date;
}

/** Notes, in the transaction that drops them, that the rows of these ranges are gone on purpose. */
export async function recordDropped(
  client: Pick<ClientBase, 'query'>,
  table: { readonly schema: string; readonly name: string },
  ranges: readonly Range[],
  reason: DropReason,
): Promise<void> {
  await client.query(
    `insert into timescale.dropped_ranges (table_schema, table_name, range_start, range_end, reason)
     select $1, $2, r.range_start, r.range_end, $5 from unnest($3::timestamptz[], $4::timestamptz[]) as r (range_start, range_end)
     on conflict (table_schema, table_name, range_start, range_end)
     do update set reason = excluded.reason, dropped_at = clock_timestamp()`,
    [table.schema, table.name, ranges.map(({ start }) => start), ranges.map(({ end }) => end), reason],
  );
}

/**
 * From when on each hypertable holds all that the log says, by `schema.table`: only rows of that time and later can be
 * compared with a fold of the log. A table of which nothing was dropped on purpose is not in the map.
 *
 * Where a policy of TimescaleDB drops chunks, nobody notes which; then it is the end of the policy's reach, now.
 */
export async function retainedSince(pool: Pick<Pool, 'query'>): Promise<Map<string, Date>> {
  const { rows } = await pool.query<{ name: string; since: Date }>(`
    select name, max(since) as since
      from (
        select table_schema || '.' || table_name as name, range_end as since from timescale.dropped_ranges
        union all
        select hypertable_schema || '.' || hypertable_name, now() - (config->>'drop_after')::interval
          from timescaledb_information.jobs
         where proc_name = 'policy_retention' and scheduled and config ? 'drop_after'
      ) dropped
     group by name`);
  return new Map(rows.map(({ name, since }) => [name, since]));
}
