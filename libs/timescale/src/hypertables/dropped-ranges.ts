import type { ClientBase, Pool } from 'pg';

/** Why rows are missing although the log has their events. */
export type DropReason = 'retention' | 'operator' | 'archive';

export interface Range {
  readonly start: Date;
  readonly end: Date;
}

/** Records, in the transaction that drops them, that the rows of these ranges were dropped on purpose. */
export async function recordDropped(
  client: Pick<ClientBase, 'query'>,
  table: { readonly schema: string; readonly name: string },
  ranges: readonly Range[],
  reason: DropReason,
): Promise<void> {
  await client.query(
    `with known as (
       delete from timescale.known_chunks k using unnest($3::timestamptz[], $4::timestamptz[]) as r (range_start, range_end)
        where (k.table_schema, k.table_name, k.range_start, k.range_end) = ($1, $2, r.range_start, r.range_end))
     insert into timescale.dropped_ranges (table_schema, table_name, range_start, range_end, reason)
     select $1, $2, r.range_start, r.range_end, $5 from unnest($3::timestamptz[], $4::timestamptz[]) as r (range_start, range_end)
     on conflict (table_schema, table_name, range_start, range_end)
     do update set reason = excluded.reason, dropped_at = clock_timestamp()`,
    [table.schema, table.name, ranges.map(({ start }) => start), ranges.map(({ end }) => end), reason],
  );
}

/** Tables from which a policy of TimescaleDB drops chunks, and the latest end of a chunk that it can drop. */
const policiesSql = `
  select hypertable_schema as table_schema, hypertable_name as table_name, r.oid as relation,
         now() - (config->>'drop_after')::interval as reach, scheduled
    from timescaledb_information.jobs
    -- Not by a cast to regclass: the schema can be one that the role may not use.
    join pg_namespace n on n.nspname = hypertable_schema
    join pg_class r on (r.relnamespace, r.relname) = (n.oid, hypertable_name)
   where proc_name = 'policy_retention' and config ? 'drop_after'`;

/**
 * Records what policies of TimescaleDB have dropped, which they do not report: chunks that existed and no longer do,
 * within the range of the policy. Call it when the information is needed, and often enough that every chunk is known
 * before it is dropped.
 */
export const notePolicyDrops = (client: Pick<ClientBase, 'query'>) =>
  client.query(`
    with policies as materialized (${policiesSql}
    ), there as materialized (
      select p.relation, format('%I.%I', c.chunk_schema, c.chunk_name) as chunk_name, p.table_schema, p.table_name,
             c.range_start, c.range_end
        from policies p
        join timescaledb_information.chunks c on (c.hypertable_schema, c.hypertable_name) = (p.table_schema, p.table_name)
    ), gone as (
      delete from timescale.known_chunks k
       where not exists (select from there t where (t.relation, t.chunk_name) = (k.relation, k.chunk_name))
      returning k.relation, k.table_schema, k.table_name, k.range_start, k.range_end
    ), noted as (
      insert into timescale.dropped_ranges (table_schema, table_name, range_start, range_end, reason)
      select g.table_schema, g.table_name, g.range_start, g.range_end, 'retention'
        from gone g join policies p using (relation)
       where g.range_end <= p.reach
      on conflict do nothing
    )
    insert into timescale.known_chunks (relation, chunk_name, table_schema, table_name, range_start, range_end)
    select relation, chunk_name, table_schema, table_name, range_start, range_end from there
    on conflict do nothing`);

/**
 * Removes the record of dropped rows, in the transaction that swaps in a table which holds everything in the log. Its
 * chunks are known from then on, so that it is recorded when a policy drops them again.
 */
export async function forgetDropped(
  client: Pick<ClientBase, 'query'>,
  table: { readonly schema: string; readonly name: string },
): Promise<void> {
  await client.query(`delete from timescale.dropped_ranges where table_schema = $1 and table_name = $2`, [
    table.schema,
    table.name,
  ]);
  await notePolicyDrops(client);
}

/**
 * The time from which each hypertable holds everything in the log, by `schema.table`: only rows of that time and later
 * can be compared with a fold of the log. A table of which nothing was dropped on purpose is not in the map.
 *
 * A policy of TimescaleDB can drop everything in its range at any moment.
 */
export async function retainedSince(pool: Pick<Pool, 'query'>): Promise<Map<string, Date>> {
  const { rows } = await pool.query<{ name: string; since: Date }>(`
    select table_schema || '.' || table_name as name, max(since) as since
      from (
        select table_schema, table_name, range_end as since from timescale.dropped_ranges
        union all
        select table_schema, table_name, reach from (${policiesSql}) policies where scheduled
      ) dropped
     group by table_schema, table_name`);
  return new Map(rows.map(({ name, since }) => [name, since]));
}
