import { conflict } from '#lib/platform';
import type { Query } from '../schema/catalog.js';
import { contextsIn } from './contexts-in.js';
import { projectorSchemas } from './rights.js';
import { roleNames } from './role-names.js';

/**
 * The callable objects that the migrations create in the schemas of the tables, as in the snapshot of the schema; a
 * test compares them. Anything else there was created by another user: the projector's role can do that.
 */
export const projectorFunctions: Readonly<Record<string, string>> = {
  'flight.create_frame_minutes()':
    'returns void language plpgsql volatile, source 4639fb2ecfd887be9c4644a6a4386ac3cb71a7e223d1553ad6a9f9e1217f60f7',
  'flight.drop_frame_minutes()':
    'returns void language plpgsql volatile, source e6bab6d24aa05a2e1307b58e7db4814a3b0e0c3f769ed86b9dcdd3394a42377c',
  'flight.great_circle_metres(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)':
    'returns double precision language sql immutable, source a3b49f83ad04c98eb17355a77a87b8a12f55c890371e79d2e97bbfb62dc23133',
  'flight.path(double precision, double precision)':
    'returns double precision[] language internal immutable, source 47a318ba1be02bec16c33911fa02867727817a1c7824b78d7bd3dfb6542ff495',
  'flight.path_step(path double precision[], lat double precision, lon double precision)':
    'returns double precision[] language plpgsql immutable, source 203c251a780603e8a4164f8b9905c8d951a65fbbcea293d924d74902648535bf',
};

/** Views that the migrations create there. */
export const projectorViews: readonly string[] = [
  'flight.frame_minutes',
  // In the Timescale edition, between two migrations.
  'flight.frame_minute_parts',
];

/**
 * $1 schemas of the projector, $2 its names and those of the other roles without rights of the owner, $3 and $4 the
 * functions that the migrations create and their definitions, $5 the views.
 *
 * An expression can call what the migrations create, what extensions contain, and of PostgreSQL's own functions only
 * immutable ones: others read files, write them, or run SQL from a text. The called functions are read from its tree,
 * as PostgreSQL records no dependency on its own functions.
 */
