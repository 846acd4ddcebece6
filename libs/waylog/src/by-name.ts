import type { AnySlice } from './command.js';
import type { Context } from './context.js';
import { getEvents } from './log.queries.js';
import type { AnyQuery } from './query.js';

/**
 * Commands by the names of their classes, for callers that name them. Erasures are not among them: they take the role
 * that their own route says; nor is what only code of this process sends. Throws if two contexts have one of the same name.
 */
export const commandsOf = (contexts: readonly Context[]): ReadonlyMap<string, AnySlice> =>
  byName(
    contexts.flatMap(({ commands, erasures }) =>
      commands
        .filter((slice) => !erasures.includes(slice) && !slice.isInternal)
        .map((slice) => [slice.command.name, slice] as const),
    ),
  );

/** The queries of contexts, and of the log, by the names of their classes. Throws if two have the same name. */
export const queriesOf = (contexts: readonly Context[]): ReadonlyMap<string, AnyQuery> =>
  byName([...contexts.flatMap(({ queries }) => queries), getEvents].map((one) => [one.query.name, one]));

function byName<T>(all: readonly (readonly [string, T])[]): ReadonlyMap<string, T> {
  const names = all.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new Error(
      `Two commands or two queries are called ${twice}, and are called by that name: rename one.`,
    );
  return new Map(all);
}
