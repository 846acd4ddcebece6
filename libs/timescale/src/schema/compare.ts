import { issue, type Severity, type ValidationIssue } from './issues.js';
import { objectKey, type Catalog, type CatalogObject, type ObjectKind } from './catalog.js';
import { tableNameOf, type ModelDefinition } from './models.js';

/** An object that should exist, and what requires it: `migration 1790000003000 (flight tables)`. */
export interface ExpectedObject extends CatalogObject {
  readonly by: string;
  /** How to create its table again, in a sentence. */
  readonly remake: string;
}

/** How serious it is if an object is missing or different, or exists although nothing creates it. */
const severities: Record<
  ObjectKind,
  { readonly missing: Severity; readonly changed: Severity; readonly extra: Severity }
> = {
  schema: { missing: 'error', changed: 'error', extra: 'warning' },
  table: { missing: 'error', changed: 'info', extra: 'warning' },
  view: { missing: 'error', changed: 'info', extra: 'warning' },
  column: { missing: 'error', changed: 'error', extra: 'warning' },
  'primary key': { missing: 'error', changed: 'error', extra: 'warning' },
  constraint: { missing: 'warning', changed: 'warning', extra: 'warning' },
  hypertable: { missing: 'error', changed: 'error', extra: 'error' },
  // Without an index the results are right, but a read can take a thousand times as long.
  index: { missing: 'warning', changed: 'warning', extra: 'info' },
  trigger: { missing: 'error', changed: 'error', extra: 'warning' },
  function: { missing: 'error', changed: 'error', extra: 'info' },
};

const location = ({ of, name }: CatalogObject): string => (name ? `${of}.${name}` : of);
const slug = (kind: ObjectKind): string => kind.replace(' ', '-');

/**
 * Every object that is missing, different, or unexpected. Consequences of another difference are not repeated: the
 * columns of a missing table, the checks and indexes of a missing or changed column.
 */
export function compareCatalogs(
  expected: ReadonlyMap<string, ExpectedObject>,
  actual: Catalog,
  /** Tables and schemas that belong to a user although no migration creates them. */
  known: ReadonlySet<string> = new Set(),
): ValidationIssue[] {
  const found: { readonly object: CatalogObject; readonly issue: ValidationIssue }[] = [];
  for (const [key, wanted] of expected) {
    const is = actual.get(key);
    if (!is) found.push({ object: wanted, issue: missing(wanted) });
    else if (is.definition !== wanted.definition) found.push({ object: wanted, issue: changed(wanted, is) });
  }
  for (const [key, object] of actual) {
    if (!expected.has(key) && !known.has(object.of)) found.push({ object, issue: extra(object) });
  }
  return found.filter(({ object }) => !followsFromAnother(object)).map((entry) => entry.issue);

  function followsFromAnother({ kind, of, definition }: CatalogObject): boolean {
    const differs = (other: ObjectKind, ofOther: string) =>
      expected.has(objectKey({ kind: other, of: ofOther, name: '' })) !==
      actual.has(objectKey({ kind: other, of: ofOther, name: '' }));
    if (kind === 'schema') return false;
    if (differs('schema', of.slice(0, of.indexOf('.')))) return true;
    if (kind === 'table' || kind === 'view' || kind === 'function') return false;
    if (differs('table', of) || differs('view', of)) return true;
    if (kind === 'column') return false;
    return found.some(
      ({ object }) =>
        object.kind === 'column' && object.of === of && wordsOf(definition).includes(object.name),
    );
  }
}

/** Uniqueness protects data; it is not only about speed. */
const isPromise = ({ kind, definition }: CatalogObject): boolean =>
  (kind === 'constraint' || kind === 'index') && /^(CREATE )?UNIQUE /.test(definition);

/** A column that code which does not know it cannot leave out: nothing can be written any more. */
const isRequired = ({ kind, definition }: CatalogObject): boolean =>
  kind === 'column' && / not null(?! generated| default)/.test(definition);

const wordsOf = (definition: string): string[] => definition.split(/\W+/);

