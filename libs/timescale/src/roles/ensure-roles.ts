import pg from 'pg';
import { ENDLESS_FUNCTIONS, HARMFUL_OF_TIMESCALE, SHOWS_STATEMENTS } from '../reader-role.js';
import { givePolicies, policiesSql } from '../jobs/job-owners.js';
import type { Query } from '../schema/catalog.js';
import { contextsIn } from './contexts-in.js';
import {
  appFunctions,
  projectorSchemas,
  rightsOn,
  ruledSchemas,
  schemasOf,
  tableRights,
  usesSchema,
  type WorkingRole,
} from './rights.js';
import { madeAccess, roleName, scramVerifier } from './role-names.js';

const { escapeIdentifier, escapeLiteral } = pg;

const WORKING: readonly WorkingRole[] = ['app', 'projector'];

/** The comment that Waylog puts on a role that it created. */
const MADE: Readonly<Record<WorkingRole, string>> = {
  app: 'Made by Waylog: appends to the log of one database and reads it.',
  projector: 'Made by Waylog: keeps the tables of one database.',
};

/**
 * The comment that an administrator puts on a role created for Waylog: Waylog then leaves its password alone.
 */
export const GIVEN = 'For Waylog';

export interface KnownRole {
  readonly name: string;
  /**
   * `made`: created by Waylog. `released`: the `down` of its migration removed its rights. `given`: an
   * administrator created it for Waylog. `missing`. `stranger`: an unrelated role that has this name.
   */
  readonly kind: 'made' | 'released' | 'given' | 'missing' | 'stranger';
  /** Attributes that no working role can have, such as superuser. */
  readonly tooMuch: string | null;
}

/** The working roles of the database of a session. */
export async function knownRoles(query: Query): Promise<Readonly<Record<WorkingRole, KnownRole>>> {
  const [{ database } = { database: '' }] = await query<{ database: string }>(
    `select current_database() as database`,
  );
  const names = { app: roleName(database, 'app'), projector: roleName(database, 'projector') };
  const rows = await query<{
    name: string;
    mark: string | null;
    login: boolean;
    too_much: string | null;
  }>(
    `select r.rolname as name, r.rolcanlogin as login, shobj_description(r.oid, 'pg_authid') as mark,
            nullif(concat_ws(', ', case when r.rolsuper then 'is a superuser' end,
                                   case when r.rolcreaterole then 'may create roles' end,
                                   case when r.rolcreatedb then 'may create databases' end,
                                   case when r.rolreplication then 'may replicate' end,
                                   case when r.rolbypassrls then 'passes by row security' end), '') as too_much
       from pg_roles r where r.rolname = any ($1)`,
    [Object.values(names)],
  );
  const known = (role: WorkingRole): KnownRole => {
    const name = names[role];
    const row = rows.find((each) => each.name === name);
    const kind = !row
      ? 'missing'
      : row.mark === MADE[role]
        ? row.login
          ? 'made'
          : 'released'
        : row.mark?.startsWith(GIVEN)
          ? 'given'
          : 'stranger';
    return { name, kind, tooMuch: row?.too_much ?? null };
  };
  return { app: known('app'), projector: known('projector') };
}

/**
 * Creates the working roles of a database, or updates them: passwords, owners, and exactly the rights of
 * rights.ts. The owner runs it in a transaction, after every migration run.
 *
 * @param contexts whose schemas, which must exist, become the projector's
 * @param aggregates how to drop and create continuous aggregates among their tables again
 * @returns why there are no roles, if so: everything then works as the owner
 */
