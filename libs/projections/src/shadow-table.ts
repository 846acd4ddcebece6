import type { ClientBase } from 'pg';
import { conflict, retry, SqlState, sqlStateOf } from '#lib/platform';
import { applySettings, forgetDropped, hypertableSettings, makeSchemaSql } from '#lib/timescale';
import { hasDeclaredColumns } from './declared-columns.js';
import { endCachedAnswers } from './generation.js';
import type { TableDefinition } from './projection.js';
import { tableSql } from './table-sql.js';

/** An empty copy of a table, in a separate schema. */
export interface Shadow {
  readonly schema: string;
  /** Schema and table. */
  readonly name: string;
  /** Schema and table of the live one. */
  readonly liveName: string;
  readonly table: TableDefinition;
}

/** What a shadow table is created for; each kind has its own schema, so that they do not drop each other's. */
export type ShadowPurpose = 'rebuild' | 'verify';

export function shadowOf(purpose: ShadowPurpose, table: TableDefinition): Shadow {
  const schema = `${purpose}_${table.schema}`;
  return { schema, table, name: `${schema}.${table.name}`, liveName: `${table.schema}.${table.name}` };
}

export const dropShadow = (client: ClientBase, { name }: Shadow) =>
  client.query(`drop table if exists ${name}`);

/**
 * After a failure, which another one must not hide: in a session whose transaction has failed nothing can be dropped.
 * What cannot be dropped, the next one that creates it drops.
 */
export async function discardShadows(client: ClientBase, shadows: Iterable<Shadow>): Promise<void> {
  await client.query('rollback').catch(() => undefined);
  for (const shadow of shadows) await dropShadow(client, shadow).catch(() => undefined);
}

/**
 * Creates the shadow table: with the columns, keys, indexes, checks, comments, settings and chunk interval of the live
 * one; or, if that has other columns than the table is declared with by now, as it is declared.
 */
export async function createShadow(client: ClientBase, shadow: Shadow): Promise<void> {
  const { schema, table } = shadow;
  await client.query(makeSchemaSql(schema));
  await dropShadow(client, shadow);
  if (!(await hasDeclaredColumns(client, table))) {
    for (const statement of tableSql(table, schema)) await client.query(statement);
    return;
  }
  await client.query(`create table ${shadow.name} (like ${shadow.liveName} including all)`);
  for (const column of table.erasable ?? [])
    await client.query(`alter table ${shadow.name} alter column ${column} set statistics 0`);
  const { rows } = await client.query<{ options: string | null; comment: string | null }>(
    `select array_to_string(reloptions, ', ') as options, quote_literal(obj_description(oid, 'pg_class')) as comment
       from pg_class where oid = $1::regclass`,
    [shadow.liveName],
  );
  if (rows[0]?.options) await client.query(`alter table ${shadow.name} set (${rows[0].options})`);
  if (rows[0]?.comment) await client.query(`comment on table ${shadow.name} is ${rows[0].comment}`);
  if (table.timeColumn) {
    await client.query(
      `select create_hypertable($1::regclass, by_range($2::name, d.time_interval), create_default_indexes => false)
         from timescaledb_information.dimensions d
        where d.hypertable_schema = $3 and d.hypertable_name = $4 and d.column_name = $2`,
      [shadow.name, table.timeColumn, table.schema, table.name],
    );
  }
}

const LOCK_TIMEOUT_MS = 200;

/**
 * Puts the shadow table in the live table's place, inside the caller's transaction; indexes keep the live table's
 * names, and TimescaleDB's policies and compression continue. Fails with `lock_not_available` while a reader is in the
 * way.
 */
export async function swapShadow(client: ClientBase, { name, liveName, table }: Shadow): Promise<void> {
  // A session that waits for this lock blocks every new reader. So it waits only a moment at a time, and the caller
  // tries again.
  await client.query(`set local lock_timeout = '${LOCK_TIMEOUT_MS}ms'`);
  await client.query(`lock table ${liveName} in access exclusive mode`);
  const wanted = await indexNames(client, liveName);
  const rights = await rightsOf(client, liveName);
  const settings = table.timeColumn ? await hypertableSettings(client, liveName) : undefined;
  await client.query(`drop table ${liveName}`);
  await client.query(`alter table ${name} set schema ${table.schema}`);
  // Neither "like" nor default privileges give a table that is moved into a schema the grants of the one before it.
  for (const right of rights) await client.query(right);
  await endCachedAnswers(client);
  const made = await indexNames(client, liveName);
  for (const [definition, index] of made) {
    const before = wanted.get(definition);
    if (before && before !== index)
      await client.query(`alter index ${table.schema}."${index}" rename to "${before}"`);
  }
  if (settings) {
    await applySettings(client, liveName, settings);
    await forgetDropped(client, table);
  }
}

/** The grants of a table to roles other than its owner, as statements. TimescaleDB gives them to its chunks as well. */
async function rightsOf(client: ClientBase, table: string): Promise<string[]> {
  const { rows } = await client.query<{ right: string }>(
    `select format('grant %s on ${table} to %s%s', string_agg(a.privilege_type, ', '),
                   case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                   case when a.is_grantable then ' with grant option' else '' end) as right
       from pg_class c, aclexplode(c.relacl) a
      where c.oid = $1::regclass and a.grantee <> c.relowner
      group by a.grantee, a.is_grantable`,
    [table],
  );
  return rows.map(({ right }) => right);
}

/** The indexes of a table by what they index. */
async function indexNames(client: ClientBase, table: string): Promise<Map<string, string>> {
  const { rows } = await client.query<{ definition: string; name: string }>(
    `select substring(pg_get_indexdef(indexrelid) from ' USING .*') || indisunique as definition, relname as name
       from pg_index join pg_class on pg_class.oid = indexrelid
      where indrelid = $1::regclass`,
    [table],
  );
  return new Map(rows.map(({ definition, name }) => [definition, name]));
}

/** About a minute of trying to lock the live tables, a moment at a time, before giving up. */
const SWAP_RETRY = { attempts: 60, baseDelayMs: 250, maxDelayMs: 1_500 };

const isLocked = (error: unknown): boolean => sqlStateOf(error) === SqlState.lockNotAvailable;

/**
 * Runs the transaction that swaps these shadow tables in, repeatedly while other sessions use a live table. Throws
 * `projection.table-in-use` in the end.
 */
export const swapping = <T>(
  shadows: readonly Shadow[],
  swap: () => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> =>
  retry(swap, { ...SWAP_RETRY, retryIf: isLocked, ...(signal && { signal }) }).catch((error: unknown) => {
    throw isLocked(error) ? tablesInUse(shadows) : error;
  });

const tablesInUse = (shadows: readonly Shadow[]) =>
  conflict(
    'projection.table-in-use',
    `${shadows.map(({ liveName }) => liveName).join(', ')}: read by a long transaction all the time, such as a backup or ` +
      `a report, so the rebuilt table could not take its place. Nothing has changed; try again when that transaction has ` +
      `ended (pg_stat_activity shows it): the rebuild goes on from where it is.`,
  );
