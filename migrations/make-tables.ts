import type { Vocabulary } from '#lib/event-store';
import { indexesSql, tableSql, type TableDefinition } from '#lib/projections';
import { makeSchemaSql, type Query } from '#lib/timescale';

/** What of a context concerns the schema. */
export interface DeclaredContext {
  /** The schema of its tables. */
  readonly name: string;
  readonly projections: readonly { readonly table: TableDefinition }[];
  /** What erases its streams is noted. */
  readonly vocabulary?: Vocabulary;
}

/**
 * Makes the tables that contexts declare and a database lacks, and indexes that their tables lack. What is there stays
 * as it is: the schema check says where it differs, and a rebuild makes it of the declaration.
 *
 * @returns the names of what was made
 */
export async function makeTables(query: Query, contexts: readonly DeclaredContext[]): Promise<string[]> {
  const made: string[] = [];
  for (const { name: schema, projections } of contexts) {
    const there = await query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p', 'i', 'I')`,
      [schema],
    );
    const has = new Set(there.map(({ name }) => name));
    const make = async (name: string, statements: readonly string[]) => {
      for (const statement of statements) await query(statement);
      made.push(`${schema}.${name}`);
    };
    await query(makeSchemaSql(schema));
    for (const { table } of projections) {
      if (!has.has(table.name)) {
        await make(table.name, tableSql(table));
        continue;
      }
      // Of a new version, whose table is made again when its projector starts.
      if (!(await hasColumns(query, table))) continue;
      for (const index of Object.keys(table.indexes ?? {}).filter((name) => !has.has(name)))
        await make(
          index,
          indexesSql({ ...table, indexes: { [index]: table.indexes?.[index] ?? [] } }, schema),
        );
    }
  }
  return made;
}

async function hasColumns(query: Query, { schema, name, columns }: TableDefinition): Promise<boolean> {
  const there = await query<{ name: string }>(
    `select attname as name from pg_attribute where attrelid = to_regclass($1) and not attisdropped`,
    [`${schema}.${name}`],
  );
  const names = there.map((column) => column.name);
  return Object.keys(columns).every((column) => names.includes(column));
}

/** Drops the schemas of contexts whose tables only declarations have made: without their checkpoints they are stale. */
export async function dropTables(query: Query, contexts: readonly DeclaredContext[]): Promise<void> {
  for (const { name } of contexts) await query(`drop schema if exists ${name} cascade`);
}
