import type { ClientBase } from 'pg';
import { readRows } from '#lib/platform';
import type { Finding } from './explain.js';

/** The tables that an audit reads and takes for what is stored. */
const TABLES = [
  'events',
  'streams',
  'snapshots',
  'digests',
  'digest_heads',
  'data_keys',
  'histories',
  'losses',
] as const;

/**
 * The ways in which a table can differ from the plain table that the migrations create. A replacement such as a view
 * can answer one thing to the audit and another to everyone else. So can row security, a child table whose rows are
 * read too, a generated column, or an index that leaves out rows. Rules and triggers can write something else than what
 * was appended.
 */
const replacedSql = `
  with tables as (
    select w.name, c.*
      from unnest($1::text[]) as w (name)
      left join pg_catalog.pg_class c
        on c.relname::text = w.name and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = 'log')
  )
  select 'log.' || t.name, array_to_string(array_remove(array[
           case when t.oid is null then 'is not there' end,
           case when t.relkind <> 'r' then
             'is ' || case t.relkind when 'v' then 'a view' when 'm' then 'a materialized view' when 'f' then 'a foreign table'
                                     when 'p' then 'a partitioned table' else 'no table' end end,
           case when t.relkind = 'r' and a.amname <> 'heap' then 'is kept by ' || a.amname end,
           case when t.relkind = 'r' and not (o.rolsuper or o.oid = d.datdba or o.oid = n.nspowner)
                then 'belongs to ' || o.rolname end,
           case when t.relrowsecurity or t.relforcerowsecurity
                     or exists (select from pg_catalog.pg_policy p where p.polrelid = t.oid)
                then 'has row security' end,
           case when t.relkind = 'r' then
             (select 'has the rule ' || min(r.rulename::text) from pg_catalog.pg_rewrite r where r.ev_class = t.oid) end,
           (select 'has the trigger ' || min(g.tgname::text) from pg_catalog.pg_trigger g where g.tgrelid = t.oid),
           (select 'has the child ' || min(i.inhrelid::regclass::text) from pg_catalog.pg_inherits i where i.inhparent = t.oid),
           (select 'is a child of ' || min(i.inhparent::regclass::text) from pg_catalog.pg_inherits i where i.inhrelid = t.oid),
           (select 'has the column ' || min(c.attname::text) || ', which is generated or of a type of somebody''s own'
              from pg_catalog.pg_attribute c join pg_catalog.pg_type y on y.oid = c.atttypid
             where c.attrelid = t.oid and c.attnum > 0 and not c.attisdropped and t.relkind = 'r'
               and (c.attgenerated <> '' or y.typnamespace <> 'pg_catalog'::regnamespace)),
           (select 'has the index ' || min(i.indexrelid::regclass::text) || ', which orders in a way of somebody''s own'
              from pg_catalog.pg_index i join pg_catalog.pg_opclass p on p.oid = any (i.indclass::oid[])
             where i.indrelid = t.oid and p.opcnamespace <> 'pg_catalog'::regnamespace)
         ], null), ', ')
    from tables t
    left join pg_catalog.pg_am a on a.oid = t.relam
    left join pg_catalog.pg_roles o on o.oid = t.relowner
    left join pg_catalog.pg_namespace n on n.oid = t.relnamespace
    left join pg_catalog.pg_database d on d.datname = current_database()`;

/**
 * Casts between types of PostgreSQL that PostgreSQL itself does not have: their functions can change what is read as
 * text.
 */
const castsSql = `
  select c.castsource::regtype::text || ' to ' || c.casttarget::regtype::text
    from pg_catalog.pg_cast c
    join pg_catalog.pg_type s on s.oid = c.castsource and s.typnamespace = 'pg_catalog'::regnamespace
    join pg_catalog.pg_type t on t.oid = c.casttarget and t.typnamespace = 'pg_catalog'::regnamespace
   where c.oid >= 16384 and c.castmethod = 'f'`;

/** Tables of the log that were replaced, or that answer something else than what is stored. */
export async function replacedTables(client: ClientBase): Promise<Finding[]> {
  const rows = (await readRows(client, undefined, replacedSql, [TABLES])) as [string, string][];
  const casts = ((await readRows(client, undefined, castsSql, [])) as [string][]).map(([cast]): Finding => ({
    problem: {
      code: 'log-replaced',
      detail: `there is a cast from ${cast} that is not PostgreSQL's: what the log answers may be what it makes of it. Drop the cast`,
    },
    spoils: 1,
  }));
  return [...casts, ...tablesReplaced(rows)];
}

const tablesReplaced = (rows: readonly [string, string][]): Finding[] =>
  rows.flatMap(([table, how]): Finding[] =>
    how === ''
      ? []
      : [
          {
            problem: {
              code: 'log-replaced',
              detail: `${table} is not the table that the migrations make: it ${how}. What it answers proves nothing; put the table back`,
            },
            spoils: 1,
          },
        ],
  );

/**
 * Starts an inspection of the log: until the end of the transaction its tables cannot be replaced, and no foreign
 * operator or function is mistaken for PostgreSQL's. Call it before anything is read.
 */
export async function holdTables(client: ClientBase): Promise<void> {
  await client.query('set local search_path = pg_catalog');
  await client.query(
    `lock table ${TABLES.map((table) => `only log.${table}`).join(', ')} in access share mode`,
  );
}
