import { IsInt, IsNumber, IsString, Min } from 'class-validator';
import { Histogram, Counter } from 'prom-client';
import type { CommandOutcome } from '#lib/waylog';
import { IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';

/** From a millisecond to the longest that a read waits. */
export const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/** The period of alerts: the last minute, in steps of five seconds. */
const STEP_MS = 5_000;
const STEPS = 12;

/** Counts, failures and a sum over the last minute. */
export class LastMinute {
  readonly #steps: { step: number; count: number; failed: number; sum: number; max: number }[] = [];

  constructor(private readonly now: () => number = Date.now) {}

  add(value: number, failed = false): void {
    const step = Math.floor(this.now() / STEP_MS);
    let last = this.#steps.at(-1);
    if (last?.step !== step) {
      this.#steps.push((last = { step, count: 0, failed: 0, sum: 0, max: 0 }));
      if (this.#steps.length > STEPS) this.#steps.shift();
    }
    last.count++;
    if (failed) last.failed++;
    last.sum += value;
    last.max = Math.max(last.max, value);
  }

  /** All 0 if nothing was counted. */
  get(): {
    readonly count: number;
    readonly failedShare: number;
    readonly mean: number;
    readonly max: number;
  } {
    const first = Math.floor(this.now() / STEP_MS) - STEPS + 1;
    const steps = this.#steps.filter(({ step }) => step >= first);
    const sum = (of: 'count' | 'failed' | 'sum') => steps.reduce((total, step) => total + step[of], 0);
    const count = sum('count');
    return {
      count,
      failedShare: count === 0 ? 0 : sum('failed') / count,
      mean: count === 0 ? 0 : sum('sum') / count,
      max: Math.max(0, ...steps.map((step) => step.max)),
    };
  }
}

/** A query by its name, over the last minute. */
export class SlowQuery {
  @IsString() readonly query!: string;
  @IsInt() @Min(0) readonly calls!: number;
  /** In seconds, without waiting for a minimum position. */
  @IsNumber() @Min(0) readonly meanTime!: number;
  @IsNumber() @Min(0) readonly maxTime!: number;
}

/** A statement that has taken much time of the database. */
export class SlowStatement {
  @IsString() readonly statement!: string;
  @IsInt() @Min(0) readonly calls!: number;
  /** In seconds, like all times here. */
  @IsNumber() @Min(0) readonly meanTime!: number;
  @IsNumber() @Min(0) readonly maxTime!: number;
  @IsNumber() @Min(0) readonly totalTime!: number;
}

/** The performance of this process since it began, and of its database. Times are seconds. */
export class PerformanceStats {
  @IsInt() @Min(0) readonly totalQueries!: number;
  @IsInt() @Min(0) readonly totalCommands!: number;
  @IsNumber() @Min(0) readonly avgQueryTime!: number;
  @IsNumber() @Min(0) readonly avgCommandTime!: number;
  /** Of the queries that asked for it, the share that was answered from the cache; 0 to 1. */
  @IsNumber() @Min(0) readonly cacheHitRate!: number;
  @IsInt() @Min(0) readonly activeConnections!: number;
  @IsInt() @Min(0) readonly totalConnections!: number;
  @IsTimestamp() readonly timestamp!: Timestamp;
  /** The queries of the last minute by name, those that took most of the time first. */
  @Nested(() => SlowQuery, { each: true }) readonly slowestQueries!: readonly SlowQuery[];
  /**
   * The statements that have taken most time, of any program, since the database's statistics began, if it has
   * pg_stat_statements.
   */
  @Nested(() => SlowStatement, { each: true }) readonly slowestStatements!: readonly SlowStatement[];
  /** Why there are none, if the database cannot report them. */
  @Optional() @IsString() readonly slowestStatementsUnavailable?: string;
}

interface Total {
  count: number;
  seconds: number;
}

/**
 * Counts and times commands, queries, requests and the cache. It is created before the application, which reports to
 * it.
 */
export class Statistics {
  readonly commandSeconds = new Histogram({
    name: 'waylog_command_seconds',
    help: 'Time of a command from the bus to its answer, by type and what became of it.',
    labelNames: ['command', 'outcome'],
    buckets: SECONDS,
    registers: [],
  });
  readonly querySeconds = new Histogram({
    name: 'waylog_query_seconds',
    help: 'Time of a query from the bus to its answer, without waiting for its minimum position, by type and what became of it.',
    labelNames: ['query', 'outcome'],
    buckets: SECONDS,
    registers: [],
  });
  readonly cacheReads = new Counter({
    name: 'waylog_query_cache_total',
    help: 'Queries that asked for a cached answer, by whether there was one.',
    labelNames: ['result'],
    registers: [],
  });
  readonly commands: Total = { count: 0, seconds: 0 };
  readonly queries: Total = { count: 0, seconds: 0 };
  readonly cache = { hits: 0, misses: 0 };
  readonly lastQueries = new LastMinute();
  readonly #lastQueriesOf = new Map<string, LastMinute>();
  /** Requests and their failures: requests that the server could not answer (5xx). */
  readonly lastRequests = new LastMinute();

  readonly observeCommand = (command: string, outcome: CommandOutcome, seconds: number): void => {
    this.commandSeconds.observe({ command, outcome }, seconds);
    this.commands.count++;
    this.commands.seconds += seconds;
  };

  readonly observeQuery = (query: string, outcome: CommandOutcome, seconds: number): void => {
    this.querySeconds.observe({ query, outcome }, seconds);
    this.queries.count++;
    this.queries.seconds += seconds;
    this.lastQueries.add(seconds, outcome === 'failed');
    let ofType = this.#lastQueriesOf.get(query);
    if (!ofType) this.#lastQueriesOf.set(query, (ofType = new LastMinute()));
    ofType.add(seconds);
  };

  /** Which queries took the time of the last minute, the largest first. */
  slowestQueries(): SlowQuery[] {
    return [...this.#lastQueriesOf]
      .map(([query, last]) => ({ query, ...last.get() }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.mean * b.count - a.mean * a.count)
      .map(({ query, count, mean, max }) => ({ query, calls: count, meanTime: mean, maxTime: max }));
  }

  readonly observeRequest = (seconds: number, status: number): void =>
    this.lastRequests.add(seconds, status >= 500);

  readonly observeCache = (hit: boolean): void => {
    this.cacheReads.inc({ result: hit ? 'hit' : 'miss' });
    if (hit) this.cache.hits++;
    else this.cache.misses++;
  };
}
