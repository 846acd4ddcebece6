import type { Provider, Type } from '@nestjs/common';
import type { IQueryHandler } from '@nestjs/cqrs';
import type { ReadableLog, Vocabulary } from '#lib/event-store';
import type { OnRewritten, Projection, ProjectorLog, ProjectorStatus } from '#lib/projections';
import type { Listener } from '#lib/platform';
import type { ModelDefinition, TableModel } from '#lib/timescale';
import type pg from 'pg';
import type { AnySlice } from './command.js';
import type { AnyStreamType } from './stream-type.js';

/** What a follower is made of. */
export interface FollowerOptions {
  /** The projector of the context: its tables are followed. */
  readonly follows: string;
  /** The part of the log that its context reads. */
  readonly store: ReadableLog;
  readonly pool: pg.Pool;
  readonly listener: Listener;
  readonly connectionString: string;
  readonly log: ProjectorLog;
}

/** Keeps something derived from the tables of a context, behind its projector, in a process of which there is one. */
export interface Follower {
  readonly status: Pick<ProjectorStatus, 'position' | 'eventsFolded' | 'lastError'>;
  start(): void;
  /** Finishes the current batch and gives up the lead. */
  close(): Promise<void>;
}

export interface FollowerType {
  /** Its name among the projectors. */
  readonly name: string;
  /** What it keeps, as its checkpoint knows it. */
  readonly tables: readonly { readonly name: string; readonly version: number }[];
  /** For injection of the one that runs in this process. */
  readonly token: Type<Follower>;
  readonly make: (options: FollowerOptions) => Follower;
}

export interface ContextParts {
  /** The kinds of things that its commands change. */
  readonly streams: readonly AnyStreamType[];
  /** Its commands, each with its decision. */
  readonly commands: readonly AnySlice[];
  /** Handlers of those commands that do more than decide; the others have one by themselves. */
  readonly commandHandlers?: ReadonlyMap<AnySlice, Type>;
  /** Its tables. They move together, so that everything of the context is complete at every checkpoint. */
  readonly projections: readonly Projection[];
  readonly followers?: readonly FollowerType[];
  /** Its tables for operations on tables: hypertables, retention, archives. */
  readonly tables?: readonly TableModel[];
  /** Its tables for code that validates or shows a schema. */
  readonly models?: readonly ModelDefinition[];
  /** Called in a transaction that writes rows out of the order of the log. */
  readonly onRewritten?: OnRewritten;
  readonly queries: readonly Type<IQueryHandler>[];
  /** What its handlers are given. Other modules of the application are given them, too. */
  readonly providers?: readonly Provider[];
}

/** One domain on the log: its streams, commands, tables and queries. */
export interface Context extends Required<ContextParts> {
  /** Also the name of its projector. */
  readonly name: string;
  /** The categories of its streams. */
  readonly categories: readonly string[];
  /** What is known of its events. */
  readonly vocabulary: Vocabulary;
}

/** Declares a context. Everything else follows from what is returned. */
export const context = (name: string, parts: ContextParts): Context => ({
  commandHandlers: new Map(),
  followers: [],
  tables: [],
  models: [],
  onRewritten: () => Promise.resolve(),
  providers: [],
  ...parts,
  name,
  categories: parts.streams.map(({ category }) => category.name),
  vocabulary: Object.fromEntries(parts.streams.map(({ category, events = {} }) => [category.name, events])),
});

/** What is known of the events of several contexts. Throws if two have a category of one name. */
export function vocabularyOf(contexts: readonly Context[]): Vocabulary {
  const all = contexts.flatMap((one) => Object.entries(one.vocabulary));
  const names = all.map(([category]) => category);
  const twice = names.find((category, i) => names.indexOf(category) !== i);
  if (twice !== undefined)
    throw new Error(`Two contexts have streams of the category ${twice}: each category belongs to one.`);
  return Object.fromEntries(all);
}
