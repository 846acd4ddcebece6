import type { Type } from '@nestjs/common';
import type { IQueryHandler, Query } from '@nestjs/cqrs';
import { validate, FreeText, Optional, type Class } from '#lib/platform';
import type { ReadOptions } from './read-options.js';
import { light, type ReadWeight } from './read-weight.js';

/** A query with its handler: what is asked for by name, over a route, or on the query bus. */
export interface NamedQuery<P extends object = object> {
  /** Its class. Its name is how it is called. */
  readonly query: Type<Query<unknown>>;
  readonly handler: Type<IQueryHandler>;
  /** The rules of its parameters. */
  readonly parameters: Class<P>;
  /** It, of parameters that have been checked. */
  readonly make: (parameters: P, options: ReadOptions) => Query<unknown>;
  /**
   * It reads data that is not of one state with the tables of its context: the log, or what a follower keeps. Its
   * answers are not cached.
   */
  readonly isApart: boolean;
  readonly weight: ReadWeight;
}

/** One of any parameters. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- it makes its query of parameters that were checked by its own rules
export type AnyQuery = NamedQuery<any>;

export const query = <P extends object>(
  of: Pick<NamedQuery<P>, 'query' | 'handler' | 'parameters' | 'make'> & Partial<NamedQuery<P>>,
): NamedQuery<P> => ({ isApart: false, weight: light, ...of });

/** The checked parameters of a query, without those that are null. Throws `input.invalid`. */
export function checked<T extends object>(
  rules: Class<T>,
  given: T,
): { [K in keyof T]: Exclude<T[K], null> } {
  validate(rules, given);
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as never;
}

/** The parameter of reads that can look back. */
export class AsOf {
  /** An RFC 3339 time or a revision: the answer comes from the log as of then. */
  @Optional() @FreeText(100) readonly asOf?: string | null | undefined;
}