export async function ensureDatabaseRoles(
  query: Query,
  ownerUrl: string,
  contexts: readonly string[],
  aggregates: { readonly drop: string; readonly create: string },
): Promise<string | undefined> {
  const own = projectorSchemas(contexts);
  const [owner] = await query<{ name: string; super: boolean; may: boolean; version: number }>(
    `select current_user as name, rolsuper as super, rolcreaterole as may,
            current_setting('server_version_num')::integer as version
       from pg_roles where rolname = current_user`,
  );
  if (!owner) throw new Error('PostgreSQL does not know who is logged in.');
  const roles = await knownRoles(query);
  for (const { name, kind, tooMuch } of Object.values(roles)) {
    if (kind === 'stranger') {
      return `There is a role ${name} that Waylog has not made. Rename it, or, if it is meant for Waylog: comment on role ${name} is '${GIVEN}'; then migrate again.`;
    }
    if (kind === 'given' && tooMuch)
      return `The role ${name} ${tooMuch}, which no role for Waylog's work may.`;
    // A released role cannot log in, and a user who cannot create roles cannot give it a password either.
    if ((kind === 'missing' || kind === 'released') && !owner.super && !owner.may) {
      return `${owner.name} may not create roles. Give it CREATEROLE, or make ${roles.app.name} and ${roles.projector.name} yourself (docs/how-to/database-roles.md), and migrate again.`;
    }
    if (kind !== 'given' && !madeAccess(ownerUrl, 'app')) {
      return 'DATABASE_URL carries no password for those of the working roles to follow from. Put one there, or make the roles yourself (docs/how-to/database-roles.md), and migrate again.';
    }
  }
  await query(
    [
      ...WORKING.flatMap((role) => makeSql(role, roles[role], ownerUrl, owner)),
      ...contexts.flatMap((context) => schemasOf(context).slice(1)).map(makeSchemaSql),
    ].join(';\n'),
  );
  await refuseChunks(query, roles.projector.name, own);
  const remake = await mustBeMadeAnew(query, roles.projector.name, own);
  if (remake) await query(aggregates.drop);
  await query(ownershipSql(roles.projector.name, own));
  await query(
    [
      ...(await tableGrants(query, roles, contexts)),
      ...(await otherGrants(query, roles, owner, contexts)),
    ].join(';\n'),
  );
  if (remake) {
    await query(`set local role ${escapeIdentifier(roles.projector.name)}`);
    await query(aggregates.create);
    await query('reset role');
  }
  await handOverPolicies(query, roles.projector.name, owner, own);
  return undefined;
}

type Roles = Readonly<Record<WorkingRole, KnownRole>>;

function makeSql(
  role: WorkingRole,
  { name, kind }: KnownRole,
  ownerUrl: string,
  owner: { readonly super: boolean; readonly may: boolean; readonly version: number },
): string[] {
  // The existing role can be used, even if another user administers it.
  if (!owner.super && !owner.may) return [];
  const id = escapeIdentifier(name);
  // From version 16 on, the creator of a role only administers it and is not a member.
  const join = `grant ${id} to current_user${owner.version >= 160_000 ? ' with inherit true, set true' : ''}`;
  if (kind === 'given') return owner.super ? [join] : [];
  const password = new URL(madeAccess(ownerUrl, role)?.url ?? '').password;
  // For a role that exists, only a superuser can name some of these attributes, even with the value that they
  // already have.
  const harmless = 'nosuperuser nocreatedb nocreaterole inherit noreplication nobypassrls';
  return [
    ...(kind === 'missing' ? [`create role ${id} ${harmless}`] : []),
    ...(kind !== 'missing' && owner.super ? [`alter role ${id} ${harmless}`] : []),
    `alter role ${id} login password ${escapeLiteral(scramVerifier(password))}`,
    // Only a superuser can set this. Otherwise PostgreSQL logs every row that a constraint refuses, and
    // erasing a flight does not reach that log.
    ...(owner.super ? [`alter role ${id} set log_error_verbosity = terse`] : []),
    ...(kind === 'missing' ? [`comment on role ${id} is ${escapeLiteral(MADE[role])}`] : []),
    join,
  ];
}

/** `create schema if not exists` needs the right to create a schema even if it exists. */
export const makeSchemaSql = (schema: string): string =>
  `do $$ begin if to_regnamespace('${schema}') is null then create schema ${schema}; end if; end $$`;

/**
 * Everything in the projector's schemas becomes the projector's. The chunks of a hypertable change owner with
 * it.
 */
const ownershipSql = (projector: string, schemas: readonly string[]): string => `
  do $own$
  declare
    v_schemas constant text[] := array[${schemas.map(escapeLiteral).join(', ')}];
    v_projector constant text := ${escapeLiteral(projector)};
    v_oid constant oid := (select oid from pg_roles where rolname = ${escapeLiteral(projector)});
    v_it record;
  begin
    for v_it in
      select format('schema %I', n.nspname) as what
        from pg_namespace n
       where n.nspname = any (v_schemas) and n.nspowner <> v_oid
      union all
      select format('%s %I.%I',
                    case when exists (select from timescaledb_information.continuous_aggregates a
                                       where a.view_schema = n.nspname and a.view_name = c.relname) then 'materialized view'
                         when c.relkind = 'v' then 'view'
                         when c.relkind = 'm' then 'materialized view'
                         else 'table' end, n.nspname, c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = any (v_schemas) and c.relkind in ('r', 'p', 'v', 'm') and c.relowner <> v_oid
    loop
      execute format('alter %s owner to %I', v_it.what, v_projector);
    end loop;
  end $own$`;

