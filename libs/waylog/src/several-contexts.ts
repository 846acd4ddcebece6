import type pg from 'pg';
import { PartOfLog, type ReadableLog } from '#lib/event-store';
import {
  compareLog,
  discardedEvents,
  parkedStreams,
  rebuild,
  verificationProgress,
  verify,
  type DiscardedEvent,
  type ParkedStream,
  type Projection,
  type RebuildOptions,
  type RebuildResult,
  type VerificationProgress,
  type VerifyOptions,
  type VerifyResult,
} from '#lib/projections';
import type { ModelDefinition, TableModel } from '#lib/timescale';
import type { Context } from './context.js';
import { tablesOf } from './tables-of.js';

/** Some tables of one context. */
export interface SomeTables {
  readonly context: Context;
  readonly projections: readonly Projection[];
}

/** The name of each table: with that of its context only if another context has a table of the same name. */
export function namesOfTables(contexts: readonly Context[]): ReadonlyMap<string, SomeTables> {
  const all = contexts.flatMap((context) => context.projections.map((one) => ({ context, one })));
  return new Map(
    all.map(({ context, one }) => {
      const isAlone = all.filter((other) => other.one.name === one.name).length === 1;
      return [isAlone ? one.name : `${context.name}.${one.name}`, { context, projections: [one] }];
    }),
  );
}

/** What a name means: a table, with or without its context, or all tables of a context. Undefined for another one. */
export function tablesCalled(contexts: readonly Context[], name: string): SomeTables | undefined {
  const known = namesOfTables(contexts).get(name);
  if (known) return known;
  for (const context of contexts) {
    if (name === context.name) return { context, projections: context.projections };
    const projections = context.projections.filter((one) => name === `${context.name}.${one.name}`);
    if (projections.length > 0) return { context, projections };
  }
  return undefined;
}

/** The tables of these names, by context; all for no name. A name that means none is passed over. */
export function tablesNamed(contexts: readonly Context[], wanted: readonly string[]): SomeTables[] {
  const found: readonly SomeTables[] =
    wanted.length > 0
      ? wanted.flatMap((name) => tablesCalled(contexts, name) ?? [])
      : contexts.map((context) => ({ context, projections: context.projections }));
  return contexts.flatMap((context) => {
    const projections = found.filter((one) => one.context === context).flatMap((one) => one.projections);
    // In the order of their declaration.
    return projections.length > 0
      ? [{ context, projections: context.projections.filter((one) => projections.includes(one)) }]
      : [];
  });
}

/** Whether a table is one of these contexts: findings and checkpoints outlive declarations. */
export const isDeclared = (
  contexts: readonly Context[],
  { projector, projection }: { readonly projector: string; readonly projection: string },
): boolean =>
  contexts.some(
    ({ name, projections }) => name === projector && projections.some((one) => one.name === projection),
  );

/** The context whose streams have this one among them. */
export const contextOf = (contexts: readonly Context[], streamId: string): Context | undefined =>
  contexts.find(({ streams }) => streams.some(({ category }) => category.includes(streamId)));

type OfTables = 'projector' | 'projections' | 'store' | 'keyOf' | 'onRewritten';

/** Verifies tables of several contexts one after another. A fault of the log itself is named once. */
export async function verifyTables(
  tables: readonly SomeTables[],
  log: ReadableLog,
  options: Omit<VerifyOptions, OfTables>,
): Promise<VerifyResult> {
  const results: VerifyResult[] = [];
  for (const { context, projections } of tables)
    results.push(await verify({ ...tablesOf(context, log), projections, ...options }));
  const problems = new Map(results.flatMap((result) => result.log.map((one) => [JSON.stringify(one), one])));
  return {
    events: results.reduce((sum, { events }) => sum + events, 0),
    position: results.at(-1)?.position ?? log.beginning,
    log: [...problems.values()],
    records: results.flatMap(({ records }) => records),
    incomplete: results.flatMap(({ incomplete }) => incomplete),
    unfoldable: results.flatMap(({ unfoldable }) => unfoldable),
    accepted: results.flatMap(({ accepted }) => accepted),
    tables: results.flatMap((result) => result.tables),
    isSound: results.every(({ isSound }) => isSound),
  };
}