function missing(object: ExpectedObject): ValidationIssue {
  const { kind, definition, by } = object;
  const at = location(object);
  return issue(
    isPromise(object) ? 'error' : severities[kind].missing,
    `missing-${slug(kind)}`,
    at,
    `The ${kind} ${at} is missing; ${by} makes it.`,
    how(object, definition),
  );
}

function changed(wanted: ExpectedObject, is: CatalogObject): ValidationIssue {
  const at = location(wanted);
  return issue(
    isPromise(wanted) ? 'error' : severities[wanted.kind].changed,
    `changed-${slug(wanted.kind)}`,
    at,
    `The ${wanted.kind} ${at} is "${is.definition}"; ${wanted.by} makes it "${wanted.definition}".`,
    how(wanted, wanted.definition),
  );
}

function extra(object: CatalogObject): ValidationIssue {
  const at = location(object);
  return issue(
    isRequired(object) ? 'error' : severities[object.kind].extra,
    `extra-${slug(object.kind)}`,
    at,
    `The ${object.kind} ${at} is there, but no migration makes it.`,
    object.kind === 'table'
      ? `Move it into a schema of its own and register it as a model (POST /v1/admin/models), or drop it: drop table ${at}.`
      : `Drop it if nobody needs it, or write a migration that makes it.`,
  );
}

/** How to fix it: by one statement if that is enough, otherwise by creating the table again. */
function how({ kind, of, name, by, remake }: ExpectedObject, definition: string): string {
  switch (kind) {
    case 'index':
      return `Make it again: ${definition}`;
    case 'primary key':
      return `Make it again: alter table ${of} add ${definition}`;
    case 'constraint':
      return `Make it again: alter table ${of} add constraint ${name} ${definition}`;
    case 'function':
    case 'trigger':
      return `Make it again as the sources up to ${by} say.`;
    default:
      return remake;
  }
}

/** Types that have two names: the short one, which models use, and PostgreSQL's. */
const aliases: Record<string, string> = {
  timestamptz: 'timestamp with time zone',
  int: 'integer',
  int4: 'integer',
  int8: 'bigint',
  bool: 'boolean',
  float8: 'double precision',
  varchar: 'character varying',
};

const NOT_NULL = ' not null';

/** The type that a model states, as PostgreSQL writes it, and whether it states that there are no nulls. */
export function statedType(type: string): { readonly type: string; readonly notNull: boolean } {
  const notNull = type.endsWith(NOT_NULL);
  const bare = notNull ? type.slice(0, -NOT_NULL.length) : type;
  return { type: aliases[bare] ?? bare, notNull };
}

/** The type of a column in the catalog, without what follows it. */
export const catalogType = (definition: string): string =>
  definition.split(/ (?:collate|not null|default|generated) ?/)[0] ?? definition;

/** Whether a column of this definition is what a model states. */
export const isStated = (definition: string, stated: string): boolean =>
  catalogType(definition) === statedType(stated).type &&
  definition.includes(NOT_NULL) === statedType(stated).notNull;

/** What a catalog lacks, or has in another form than the models say. */
export function compareModels(models: readonly ModelDefinition[], actual: Catalog): ValidationIssue[] {
  const described = new Set(
    models.flatMap((model) => Object.keys(model.columns).map((column) => `${tableNameOf(model)}.${column}`)),
  );
  return models.flatMap((model) => compareModel(model, actual, described));
}