/**
 * A condition: the current user cannot give away tables in TimescaleDB's schema, that is chunks and what
 * continuous aggregates store. PostgreSQL gives a table only to a role that could create it in its schema; a
 * superuser is exempt. $1 is the new owner.
 */
const MAY_NOT_GIVE = `not (select rolsuper from pg_roles where rolname = current_user)
            and not has_schema_privilege($1::name, '_timescaledb_internal', 'create')`;

/** Throws, so that everything up to here is rolled back: half of it would be of no use. */
async function refuseChunks(query: Query, projector: string, schemas: readonly string[]): Promise<void> {
  const [row] = await query<{ refused: boolean }>(
    `select ${MAY_NOT_GIVE}
            and exists (select from timescaledb_information.chunks k
                          left join timescaledb_information.continuous_aggregates a
                            on (a.materialization_hypertable_schema, a.materialization_hypertable_name) = (k.hypertable_schema, k.hypertable_name)
                          join pg_class c on c.oid = format('%I.%I', k.hypertable_schema, k.hypertable_name)::regclass
                         where coalesce(a.view_schema, k.hypertable_schema) = any ($2)
                           and c.relowner <> (select oid from pg_roles where rolname = $1)) as refused`,
    [projector, schemas],
  );
  if (!row?.refused) return;
  throw new Error(
    'The hypertables have chunks, and only a superuser may give those away. Let a superuser run this, once: ' +
      `grant create on schema _timescaledb_internal to ${escapeIdentifier(projector)}; then migrate again.`,
  );
}

/**
 * A continuous aggregate that cannot be given away, and is empty by now, is created again by the projector
 * instead. One exists only in a database that was migrated back to before the follower kept the rollup.
 */
async function mustBeMadeAnew(query: Query, projector: string, schemas: readonly string[]): Promise<boolean> {
  const [row] = await query<{ anew: boolean }>(
    `select ${MAY_NOT_GIVE}
            and exists (select from timescaledb_information.continuous_aggregates
                         where view_schema = any ($2) and view_owner <> $1) as anew`,
    [projector, schemas],
  );
  return row?.anew === true;
}

/**
 * Policies follow their tables. A user that is not a superuser can only pass on what belongs to a role of
 * Waylog, such as that of the database before it was renamed. What belongs to the owner works as it is, since
 * the owner is a member of the projector.
 */
async function handOverPolicies(
  query: Query,
  projector: string,
  owner: { readonly super: boolean },
  schemas: readonly string[],
): Promise<void> {
  if (owner.super) {
    // Only a new scheduler notices. It waits for the end of this transaction.
    if (await givePolicies(query, schemas))
      await query('select _timescaledb_functions.restart_background_workers()');
    return;
  }
  const former = await query<{ name: string }>(
    `select distinct r.rolname as name
       from (${policiesSql}) p join pg_roles r on r.oid = p.owner
      where p.schema = any ($1) and not pg_has_role(r.oid, p.relowner, 'usage') and pg_has_role(current_user, r.oid, 'usage')
        and (shobj_description(r.oid, 'pg_authid') = $2 or starts_with(shobj_description(r.oid, 'pg_authid'), $3))`,
    [schemas, MADE.projector, GIVEN],
  );
  for (const { name } of former)
    await query(`reassign owned by ${escapeIdentifier(name)} to ${escapeIdentifier(projector)}`);
}

/** Changes the rights on tables from what they are to what they should be. */
async function tableGrants(query: Query, roles: Roles, contexts: readonly string[]): Promise<string[]> {
  const all = tableRights(contexts);
  const tables = await query<{ schema: string; name: string; app: string[]; projector: string[] }>(
    `select n.nspname as schema, c.relname as name,
            array(select lower(a.privilege_type) from aclexplode(c.relacl) a where a.grantee = $2::text::regrole) as app,
            array(select lower(a.privilege_type) from aclexplode(c.relacl) a where a.grantee = $3::text::regrole) as projector
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = any ($1) and c.relkind in ('r', 'p', 'v', 'm', 'f')`,
    [ruledSchemas(all), escapeIdentifier(roles.app.name), escapeIdentifier(roles.projector.name)],
  );
  return tables.flatMap(({ schema, name, ...granted }) => {
    const rights = rightsOn(all, schema, name);
    if (!rights) return [];
    const table = `${escapeIdentifier(schema)}.${escapeIdentifier(name)}`;
    return WORKING.flatMap((role) => {
      const wanted: readonly string[] | 'owner' = rights[role];
      if (wanted === 'owner') return [];
      const has = granted[role];
      const id = escapeIdentifier(roles[role].name);
      const more = wanted.filter((right) => !has.includes(right));
      const less = has.filter((right) => !wanted.includes(right));
      return [
        ...(more.length > 0 ? [`grant ${more.join(', ')} on table ${table} to ${id}`] : []),
        ...(less.length > 0 ? [`revoke ${less.join(', ')} on table ${table} from ${id}`] : []),
      ];
    });
  });
}

