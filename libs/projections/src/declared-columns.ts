import type { ClientBase, Pool } from 'pg';
import { conflict, readRows } from '#lib/platform';
import type { Projection, TableDefinition } from './projection.js';

interface LiveColumn {
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly hasDefault: boolean;
}

async function liveColumns(client: Pick<ClientBase | Pool, 'query'>, table: string): Promise<LiveColumn[]> {
  const { rows } = await client.query<LiveColumn>(
    `select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as "isRequired", atthasdef as "hasDefault"
       from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped`,
    [table],
  );
  return rows;
}

const declaredColumns = ({ columns, nullable = [] }: TableDefinition) =>
  Object.entries(columns).map(([name, type]) => ({
    name,
    type: type === 'timestamptz' ? 'timestamp with time zone' : type,
    isRequired: !nullable.includes(name),
  }));

/** Whether a live table has the columns that are declared by now, of the same types. */
export async function hasDeclaredColumns(
  client: Pick<ClientBase | Pool, 'query'>,
  table: TableDefinition,
): Promise<boolean> {
  const live = await liveColumns(client, `${table.schema}.${table.name}`);
  const declared = declaredColumns(table);
  const isSame = (one: (typeof declared)[number]) =>
    live.some((is) => is.name === one.name && is.type === one.type && is.isRequired === one.isRequired);
  return declared.length === live.length && declared.every(isSame);
}

/** Why rows of the declaration cannot be written into a live table; undefined if they can. */
async function whyNotWritable(pool: Pool, table: TableDefinition): Promise<string | undefined> {
  const live = await liveColumns(pool, `${table.schema}.${table.name}`);
  const declared = declaredColumns(table);
  for (const { name, type, isRequired } of declared) {
    const is = live.find((column) => column.name === name);
    if (!is) return `has no column ${name}`;
    if (is.type !== type) return `has a column ${name} of the type ${is.type}, and not ${type}`;
    if (is.isRequired && !isRequired) return `has a column ${name} that cannot be null`;
  }
  const extra = live.find(
    ({ name, isRequired, hasDefault }) =>
      isRequired && !hasDefault && !declared.some((column) => column.name === name),
  );
  return extra && `has a column ${extra.name}, which is not declared and cannot be null`;
}

/** A table that no event can be folded into, because the declaration has changed and its version has not. */
export interface ChangedTable {
  readonly projection: string;
  readonly version: number;
  readonly table: string;
  readonly why: string;
}

/** The tables of a projector that are of the version of this code, and have other columns. */
export async function changedTables(
  pool: Pool,
  projector: string,
  projections: readonly Projection[],
): Promise<ChangedTable[]> {
  const written = await readRows(
    pool,
    undefined,
    `select projection, version from projection.checkpoints where projector = $1`,
    [projector],
  );
  const found: ChangedTable[] = [];
  for (const { name, version, table } of projections) {
    // Of another version, it is made again as it is declared.
    if (!written.some(([projection, of]) => projection === name && Number(of) === version)) continue;
    const why = await whyNotWritable(pool, table);
    if (why !== undefined)
      found.push({ projection: name, version, table: `${table.schema}.${table.name}`, why });
  }
  return found;
}

/** Throws `projection.changed`: the first event would fail, after commands have been accepted. */
export function refuseChanged(tables: readonly ChangedTable[]): void {
  if (tables.length === 0) return;
  const texts = tables.map(({ table, why }) => `the table ${table} ${why}`);
  throw conflict(
    'projection.changed',
    `A declaration has changed, and its version has not: ${texts.join('; ')}. ${raiseVersions(tables)}`,
    { tables: tables.map(({ table }) => table) },
  );
}

/** What to do about them. */
export const raiseVersions = (tables: readonly ChangedTable[]): string =>
  `Raise the version of ${tables.map(({ projection, version }) => `the projection ${projection} (it is ${version})`).join(', ')}: ` +
  `the table is then made again from the log. If somebody has changed the table by hand: \`waylog rebuild ${tables.map(({ table }) => table).join(' ')}\`.`;
