import type {
  Backlog,
  EventStore,
  LogProblem,
  Position,
  ReadableLog,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  SubscribeOptions,
} from './event-store.js';
import { categoryOf } from './category.js';

/**
 * The part of the log that one context reads: the streams of its categories. Positions are those of the whole log, and
 * so are its beginning and its end.
 */
export class PartOfLog implements ReadableLog {
  readonly beginning: Position;
  readonly beginningOf?: NonNullable<EventStore['beginningOf']>;
  readonly check?: NonNullable<EventStore['check']>;

  constructor(
    /** What it is a part of. */
    readonly whole: ReadableLog,
    readonly categories: readonly string[],
  ) {
    this.beginning = whole.beginning;
    if (whole.beginningOf)
      this.beginningOf = (streamId) => whole.beginningOf?.(streamId) ?? Promise.resolve(0);
    if (whole.check) this.check = async (options) => this.#concerning((await whole.check?.(options)) ?? []);
  }

  readStream(streamId: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent[]> {
    return this.whole.readStream(streamId, options);
  }

  readAll(options: ReadAllOptions): Promise<RecordedEvent[]> {
    return this.whole.readAll({ ...options, categories: this.categories });
  }

  subscribe(options: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    return this.whole.subscribe({ ...options, categories: this.categories });
  }

  backlog(after: Position): Promise<Backlog> {
    return this.whole.backlog(after, this.categories);
  }

  head(): Promise<Position> {
    return this.whole.head();
  }

  reaches(position: Position, seenAt: number): Promise<boolean> {
    return this.whole.reaches(position, seenAt);
  }

  compare(a: Position, b: Position): number {
    return this.whole.compare(a, b);
  }

  refuseLost(position: Position, reached: Position): Promise<void> {
    return this.whole.refuseLost(position, reached);
  }

  /** Faults of the log as a whole, and of its own streams. */
  #concerning(problems: readonly LogProblem[]): LogProblem[] {
    return problems.filter(
      ({ streamId }) => streamId === undefined || this.categories.includes(categoryOf(streamId) ?? ''),
    );
  }
}