/** Rights on other objects: the database, schemas, functions, and future tables. */
async function otherGrants(
  query: Query,
  roles: Roles,
  owner: { readonly super: boolean },
  contexts: readonly string[],
): Promise<string[]> {
  const rights = tableRights(contexts);
  const app = escapeIdentifier(roles.app.name);
  const projector = escapeIdentifier(roles.projector.name);
  const [facts] = await query<{
    database: string;
    schemas: string[];
    reader: string | null;
    monitors: boolean;
    temporary: boolean;
    creates: boolean;
  }>(
    `select current_database() as database,
            array(select nspname::text from pg_namespace where nspname = any ($1)) as schemas,
            (select rolname::text from pg_roles where rolname = $2) as reader,
            pg_has_role(current_user, 'pg_monitor', 'usage with admin option') as monitors,
            exists (select from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                     where d.datname = current_database() and a.grantee = 0 and a.privilege_type = 'TEMPORARY') as temporary,
            exists (select from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                     where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE') as creates`,
    [ruledSchemas(rights), roleName(await databaseName(query), 'reader')],
  );
  if (!facts) throw new Error('PostgreSQL does not answer what is in the database.');
  const database = escapeIdentifier(facts.database);
  const reader = facts.reader === null ? undefined : escapeIdentifier(facts.reader);
  const all = WORKING.map((role) => escapeIdentifier(roles[role].name)).join(', ');
  return [
    `grant connect on database ${database} to ${all}`,
    // An archive reads its files back into a temporary table.
    `grant temporary on database ${database} to ${projector}`,
    ...(facts.temporary ? [`revoke temporary on database ${database} from public`] : []),
    ...(facts.creates ? ['revoke create on schema public from public'] : []),
    ...facts.schemas.flatMap((schema) =>
      WORKING.map((role) => {
        const id = escapeIdentifier(roles[role].name);
        if (role === 'projector' && projectorSchemas(contexts).includes(schema)) return '';
        return usesSchema(rights, role, schema)
          ? `grant usage on schema ${escapeIdentifier(schema)} to ${id}`
          : `revoke all on schema ${escapeIdentifier(schema)} from ${id}`;
      }),
    ),
    // Only called during an append. They run with the rights of the caller, so the rights on the tables
    // decide.
    'revoke execute on all functions in schema log from public',
    `grant execute on all functions in schema log to ${app}`,
    // A rebuild creates some tables again.
    ...contexts.map(
      (schema) =>
        `alter default privileges for role ${projector} in schema ${escapeIdentifier(schema)} grant select on tables to ${[app, ...(reader ? [reader] : [])].join(', ')}`,
    ),
    // It ends sessions of ad-hoc SQL whose callers no longer wait.
    ...(reader ? [`grant ${reader} to ${app}`] : []),
    // Sessions, statements and settings of others: for health, alerts and slow statements.
    ...(facts.monitors || owner.super ? [`grant pg_monitor to ${projector}`] : []),
    ...(owner.super ? await functionGrants(query, roles) : []),
  ].filter(Boolean);
}

