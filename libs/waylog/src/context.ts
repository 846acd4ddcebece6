import type { INestApplicationContext, Provider, Type } from '@nestjs/common';
import { CLAIM, wholeOf, type ReadableLog, type Vocabulary } from '#lib/event-store';
import type { AnyProjection, OnRewritten, Projection, ProjectorLog, ProjectorStatus } from '#lib/projections';
import type { ContextSettings, Listener } from '#lib/platform';
import type { ContinuousAggregateInfo } from '#lib/timescale';
import type pg from 'pg';
import type { ContextCli } from './cli.js';
import type { AnySlice } from './command.js';
import type { AnyDeadline } from './deadline.js';
import type { AnyQuery } from './query.js';
import type { Reactor } from './reactor.js';
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

/** What comparing a rollup with another computation of the same numbers found. */
export interface RollupVerification {
  /** How many minutes were compared. */
  readonly minutes: number;
  /** At most 100. */
  readonly differences: readonly object[];
  readonly identical: boolean;
  /** Whether the rollup had caught up with the table: if not, a difference may only be due to that. */
  readonly caughtUp: boolean;
}

/** A table of numbers that a follower has ready for reads. */
export interface Rollup {
  readonly info: () => ContinuousAggregateInfo;
  readonly verify: (pool: pg.Pool) => Promise<RollupVerification>;
  /** One difference, for people. */
  readonly tell: (difference: never) => string;
}

export interface FollowerType {
  /** Its name among the projectors. */
  readonly name: string;
  /** The names of the tables and views that it keeps, as SQL calls them. */
  readonly keeps: readonly string[];
  /** What it keeps, as its checkpoint knows it. */
  readonly tables: readonly { readonly name: string; readonly version: number }[];
  readonly rollup?: Rollup;
  /** For injection of the one that runs in this process. */
  readonly token: Type<Follower>;
  readonly make: (options: FollowerOptions) => Follower;
}

/** A data recording of a context that shows a new user what it does. */
export interface Demo {
  /** Starts it on a running application; resolves, once there is something to see, with the path of it. */
  readonly start: (app: INestApplicationContext) => Promise<{ readonly what: string; readonly path: string }>;
}

/** Examples for the page of the API. */
export interface ContextExamples {
  /** The id of a thing, for every type of stream by its category. */
  readonly ids: Readonly<Record<string, string>>;
  readonly command: { readonly command: string; readonly parameters: object };
  /** Commands on the command line to begin with, and what they do. */
  readonly cli?: readonly string[];
  /** SQL that reads a table, and the values of its parameters. */
  readonly sql: { readonly query: string; readonly values: readonly (string | number)[] };
}

/** What a folder of a context adds to it. */
export interface ContextPart {
  /** Its commands, each with its decision. */
  readonly commands?: readonly AnySlice[];
  /** Its tables. They move together, so that everything of the context is complete at every checkpoint. */
  readonly projections?: readonly AnyProjection[];
  readonly followers?: readonly FollowerType[];
  /** What it does in answer to events. */
  readonly reactors?: readonly Reactor[];
  /** The commands that it sends at a time, unless something has happened. */
  readonly deadlines?: readonly AnyDeadline[];
  readonly queries?: readonly AnyQuery[];
  /** Its routes. */
  readonly controllers?: readonly Type[];
  /** What its handlers are given. Other modules of the application are given them, too. */
  readonly providers?: readonly Provider[];
}

export interface ContextParts extends ContextPart {
  /** The kinds of things that its commands change. */
  readonly streams: readonly AnyStreamType[];
  /** The commands that erase what is sensitive of a thing: the key of its stream is deleted with what they record. */
  readonly erasures?: readonly AnySlice[];
  /** The folders of the context. */
  readonly parts?: readonly ContextPart[];
  /** Called in a transaction that writes rows out of the order of the log. */
  readonly onRewritten?: OnRewritten;
  /** The settings that its decisions take from the environment. */
  readonly settings?: ContextSettings;
  /** Its commands on the command line. */
  readonly cli?: () => Promise<ContextCli>;
  readonly demo?: Demo;
  readonly examples?: ContextExamples;
  /** What a reader of the API must know about its values: units, frames of reference. */
  readonly about?: string;
}

type Listed = Required<ContextPart> & Required<Pick<ContextParts, 'streams' | 'erasures'>>;

/** One domain on the log: its streams, commands, tables and queries. */
export interface Context
  extends Omit<Listed, 'projections'>, Pick<ContextParts, 'settings' | 'cli' | 'demo' | 'examples'> {
  /** Also the name of its projector. */
  readonly name: string;
  readonly projections: readonly Projection[];
  readonly onRewritten: OnRewritten;
  readonly about: string;
  /** The categories of its streams. */
  readonly categories: readonly string[];
  /** What is known of its events. */
  readonly vocabulary: Vocabulary;
}

/** It is the name of a schema, and `rebuild_` stands before that of another one; PostgreSQL takes 63 characters. */
const NAME = /^[a-z][a-z0-9_]{0,49}$/;
/** Schemas of the kernel and of PostgreSQL. */
const TAKEN = ['log', 'projection', 'access', 'timescale', 'registry', 'public', 'information_schema'];

