import {
  catalogOf,
  objectKey,
  readCatalog,
  userSchemas,
  type Catalog,
  type ExpectedObject,
  type ObjectKind,
  type ModelDefinition,
  type Query,
} from '#lib/timescale';
import { differsByEdition } from './all.js';
import type { KnownMigration } from './migration.js';
import { WAYLOG } from './migration.js';

/**
 * What each migration creates, as the catalog of PostgreSQL showed it when the migrations were run on an empty
 * database: by revision, the objects that it creates or changes, and those that it drops. `npm run snapshot` writes the
 * file.
 */
export type Snapshot = Readonly<Record<string, SchemaDelta>>;

export interface SchemaDelta {
  /** `kind name` and its definition; an empty text for an object that only has to exist. */
  readonly makes: Readonly<Record<string, string>>;
  readonly drops?: readonly string[];
}

/** The objects that must exist after these migrations, and which of them created each: the fold of their deltas. */
export function expectedAt(
  migrations: readonly KnownMigration[],
  snapshot: Snapshot,
): ReadonlyMap<string, ExpectedObject> {
  const expected = new Map<string, ExpectedObject>();
  let previous = '0';
  for (const { revision, description, migration } of migrations) {
    const by = `migration ${revision} (${description})`;
    const remake = migration.holdsTheLog
      ? 'This is where the log is: stop the servers, and restore it from a backup.'
      : `Stop the servers, then \`waylog migrate --to ${previous} --yes\` and \`waylog migrate\`: what is folded from the log is made and filled again.`;
    previous = revision;
    const { makes = {}, drops = [] } = snapshot[revision] ?? {};
    for (const key of drops) expected.delete(key);
    for (const [key, definition] of Object.entries(makes))
      expected.set(key, { ...parseKey(key), definition, by, remake });
  }
  return expected;
}

/** `column flight.waypoints.lat` in its parts. */
function parseKey(key: string): { readonly kind: ObjectKind; readonly of: string; readonly name: string } {
  const [, kind, of, name = ''] =
    /^(schema|function) (.*)$/.exec(key) ??
    /^(table|view|column|primary key|constraint|hypertable|index|trigger) ([^.]+\.[^.]+)(?:\.(.*))?$/.exec(
      key,
    ) ??
    [];
  if (!kind || !of) throw new Error(`The snapshot has an object that nobody can read: ${key}`);
  return { kind: kind as ObjectKind, of, name };
}

/** Runs `step` for each migration and records its changes to the catalog. */
export async function takeSnapshot(
  query: Query,
  migrations: readonly KnownMigration[],
  step: (migration: KnownMigration) => Promise<void>,
): Promise<Snapshot> {
  const snapshot: Record<string, SchemaDelta> = {};
  let before: Catalog = catalogOf([]);
  for (const migration of migrations) {
    await step(migration);
    const now = await readCatalog(query, await userSchemas(query));
    const after = catalogOf([...now.values()].filter(({ of }) => !differsByEdition.includes(of)));
    const made = [...after].filter(([key, { definition }]) => before.get(key)?.definition !== definition);
    const drops = [...before.keys()].filter((key) => !after.has(key)).sort();
    snapshot[migration.revision] = {
      makes: Object.fromEntries(made.map(([key, { definition }]) => [key, definition] as const).sort(byKey)),
      ...(drops.length > 0 && { drops }),
    };
    before = after;
  }
  return snapshot;
}

const byKey = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1);

/** The tables that no context describes, such as the log's, as the snapshot shows them. */
export function modelsOfWaylog(
  migrations: readonly KnownMigration[],
  snapshot: Snapshot,
  described: readonly ModelDefinition[],
): ModelDefinition[] {
  const expected = expectedAt(migrations, snapshot);
  const taken = new Set(described.map(({ schema, table }) => `${schema}.${table}`));
  const objects = [...expected.values()];
  return objects
    .filter(({ kind, of }) => kind === 'table' && !taken.has(of))
    .map(({ of, by }) => {
      const [schema = '', table = ''] = of.split('.');
      const columns = objects
        .filter((object) => object.kind === 'column' && object.of === of)
        .map(({ name, definition }) => [name, definition.split(/ (?:collate|default|generated) ?/)[0] ?? '']);
      const get = (kind: ObjectKind) => expected.get(objectKey({ kind, of, name: '' }))?.definition;
      const key = /^PRIMARY KEY \((.*)\)$/.exec(get('primary key') ?? '')?.[1];
      const timeColumn = get('hypertable')?.replace(/^by /, '');
      return {
        name: table,
        serviceName: WAYLOG,
        schema,
        table,
        columns: Object.fromEntries(columns) as Record<string, string>,
        key: key ? key.replaceAll('"', '').split(', ') : [],
        ...(timeColumn !== undefined && { timeColumn }),
        relationships: [],
        sourceFile: migrations.find(({ revision }) => by.includes(revision))?.sourceFile ?? 'migrations',
      };
    });
}
