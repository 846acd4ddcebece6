import { contextsAmong, projectorFunctions, projectorSchemas, projectorViews } from '#lib/timescale';

/** What a dump has in a schema, as `pg_restore --list` names it. */
interface Entry {
  readonly kind: string;
  readonly schema: string;
  /** The name, with what belongs to it, and the owner behind it. */
  readonly rest: string;
}

/**
 * Kinds that call nothing by being restored, and whose expressions are looked at in the catalog before there is anything to call
 * them with.
 */
const HARMLESS = new Set([
  ...[
    'ACL',
    'COMMENT',
    'CONSTRAINT',
    'DEFAULT',
    'DEFAULT ACL',
    'FK CONSTRAINT',
    'INDEX',
    'INDEX ATTACH',
    'SCHEMA',
  ],
  ...[
    'SEQUENCE',
    'SEQUENCE OWNED BY',
    'SEQUENCE SET',
    'STATISTICS',
    'TABLE',
    'TABLE ATTACH',
    'TABLE DATA',
    'TYPE',
  ],
]);

const functionNames = new Set(Object.keys(projectorFunctions).map((name) => name.replace(/\(.*/, '')));
const CALLABLE = new Set(['FUNCTION', 'AGGREGATE']);

/** The lines of `pg_restore --list` that are no comments: `215; 1259 16412 TABLE flight flights owner`. */
export function entriesOf(list: string): Entry[] {
  return list.split('\n').flatMap((line) => {
    const [, kind, schema, rest] = /^\d+; \d+ \d+ ([A-Z][A-Z ]*?) (\S+) (.*)$/.exec(line) ?? [];
    return kind && schema && rest !== undefined ? [{ kind, schema, rest }] : [];
  });
}

/**
 * What of a dump no migration makes and may be called while it is restored: known by its name, before anything of the dump has
 * run. What hides behind a name that a migration uses shows in the catalog.
 */
export function foreignEntries(entries: readonly Entry[]): string[] {
  const own = projectorSchemas(contextsOf(entries));
  return entries
    .filter((entry) => isForeign(entry, own))
    .map(({ kind, schema, rest }) => `${kind} ${schema === '-' ? '' : `${schema} `}${rest}`);
}

/** The contexts whose tables are in a dump. */
export function contextsOf(entries: readonly Entry[]): readonly string[] {
  const schemas = entries.filter(({ kind }) => kind === 'SCHEMA').map(({ rest }) => rest.split(' ')[0] ?? '');
  return contextsAmong(schemas);
}

function isForeign({ kind, schema, rest }: Entry, own: readonly string[]): boolean {
  if (kind === 'CAST') return own.some((name) => new RegExp(`\\b${name}\\.`).test(rest));
  const isOwn = own.includes(schema);
  if (!isOwn && !schema.startsWith('_timescaledb_')) return false;
  const name = `${schema}.${(/^[^\s(]*/.exec(rest) ?? [''])[0]}`;
  if (CALLABLE.has(kind)) return !functionNames.has(name);
  if (kind === 'VIEW') return isOwn && !projectorViews.includes(name);
  // TimescaleDB has some of its own on hypertables.
  if (kind === 'TRIGGER') return !/^\S+ ts_\w+ /.test(rest);
  return !HARMLESS.has(kind);
}

/** The functions of the projector's schemas in a dump: by schema, as `pg_restore --function` takes them. */
export function functionsOf(entries: readonly Entry[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  const own = projectorSchemas(contextsOf(entries));
  for (const { kind, schema, rest } of entries) {
    if (!CALLABLE.has(kind) || !own.includes(schema)) continue;
    const signature = rest.slice(0, rest.lastIndexOf(')') + 1);
    found.set(schema, [...(found.get(schema) ?? []), signature]);
  }
  return found;
}
