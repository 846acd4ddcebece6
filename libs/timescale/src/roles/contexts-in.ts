import type { Query } from '../schema/catalog.js';
import { schemasOf } from './rights.js';

/**
 * The contexts whose tables a database has: those that `waylog migrate` has noted, and those with all of their schemas.
 * The role that keeps the tables can neither create a schema nor take back what is noted, so that it cannot hide what
 * it has made among the tables.
 */
export async function contextsIn(query: Query): Promise<string[]> {
  const schemas = await query<{ name: string }>(`select nspname as name from pg_namespace order by 1`);
  const names = schemas.map(({ name }) => name);
  const [noted] = await query<{ exists: boolean }>(
    `select to_regclass('projection.contexts') is not null as exists`,
  );
  const rows = noted?.exists ? await query<{ name: string }>(`select name from projection.contexts`) : [];
  const there = rows.map(({ name }) => name).filter((name) => names.includes(name));
  return [...new Set([...there, ...contextsAmong(names)])].sort();
}

/** Notes that a database has tables of these contexts. */
export async function noteContexts(query: Query, contexts: readonly string[]): Promise<void> {
  await query(`insert into projection.contexts (name) select unnest($1::text[]) on conflict do nothing`, [
    contexts,
  ]);
}

/** The contexts that have all of their schemas among these. */
export const contextsAmong = (schemas: readonly string[]): string[] =>
  schemas.filter((name) => schemasOf(name).every((schema) => schemas.includes(schema)));