/** Declares a context. Everything else follows from what is returned. Throws for a name that no schema can have. */
export function context(
  name: string,
  { parts = [], settings, cli, demo, examples, ...rest }: ContextParts,
): Context {
  if (!NAME.test(name) || TAKEN.includes(name) || /^(pg|timescaledb|rebuild|verify)_/.test(name))
    throw new Error(
      `${JSON.stringify(name)} cannot be the name of a context, which is also that of its schema: take a lower-case word ` +
        `of 50 characters at most, with no prefix of a schema that others make, and none of ${TAKEN.join(', ')}.`,
    );
  const { streams } = rest;
  if (streams.some(({ category }) => category.name === CLAIM))
    throw new Error(
      `The streams of the category ${CLAIM} say who holds which unique value: take another name.`,
    );
  for (const { command, stream } of rest.erasures ?? [])
    if (!stream.events?.erasedBy?.length)
      throw new Error(
        `${command.name} erases, but no event of a ${stream.category.name} says that it was erased: name its type in erasedBy.`,
      );
  const erasures = (rest.erasures ?? []).map(givingAllBack);
  const all = [...parts, rest];
  const deadlines = all.flatMap(({ deadlines: some = [] }) => some);
  for (const deadline of deadlines)
    if (!streams.includes(deadline.stream))
      throw new Error(
        `The deadline ${deadline.name} is set by events of ${deadline.stream.category.name}, which are not of the context ${name}.`,
      );
  const projections = [
    ...all.flatMap(({ projections: some = [] }) => some),
    ...deadlines.map((deadline) => deadline.projection(name)),
  ];
  refuseTables(name, projections);
  return {
    name,
    streams,
    commands: [...all.flatMap(({ commands = [] }) => commands), ...erasures],
    erasures,
    projections,
    followers: all.flatMap(({ followers = [] }) => followers),
    reactors: all.flatMap(({ reactors = [] }) => reactors),
    deadlines,
    queries: all.flatMap(({ queries = [] }) => queries),
    controllers: all.flatMap(({ controllers = [] }) => controllers),
    providers: all.flatMap(({ providers = [] }) => providers),
    onRewritten: rest.onRewritten ?? (() => Promise.resolve()),
    about: rest.about ?? '',
    ...(settings && { settings }),
    ...(cli && { cli }),
    ...(demo && { demo }),
    ...(examples && { examples }),
    categories: streams.map(({ category }) => category.name),
    vocabulary: Object.fromEntries(streams.map(({ category, events = {} }) => [category.name, events])),
  };
}

/** Tables of one name, or in the schema of another context, would be written by two projectors. */
function refuseTables(context: string, projections: readonly AnyProjection[]): void {
  const names = new Set<string>();
  for (const { table } of projections) {
    const is = `The table ${table.schema}.${table.name} of the context ${context}`;
    if (table.schema !== context)
      throw new Error(`${is} is in the schema of something else: its schema is ${context}.`);
    if (names.has(table.name)) throw new Error(`${is} is declared twice: give one of them another name.`);
    names.add(table.name);
    const unknown = [...table.key, ...(table.timeColumn === undefined ? [] : [table.timeColumn])].find(
      (column) => !Object.hasOwn(table.columns, column),
    );
    if (unknown !== undefined)
      throw new Error(`${is} has no column ${unknown}, which its key or time names.`);
  }
}

/** What is erased holds no unique value any more. */
const givingAllBack = (erasure: AnySlice): AnySlice => ({
  ...erasure,
  decide: (...asked) => ({ ...wholeOf(erasure.decide(...asked)), releases: 'all' }),
});

/** Before the name of a webhook: what its reactor is called. */
export const WEBHOOK = 'webhook-';

/** What is known of the events of several contexts. Throws if two have a category of one name. */
export function vocabularyOf(contexts: readonly Context[]): Vocabulary {
  const all = contexts.flatMap((one) => Object.entries(one.vocabulary));
  const names = all.map(([category]) => category);
  const acting = contexts.flatMap(({ reactors, deadlines }) => [...reactors, ...deadlines]);
  const sameActor = acting.find(({ name }, i) => acting.findIndex((other) => other.name === name) !== i);
  if (sameActor !== undefined)
    throw new Error(
      `Two reactors or deadlines are called ${sameActor.name}, and would share one place in the log: rename one, which then ` +
        `begins at the end of the log.`,
    );
  const likeWebhook = acting.find(({ name }) => name.startsWith(WEBHOOK));
  if (likeWebhook !== undefined)
    throw new Error(
      `${likeWebhook.name} would share its name with a webhook: ${WEBHOOK}... is kept for those.`,
    );
  const called = contexts.map(({ name }) => name);
  const sameName = called.find((name, i) => called.indexOf(name) !== i);
  if (sameName !== undefined)
    throw new Error(`Two contexts are called ${sameName}, and would share one schema.`);
  const twice = names.find((category, i) => names.indexOf(category) !== i);
  if (twice !== undefined)
    throw new Error(`Two contexts have streams of the category ${twice}: each category belongs to one.`);
  // The kernel's own, whatever the contexts are.
  return Object.fromEntries([...all, [CLAIM, {}]]);
}
