import type pg from 'pg';
import type { DecisionRoom, EventStore, Position, ReadableLog, Vocabulary } from '#lib/event-store';
import type { CheckpointWatch, ProjectionStatus, Projector } from '#lib/projections';
import type { AnyCommandRunner } from './command-runner.js';
import { vocabularyOf, type Context, type Follower } from './context.js';
import type { AnyQuery } from './query.js';
import type { AnyStreamType } from './stream-type.js';
import { statesOf } from './tables-of.js';

/** A context as it runs in this process. */
export interface RunningContext {
  readonly context: Context;
  /** The part of the log that its tables are folded from. */
  readonly log: ReadableLog;
  readonly projector: Projector;
  /** Waits until its tables hold the log up to a position. */
  readonly watch: CheckpointWatch;
  readonly followers: readonly Follower[];
  readonly runners: ReadonlyMap<AnyStreamType, AnyCommandRunner>;
}

/** The contexts of this process, for injection. */
export class RunningContexts {
  /** As they were declared. */
  readonly declared: readonly Context[];

  constructor(
    readonly all: readonly RunningContext[],
    private readonly store: EventStore,
    /** What the streams of all contexts share. */
    readonly room: DecisionRoom,
  ) {
    this.declared = all.map(({ context }) => context);
  }

  /** The one that was declared so. */
  of(context: Context): RunningContext {
    const found = this.all.find((running) => running.context === context);
    if (!found) throw new Error(`The context ${context.name} is not among those of this application.`);
    return found;
  }

  ofStream(type: AnyStreamType): RunningContext {
    const found = this.all.find(({ runners }) => runners.has(type));
    if (!found) throw new Error(`Streams of the category ${type.category.name} are of no context here.`);
    return found;
  }

  /** The one that answers a query; undefined for a query of the log. */
  ofQuery(query: AnyQuery): RunningContext | undefined {
    return this.all.find(({ context }) => context.queries.includes(query));
  }

  /** Runs the commands of streams of a type. */
  runnerOf(type: AnyStreamType): AnyCommandRunner {
    return this.ofStream(type).runners.get(type) as AnyCommandRunner;
  }

  /** Everything that decides commands. */
  get streams(): readonly AnyCommandRunner['streams'][] {
    return this.all.flatMap(({ runners }) => [...runners.values()].map(({ streams }) => streams));
  }

  /** The types of all their events. */
  get eventTypes(): ReadonlySet<string> {
    return new Set(
      this.declared.flatMap(({ streams }) => streams.flatMap(({ eventTypes }) => [...eventTypes])),
    );
  }

  /** What is known of the events of all contexts. */
  get vocabulary(): Vocabulary {
    return vocabularyOf(this.declared);
  }

  /** The state of all tables relative to the log. */
  async states(pool: pg.Pool): Promise<ProjectionStatus[]> {
    const states = await Promise.all(this.declared.map((context) => statesOf(context, pool, this.store)));
    return states.flat();
  }

  /** Resolves when the tables of all contexts hold the log up to a position. Throws `projection.behind`. */
  async waitFor(position: Position, timeoutMs: number): Promise<void> {
    await Promise.all(this.all.map(({ watch }) => watch.waitFor(position, timeoutMs)));
  }

  /** Resolves when the tables hold everything that the log holds now. */
  async settled(timeoutMs: number): Promise<void> {
    await this.waitFor(await this.store.head(), timeoutMs);
  }
}