const foreignSql = `
  with theirs as materialized (
    select n.oid, quote_ident(n.nspname) as name, n.nspname = any ($1) as own
      from pg_catalog.pg_namespace n
     where n.nspname = any ($1) or n.nspname ~ '^_timescaledb_'
  ), extension as materialized (
    select d.classid, d.objid from pg_catalog.pg_depend d where d.deptype = 'e'
  ), functions as materialized (
    select p.oid, p.oid::regprocedure::text as name, p.pronamespace, p.provolatile,
           p.pronamespace = 'pg_catalog'::regnamespace as builtin,
           exists (select from extension x where x.classid = 'pg_proc'::regclass and x.objid = p.oid) as extended,
           exists (select from unnest($3::text[], $4::text[]) as k (signature, definition)
                    where k.signature = n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
                      and k.definition = 'returns ' || coalesce(pg_get_function_result(p.oid), 'nothing') || ' language ' || l.lanname
                          || case p.provolatile when 'i' then ' immutable' when 's' then ' stable' else ' volatile' end
                          || case when p.prosecdef then ' security definer' else '' end
                          || coalesce(' set ' || (select string_agg(s, ', ' order by s) from unnest(p.proconfig) s), '')
                          || ', source ' || encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex')) as known
      from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      join pg_catalog.pg_language l on l.oid = p.prolang
     where p.pronamespace in (select oid from theirs) or n.nspname ~ '^pg_temp_' or pg_get_userbyid(p.proowner) = any ($2)
        or p.pronamespace = 'pg_catalog'::regnamespace
        or exists (select from extension x where x.classid = 'pg_proc'::regclass and x.objid = p.oid)
        -- Called by continuous aggregates also in a database from before the roles, whose contexts cannot be told.
        or n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' = any ($3)
  ), relations as materialized (
    select c.oid, c.oid::regclass::text as name, c.relkind, t.own
      from pg_catalog.pg_class c join theirs t on t.oid = c.relnamespace
     where not exists (select from extension x where x.classid = 'pg_class'::regclass and x.objid = c.oid)
  ), expressions (name, tree) as (
    select format('check %s of %s', k.conname, r.name), k.conbin::text
      from relations r join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.conbin is not null
    union all
    select format('%s of the column %s of %s', case a.attgenerated when '' then 'default' else 'generated value' end, a.attname, r.name),
           d.adbin::text
      from relations r join pg_catalog.pg_attrdef d on d.adrelid = r.oid
      join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = d.adnum
    union all
    select format('index %s', i.indexrelid::regclass), concat(i.indexprs::text, i.indpred::text)
      from relations r join pg_catalog.pg_index i on i.indrelid = r.oid
    union all
    select format('partitions of %s', r.name), p.partexprs::text
      from relations r join pg_catalog.pg_partitioned_table p on p.partrelid = r.oid
    union all
    select format('statistics %s', s.stxname), s.stxexprs::text
      from relations r join pg_catalog.pg_statistic_ext s on s.stxrelid = r.oid
    union all
    select format('view %s', r.name), w.ev_action::text
      from relations r join pg_catalog.pg_rewrite w on w.ev_class = r.oid and r.relkind in ('v', 'm')
  ), calls as (
    select e.name, (regexp_matches(e.tree, ':(?:funcid|opfuncid|hashfuncid|negfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g'))[1]::oid as function
      from expressions e
  )
  select 'function ' || f.name as name from functions f
   where not f.known and not f.extended and not f.builtin
  union
  select c.name from calls c left join functions f on f.oid = c.function
   where c.function <> 0 and not coalesce(f.known or f.extended or f.builtin and f.provolatile = 'i', false)
  union
  select case r.relkind when 'm' then 'materialized view ' when 'f' then 'foreign table ' else 'view ' end || r.name
    from relations r where r.relkind in ('m', 'f') or r.relkind = 'v' and r.own and r.name <> all ($5)
  union
  select format('trigger %s of %s', g.tgname, r.name)
    from relations r join pg_catalog.pg_trigger g on g.tgrelid = r.oid and not g.tgisinternal
   where not exists (select from extension x where x.classid = 'pg_proc'::regclass and x.objid = g.tgfoid)
  union
  select format('rule %s of %s', w.rulename, r.name)
    from relations r join pg_catalog.pg_rewrite w on w.ev_class = r.oid and r.relkind not in ('v', 'm')
  union
  select format('policy %s of %s', p.polname, r.name) from relations r join pg_catalog.pg_policy p on p.polrelid = r.oid
  union
  select 'type ' || y.oid::regtype::text
    from pg_catalog.pg_type y join theirs t on t.oid = y.typnamespace
   where y.typtype not in ('c', 'e') and not (y.typtype = 'b' and y.typcategory = 'A')
     and not exists (select from extension x where x.classid = 'pg_type'::regclass and x.objid = y.oid)
  union
  select 'operator ' || o.oid::regoperator::text
    from pg_catalog.pg_operator o join theirs t on t.oid = o.oprnamespace
   where not exists (select from extension x where x.classid = 'pg_operator'::regclass and x.objid = o.oid)
  union
  select format('operator class %s.%s', t.name, o.opcname)
    from pg_catalog.pg_opclass o join theirs t on t.oid = o.opcnamespace
   where not exists (select from extension x where x.classid = 'pg_opclass'::regclass and x.objid = o.oid)
  union
  select format('cast from %s to %s', a.castsource::regtype, a.casttarget::regtype)
    from pg_catalog.pg_cast a join pg_catalog.pg_type y on y.oid in (a.castsource, a.casttarget)
   where y.typnamespace in (select oid from theirs)
     and not exists (select from extension x where x.classid = 'pg_cast'::regclass and x.objid = a.oid)
   order by 1`;

/** How many are named in a refusal. */
const NAMED = 10;

/**
 * Objects in the schemas of the tables, and among their chunks, that would run with the rights of a role that reads,
 * writes or restores them, and that no migration creates: `function flight.f(text)`, `check c of flight.flights`.
 *
 * @param contexts whose tables these are; by default those that the database has
 */
export async function foreignCode(query: Query, contexts?: readonly string[]): Promise<string[]> {
  const [{ database } = { database: '' }] = await query<{ database: string }>(
    `select current_database() as database`,
  );
  const rows = await query<{ name: string }>(foreignSql, [
    projectorSchemas(contexts ?? (await contextsIn(query))),
    roleNames(database),
    Object.keys(projectorFunctions),
    Object.values(projectorFunctions),
    projectorViews,
  ]);
  return rows.map(({ name }) => name);
}

/**
 * Refuses to work with the owner's rights if foreign code would get them too. The projector's role can create
 * functions, and have the tables call them. Its only right on the log is to read it, and it must not gain others.
 *
 * @throws WaylogError `database.foreign-code`
 */
export async function refuseForeignCode(
  query: Query,
  undone: string,
  contexts?: readonly string[],
): Promise<void> {
  refuseForeign(await foreignCode(query, contexts), undone);
}

/** @see refuseForeignCode */
export function refuseForeign(found: readonly string[], undone: string): void {
  if (found.length === 0) return;
  const more = found.length > NAMED ? ` and ${found.length - NAMED} more` : '';
  throw conflict(
    'database.foreign-code',
    `${undone}: no migration makes ${found.slice(0, NAMED).join(', ')}${more}. This would run with the rights of the owner of the ` +
      `database as soon as it works with the tables. Find out who has made it; drop it, or move it into a schema of your own.`,
    { found },
  );
}