/** Grants the functions that ensureReaderRole revokes from PUBLIC, if they are missing. */
async function functionGrants(query: Query, roles: Roles): Promise<string[]> {
  const rows = await query<{ role: WorkingRole; functions: string }>(
    `select 'app' as role, string_agg(f.name, ', ') as functions
       from unnest($3::text[]) as f (name)
      where not has_function_privilege($1::name, f.name, 'execute')
     having count(*) > 0
     union all
     select 'projector', string_agg(p.oid::regprocedure::text, ', ')
       from pg_proc p
      where (p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '^(pg_(try_)?advisory_.*|pg_notify|set_config)$'
             or ${HARMFUL_OF_TIMESCALE} or ${SHOWS_STATEMENTS})
        and not has_function_privilege($2::name, p.oid, 'execute')
     having count(*) > 0
     union all
     select w.role, string_agg(p.oid::regprocedure::text, ', ')
       from pg_proc p, (values ('app', $1::name), ('projector', $2::name)) as w (role, name)
      where ${ENDLESS_FUNCTIONS} and not has_function_privilege(w.name, p.oid, 'execute')
      group by w.role`,
    [roles.app.name, roles.projector.name, appFunctions],
  );
  return rows.map(
    ({ role, functions }) => `grant execute on routine ${functions} to ${escapeIdentifier(roles[role].name)}`,
  );
}

const databaseName = async (query: Query): Promise<string> =>
  (await query<{ database: string }>(`select current_database() as database`))[0]?.database ?? '';

/**
 * Gives everything back to the owner, so that an older Waylog works as it did. The roles stay, without rights
 * and without login: sessions of a running server continue with them once the database is migrated forward
 * again.
 */
export async function releaseDatabaseRoles(query: Query): Promise<void> {
  for (const context of await contextsIn(query))
    for (const schema of schemasOf(context).slice(1)) await query(`drop schema if exists ${schema} cascade`);
  for (const { name, kind } of Object.values(await knownRoles(query))) {
    if (kind !== 'made' && kind !== 'given') continue;
    const id = escapeIdentifier(name);
    await query(leaveSql(name));
    await query(`reassign owned by ${id} to current_user`);
    await query(`drop owned by ${id}`);
    if (kind === 'made') await query(`alter role ${id} nologin`);
  }
}

/** Removes a role from all memberships except the right to administer it. */
const leaveSql = (name: string): string => `
  do $leave$
  declare v_of name;
  begin
    for v_of in
      select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid
       where m.member = (select oid from pg_roles where rolname = ${escapeLiteral(name)}) and r.rolname !~ '^pg_'
    loop
      execute format('revoke %I from %I', v_of, ${escapeLiteral(name)});
    end loop;
  end $leave$`;

/** A right that a role has and should not have, or should have and lacks. */
export interface Deviation {
  readonly role: string;
  readonly table: string;
  readonly right: string;
  readonly has: boolean;
}

/** The differences between the rights on tables and rights.ts, for both roles, as PostgreSQL reports them. */
export async function rightsDeviations(query: Query): Promise<Deviation[]> {
  const roles = await knownRoles(query);
  const all = tableRights(await contextsIn(query));
  const rows = await query<{
    schema: string;
    name: string;
    role: WorkingRole;
    owns: boolean;
    rights: string[];
  }>(
    `select n.nspname as schema, c.relname as name, w.role, c.relowner = r.oid as owns,
            array(select p.name from unnest($4::text[]) as p (name)
                   where has_table_privilege(r.oid, c.oid, p.name)
                      or p.name in ('select', 'insert', 'update', 'references')
                         and has_any_column_privilege(r.oid, c.oid, p.name)) as rights
       from pg_class c join pg_namespace n on n.oid = c.relnamespace,
            (values ('app', $2::name), ('projector', $3::name)) as w (role, name)
       join pg_roles r on r.rolname = w.name
      where n.nspname = any ($1) and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
      order by 1, 2, 3`,
    [ruledSchemas(all), roles.app.name, roles.projector.name, ALL_RIGHTS],
  );
  return rows.flatMap(({ schema, name, role, owns, rights }) => {
    const wanted = rightsOn(all, schema, name)?.[role] ?? [];
    const of = { role: roles[role].name, table: `${schema}.${name}` };
    if (wanted === 'owner') return owns ? [] : [{ ...of, right: 'ownership', has: false }];
    return ALL_RIGHTS.filter(
      (right) => rights.includes(right) !== (wanted as readonly string[]).includes(right),
    ).map((right) => ({ ...of, right, has: rights.includes(right) }));
  });
}

const ALL_RIGHTS = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'];

/** Tables in Waylog's schemas that rights.ts does not name. */
export async function unruledTables(query: Query, schemas: readonly string[]): Promise<string[]> {
  const all = tableRights(await contextsIn(query));
  const tables = await query<{ schema: string; name: string }>(
    `select n.nspname as schema, c.relname as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = any ($1) and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`,
    [schemas],
  );
  return tables
    .filter(({ schema, name }) => !rightsOn(all, schema, name))
    .map(({ schema, name }) => `${schema}.${name}`);
}
