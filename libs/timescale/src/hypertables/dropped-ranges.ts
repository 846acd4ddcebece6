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

/** Tables from which a policy of TimescaleDB drops chunks, and up to when the ends of those may be. */
const policiesSql = `
  select hypertable_schema as table_schema, hypertable_name as table_name,
         format('%I.%I', hypertable_schema, hypertable_name)::regclass::oid as relation,
         now() - (config->>'drop_after')::interval as reach, scheduled
    from timescaledb_information.jobs
   where proc_name = 'policy_retention' and config ? 'drop_after'`;

/**
 * Notes what policies of TimescaleDB have dropped, which they do not say: chunks that there were and are no more, within
 * the reach of the policy. For whoever needs to know it now, and often enough that every chunk is known before it goes.
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
 * Takes back that rows are gone, in the transaction that puts a table which holds all that the log says in the place of the old
 * one; its chunks are known from then on, so that it is noted when a policy drops them again.
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
 * From when on each hypertable holds all that the log says, by `schema.table`: only rows of that time and later can be
 * compared with a fold of the log. A table of which nothing was dropped on purpose is not in the map.
 *
 * A policy of TimescaleDB may drop at any moment all that is in its reach.
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