function compareModel(
  model: ModelDefinition,
  actual: Catalog,
  /** The columns of all models: a missing column is reported once, not also for the tables that refer to it. */
  described: ReadonlySet<string>,
): ValidationIssue[] {
  const table = tableNameOf(model);
  const source = `model ${model.serviceName}.${model.name} (${model.sourceFile})`;
  const get = (kind: ObjectKind, name = '', of = table) => actual.get(objectKey({ kind, of, name }));
  if (!get('table') && !get('view')) {
    return [
      issue(
        'error',
        'missing-table',
        table,
        `The table ${table} of ${source} is missing.`,
        `Run \`waylog migrate\`; for a registered model, register it again with autoCreateTables.`,
      ),
    ];
  }
  const byMigration = model.remake ?? `Write a migration that changes it, or correct the model.`;
  const issues: ValidationIssue[] = [];
  for (const [name, stated] of Object.entries(model.columns)) {
    const at = `${table}.${name}`;
    const column = get('column', name);
    const wanted = statedType(stated);
    if (!column) {
      issues.push(
        issue(
          'error',
          'missing-column',
          at,
          `The column ${at} of ${source} is missing.`,
          model.remake ?? `Write a migration that adds it: alter table ${table} add ${name} ${stated}`,
        ),
      );
    } else if (catalogType(column.definition) !== wanted.type) {
      issues.push(
        issue(
          'error',
          'changed-column',
          at,
          `The column ${at} is ${catalogType(column.definition)}; ${source} says ${wanted.type}.`,
          byMigration,
        ),
      );
    } else if (wanted.notNull && !column.definition.includes(NOT_NULL)) {
      issues.push(
        issue(
          'error',
          'changed-column',
          at,
          `The column ${at} may be null; ${source} says that it may not.`,
          model.remake ?? `alter table ${table} alter ${name} set not null`,
        ),
      );
    }
  }
  for (const object of actual.values()) {
    if (object.kind !== 'column' || object.of !== table || object.name in model.columns) continue;
    const required = isRequired(object);
    const at = location(object);
    issues.push(
      issue(
        required ? 'error' : 'warning',
        'extra-column',
        at,
        `The column ${at} is not in ${source}${required ? ', and may not be null: nothing can be written' : ''}.`,
        model.remake ?? `Drop it if nobody needs it, or describe it in the model.`,
      ),
    );
  }
  // A view has neither key nor chunks of its own.
  if (!get('table')) return issues;
  const key = get('primary key');
  const wantedKey = model.key.length > 0 ? `PRIMARY KEY (${model.key.join(', ')})` : undefined;
  const keyIsWhole = model.key.every((name) => get('column', name));
  if (keyIsWhole && key?.definition.replaceAll('"', '') !== wantedKey) {
    issues.push(
      key
        ? issue(
            'error',
            'changed-primary-key',
            table,
            `The primary key of ${table} is "${key.definition}"; ${source} says ${wantedKey ? `"${wantedKey}"` : 'that there is none'}.`,
            byMigration,
          )
        : issue(
            'error',
            'missing-primary-key',
            table,
            `The table ${table} has no primary key; ${source} says "${wantedKey}".`,
            model.remake ?? `Make it: alter table ${table} add ${wantedKey}`,
          ),
    );
  }
  const hypertable = get('hypertable')?.definition;
  const wanted = model.timeColumn === undefined ? undefined : `by ${model.timeColumn}`;
  if (hypertable !== wanted) {
    issues.push(
      hypertable === undefined
        ? issue(
            'error',
            'missing-hypertable',
            table,
            `The table ${table} is a plain table; ${source} says that it is a hypertable ${wanted}.`,
            model.remake ??
              `Make it one: select create_hypertable('${table}', by_range('${model.timeColumn}'), migrate_data => true)`,
          )
        : issue(
            'error',
            wanted ? 'changed-hypertable' : 'extra-hypertable',
            table,
            `The table ${table} is a hypertable ${hypertable}; ${source} says ${wanted ?? 'that it is a plain table'}.`,
            model.remake ?? `A hypertable cannot be changed into this: rebuild the table.`,
          ),
    );
  }
  for (const relationship of model.relationships) {
    const target = parseRelationship(relationship)?.target;
    if (!target || described.has(`${target.table}.${target.column}`)) continue;
    if (!get('column', target.column, target.table)) {
      issues.push(
        issue(
          'warning',
          'broken-relationship',
          `${table}.${relationship.split(' ')[0]}`,
          `${source} says ${relationship}, but there is no column ${target.table}.${target.column}.`,
          `Correct the relationship in the model.`,
        ),
      );
    }
  }
  return issues;
}

/** `flight_id -> flight.flights.id` in its parts; undefined for another text. */
export function parseRelationship(
  text: string,
):
  | { readonly column: string; readonly target: { readonly table: string; readonly column: string } }
  | undefined {
  const [, column, table, targetColumn] = /^(\w+) -> (\w+\.\w+)\.(\w+)$/.exec(text) ?? [];
  return column && table && targetColumn ? { column, target: { table, column: targetColumn } } : undefined;
}