/** Rebuilds tables of several contexts, those of one context together, one context after another. */
export async function rebuildTables(
  tables: readonly SomeTables[],
  log: ReadableLog,
  options: Omit<RebuildOptions, OfTables>,
): Promise<RebuildResult> {
  const results: RebuildResult[] = [];
  for (const { context, projections } of tables)
    results.push(await rebuild({ ...tablesOf(context, log), projections, ...options }));
  return {
    events: results.reduce((sum, { events }) => sum + events, 0),
    resumedFrom: results.reduce((sum, { resumedFrom }) => sum + resumedFrom, 0),
    position: results.at(-1)?.position ?? log.beginning,
    parked: results.flatMap(({ parked }) => parked),
    tables: results.flatMap((result) => result.tables),
  };
}

/** What all projectors have parked: context by context, the first parked first. */
export async function allParked(contexts: readonly Context[], pool: pg.Pool): Promise<ParkedStream[]> {
  const found = await Promise.all(contexts.map(({ name }) => parkedStreams(pool, name)));
  return found.flat();
}

/** What was discarded for all projectors: context by context, the last discarded first. */
export async function allDiscarded(contexts: readonly Context[], pool: pg.Pool): Promise<DiscardedEvent[]> {
  const found = await Promise.all(contexts.map(({ name }) => discardedEvents(pool, name)));
  return found.flat();
}

/** Whether the tables of a context are folded from another log. */
export async function isOtherLog(
  contexts: readonly Context[],
  pool: pg.Pool,
  log: ReadableLog,
): Promise<boolean> {
  const compared = await Promise.all(
    contexts.map(({ name, categories }) => compareLog(pool, new PartOfLog(log, categories), name)),
  );
  return compared.includes('other');
}

/** How far the scheduled verification of all contexts has come; undefined before it has begun. */
export async function allVerified(
  contexts: readonly Context[],
  pool: pg.Pool,
): Promise<VerificationProgress | undefined> {
  const found = await Promise.all(contexts.map(({ name }) => verificationProgress(pool, name)));
  const begun = found.filter((one) => one !== undefined);
  const [first] = begun;
  if (!first) return undefined;
  const earliest = (times: readonly string[]) => times.toSorted()[0];
  const ended = begun.flatMap(({ lastRoundEndedAt }) => lastRoundEndedAt ?? []);
  const isWhole = ended.length === contexts.length;
  return {
    streams: begun.reduce((sum, { streams }) => sum + streams, 0),
    skipped: begun.reduce((sum, { skipped }) => sum + skipped, 0),
    roundBeganAt: earliest(begun.map(({ roundBeganAt }) => roundBeganAt)) ?? first.roundBeganAt,
    ...(isWhole && {
      lastRoundEndedAt: earliest(ended) as string,
      lastRoundStreams: begun.reduce((sum, { lastRoundStreams = 0 }) => sum + lastRoundStreams, 0),
    }),
  };
}

/** All tables, for operations on tables: hypertables, retention, archives. */
export const tableModelsOf = (contexts: readonly Context[]): readonly TableModel[] =>
  tablesIn(contexts).map(({ table: { schema, name, timeColumn, identity, owner } }) => ({
    schema,
    name,
    ...(timeColumn !== undefined && {
      timeColumn,
      ...(identity && { identity }),
      ...(owner && { owner: { ...owner, table: `${schema}.${owner.table}` } }),
    }),
  }));

/** All tables, for code that validates or shows a schema. */
export const modelsOf = (contexts: readonly Context[]): readonly ModelDefinition[] =>
  tablesIn(contexts).map(({ context, name, version, table }) => {
    const { schema, columns, nullable = [], key, timeColumn, owner, source } = table;
    return {
      name,
      serviceName: context,
      schema,
      table: table.name,
      columns: Object.fromEntries(
        Object.entries(columns).map(([column, type]) => [
          column,
          nullable.includes(column) ? type : `${type} not null`,
        ]),
      ),
      key,
      ...(timeColumn !== undefined && { timeColumn }),
      relationships: owner ? [`${owner.column} -> ${schema}.${owner.table}.${owner.key}`] : [],
      sourceFile: source ?? `the context ${context}`,
      remake:
        `Raise the version of the projection ${name} (it is ${version}), and its table is made again from the log; or, if ` +
        `somebody has changed the table by hand: \`waylog rebuild ${context}.${name}\`.`,
    };
  });

const tablesIn = (contexts: readonly Context[]) =>
  contexts.flatMap((context) =>
    context.projections.map(({ name, version, table }) => ({ context: context.name, name, version, table })),
  );
