import type pg from 'pg';
import { readRows } from '#lib/platform';
import { PartOfLog, type ReadableLog } from '#lib/event-store';
import { projectionStates, type OnRewritten, type Projection, type ProjectionStatus } from '#lib/projections';
import type { Context } from './context.js';

/** What the tables of a context are made of: for rebuilding, verifying, repairing and unparking. */
export interface TablesOf {
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly followers: readonly string[];
  /** The part of the log that they are folded from. */
  readonly store: ReadableLog;
  /** The value of the first key column of a stream's rows. */
  readonly keyOf: (streamId: string) => string;
  /** All streams whose rows have the value of this one's there: one of each category. */
  readonly besides: (streamId: string) => readonly string[];
  readonly onRewritten: OnRewritten;
}

export function tablesOf(context: Context, log: ReadableLog): TablesOf {
  const { name, projections, followers, streams, categories, onRewritten } = context;
  const keyOf = (streamId: string): string => {
    const stream = streams.find(({ category }) => category.includes(streamId)) ?? streams[0];
    if (!stream) throw new Error(`The context ${name} has no streams.`);
    return stream.category.idOf(streamId);
  };
  return {
    projector: name,
    projections,
    followers: followers.map((follower) => follower.name),
    store: new PartOfLog(log, categories),
    keyOf,
    besides: (streamId) => streams.map(({ category }) => category.streamOf(keyOf(streamId))),
    onRewritten,
  };
}

/** The declared tables that a database lacks. */
export async function missingTables(contexts: readonly Context[], pool: pg.Pool): Promise<string[]> {
  const declared = contexts
    .flatMap(({ projections }) => projections)
    .map(({ table }) => `${table.schema}.${table.name}`);
  const rows = await readRows(
    pool,
    undefined,
    `select t from unnest($1::text[]) as t where to_regclass(t) is null`,
    [declared],
  );
  return rows.flatMap(([name]) => name ?? []);
}

/** The projectors that stand still together when an operator pauses the tables of a context. */
export const projectorsOf = ({ name, followers }: Context): readonly string[] => [
  name,
  ...followers.map((follower) => follower.name),
];

/** The names of the tables that they keep. */
export const tableNamesOf = ({ projections, followers }: Context): readonly string[] => [
  ...projections.map(({ name }) => name),
  ...followers.flatMap(({ tables }) => tables.map(({ name }) => name)),
];

/** The state of all tables of a context relative to the log, those of followers last. */
export async function statesOf(
  context: Context,
  pool: pg.Pool,
  log: ReadableLog,
): Promise<ProjectionStatus[]> {
  const part = new PartOfLog(log, context.categories);
  const states = await Promise.all([
    projectionStates(pool, part, context.name, context.projections),
    ...context.followers.map(({ name, tables }) => projectionStates(pool, part, name, tables)),
  ]);
  return states.flat();
}
