import {
  compareCatalogs,
  compareModels,
  failingAt,
  isStated,
  issue,
  readCatalog,
  registeredModels,
  tableNameOf,
  type ExpectedObject,
  type ModelDefinition,
  type Query,
  type SchemaValidationResult,
  type ValidationIssue,
  type ValidationLevel,
} from '#lib/timescale';
import { differsByEdition } from './all.js';
import type { KnownMigration } from './migration.js';
import { appliedMigrations } from './records.js';
import { expectedAt, type Snapshot } from './snapshot.js';

export interface ValidationStandard {
  /** The tables as the code sees them. */
  readonly models: readonly ModelDefinition[];
  readonly migrations: readonly KnownMigration[];
  readonly snapshot: Snapshot;
}

/** Compares the live schema with the migrations and with the models, those of the code and registered ones. */
export async function validate(
  query: Query,
  level: ValidationLevel,
  standard: ValidationStandard,
): Promise<SchemaValidationResult> {
  const issues = level === 'none' ? [] : await findIssues(query, standard);
  return {
    isValid: failingAt(level, issues).length === 0,
    issues,
    validatedAt: new Date().toISOString(),
    validationLevel: level,
  };
}

async function findIssues(query: Query, standard: ValidationStandard): Promise<ValidationIssue[]> {
  const { migrations, models, snapshot } = standard;
  const applied = await appliedMigrations(query);
  const registered = await registeredModels(query);
  const isApplied = new Set(applied.map(({ name }) => name));
  const missing = migrations.filter(({ name }) => !isApplied.has(name));
  const unknown = applied.filter(({ name }) => !migrations.some((each) => each.name === name));
  const issues = [
    ...missing.map(({ name, description }) =>
      issue(
        'error',
        'missing-migration',
        `waylog_migrations.${name}`,
        `The migration ${name} (${description}) has not run on this database.`,
        'Run `waylog migrate`.',
      ),
    ),
    ...unknown.map(({ name }) =>
      issue(
        'error',
        'unknown-migration',
        `waylog_migrations.${name}`,
        `The migration ${name} has run on this database, but this version of Waylog does not know it: a newer one has been here.`,
        'Deploy the newer version, or take the migration back with it.',
      ),
    ),
  ];
  const unphotographed = migrations.filter(
    ({ name, revision }) => isApplied.has(name) && !snapshot[revision],
  );
  if (unphotographed.length > 0) {
    issues.push(
      ...unphotographed.map(({ name, revision }) =>
        issue(
          'warning',
          'stale-snapshot',
          `migrations/schema-snapshot.ts.${revision}`,
          `The snapshot does not say what ${name} makes, so the schema was only compared with the models.`,
          'Run `npm run snapshot` and commit the file.',
        ),
      ),
    );
  } else {
    const made = expectedAt(
      migrations.filter(({ name }) => isApplied.has(name)),
      snapshot,
    );
    const folded = new Map(
      models.filter(({ remake }) => remake !== undefined).map((model) => [tableNameOf(model), model.columns]),
    );
    // Of a folded table, the declaration says by now what a migration said first.
    const expected = new Map(
      [...made].filter(([, { kind, of, name, definition }]) => {
        const columns = kind === 'column' ? folded.get(of) : undefined;
        return !columns || isStated(definition, columns[name] ?? '');
      }),
    );
    const isDeclared = ({ category, location }: ValidationIssue) =>
      category === 'extra-column' && folded.has(location.replace(/\.[^.]+$/, ''));
    // Also the schemas of migrations that have not run: objects there would block them.
    const schemas = schemasOf(expectedAt(migrations, snapshot));
    // What contexts declare and no migration makes is compared with the declaration below.
    const declared = models.map(tableNameOf).filter((name) => !expected.has(`table ${name}`));
    const left = new Set([...differsByEdition, ...declared, ...registered.map(tableNameOf)]);
    // Tables of a newer Waylog are not strays.
    const strays = unknown.length > 0 ? /^extra-/ : /^$/;
    const found = compareCatalogs(expected, await readCatalog(query, schemas), left);
    issues.push(...found.filter((one) => !strays.test(one.category) && !isDeclared(one)));
  }
  const inForce = missing.length > 0 ? registered : [...models, ...registered];
  const schemas = [...new Set(inForce.flatMap(schemasOfModel))];
  issues.push(...compareModels(inForce, await readCatalog(query, schemas)));
  // A difference from both migrations and models is one issue.
  return [
    ...new Map(issues.toReversed().map((each) => [`${each.category} ${each.location}`, each])).values(),
  ].reverse();
}

const schemasOf = (expected: ReadonlyMap<string, ExpectedObject>): string[] =>
  [...expected.values()].filter(({ kind }) => kind === 'schema').map(({ of }) => of);

/** Its own schemas, and those that it refers to. */
const schemasOfModel = ({ schema, relationships }: ModelDefinition): string[] => [
  schema,
  ...relationships.flatMap((text) => /-> (\w+)\./.exec(text)?.[1] ?? []),
];
