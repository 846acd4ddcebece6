import { invalidInput, nextTurn, notFound, parseTimestamp, type WaylogError } from '#lib/platform';
import type { RecordedEvent } from '#lib/event-store';
import {
  foldInMemory,
  type CheckpointWatch,
  type LiveRows,
  type Omissions,
  type Projection,
  type RowSource,
  type TableDefinition,
} from '#lib/projections';
import { EventReads, inTurns, LAST_REVISION, MAX_WAITING } from './event-reads.js';
import { waiting } from './observing.js';
import type { ReadOptions } from './read-options.js';
import type { AnyStreamType } from './stream-type.js';

/** The longest that a read waits for its minimum position. */
const MAX_WAIT_MS = 5_000;

/**
 * The number of concurrent `asOf` reads, and of those that wait for a turn. Each folds a whole stream in memory: some
 * 15 MB for a flight of 10,000 frames. More of them at once would not finish sooner: they share one thread.
 */
const MAX_FOLDS = 4;
/**
 * The number of concurrent lists over everything: one can need some hundred megabytes. Most are short, so more can
 * wait.
 */
const MAX_LISTS = 4;
const MAX_WAITING_LISTS = 250;
/** How many events are folded before other work gets a turn; each makes rows of several tables. */
const EVENTS_A_TURN = 100;

export interface StreamReadsOptions {
  /** What is read. */
  readonly stream: AnyStreamType;
  /** The table that has a row for each that there is, under its first key column. */
  readonly listedIn: TableDefinition;
  /** The error for one that there is not. */
  readonly notFound: (id: string) => WaylogError;
  readonly projections: readonly Projection[];
  readonly events: EventReads;
  readonly watch: CheckpointWatch;
  readonly tables: LiveRows;
  /** What the tables leave out; `asOf` reads leave out discarded events too. */
  readonly omissions: () => Promise<Omissions>;
}

/** The source of the rows for queries about the streams of a type: the tables, or a fold of the log as of some time. */
export class StreamReads {
  readonly #folds = inTurns(
    MAX_FOLDS,
    MAX_WAITING,
    `${MAX_WAITING} reads with asOf wait for their turn already; each folds a whole history, and ${MAX_FOLDS} do at a ` +
      `time. Try again in a moment, or read the tables, without asOf.`,
  );
  /** A list over everything, when its turn comes. Throws `reads.overloaded`. */
  readonly list = inTurns(
    MAX_LISTS,
    MAX_WAITING_LISTS,
    `${MAX_WAITING_LISTS} lists wait for their turn already, ${MAX_LISTS} are made at a time. Try again in a moment.`,
  );

  constructor(protected readonly options: StreamReadsOptions) {}

  /** The tables, once they are as current as the read requires. */
  async live(options: ReadOptions): Promise<RowSource> {
    const { minPosition } = options;
    const { watch, tables } = this.options;
    if (minPosition !== undefined) await waiting(options, () => watch.waitFor(minPosition, MAX_WAIT_MS));
    return tables;
  }

  /**
   * Reads of one: `work` gets the tables, or the fold of its events as of the time asked for. Throws the error for what
   * there is not if `work` finds nothing and there is (or was then) none, and `reads.overloaded` if too many `asOf`
   * reads wait for a turn. `work` is called a second time if it finds nothing although there is one.
   */
  async of<T>(id: string, options: ReadOptions, work: (source: RowSource) => Promise<T>): Promise<T> {
    const { asOf } = options;
    if (asOf === undefined || asOf === null) return this.#find(id, await this.#liveOf(id, options), work);
    // Until `work` has ended: the rows stay in memory that long.
    return this.#folds(async () => this.#find(id, await this.#asOf(id, asOf), work));
  }

  /** Its events from a revision on, at most `limit`. Throws also for one of which there never was any. */
  async events(id: string, fromRevision: number, limit: number): Promise<RecordedEvent[]> {
    const { events, notFound: none } = this.options;
    const streamId = this.#streamOf(id);
    const found = await events.ofStream(streamId, fromRevision, limit);
    if (found.length === 0 && (await events.isEmpty(streamId))) throw none(id);
    return found;
  }

  #streamOf(id: string): string {
    return this.options.stream.category.streamOf(id);
  }

  async #find<T>(id: string, source: RowSource, work: (source: RowSource) => Promise<T>): Promise<T> {
    const { listedIn, notFound: none } = this.options;
    const found = await work(source);
    const isNothing = found === undefined || (Array.isArray(found) && found.length === 0);
    const [key = ''] = listedIn.key;
    if (
      isNothing &&
      (await source.select({ table: listedIn, where: { [key]: id }, orderBy: [key] })).length === 0
    )
      throw none(id);
    // It may have been folded into the tables between the two reads, with its first parts.
    return isNothing ? work(source) : found;
  }

  async #liveOf(id: string, options: ReadOptions): Promise<RowSource> {
    const source = await this.live(options);
    if (options.minPosition !== undefined)
      await this.options.watch.refuseParked(this.#streamOf(id), options.minPosition);
    return source;
  }

  async #asOf(id: string, asOf: string): Promise<RowSource> {
    if (/^\d{1,10}$/.test(asOf)) return this.#asOfRevision(id, Number(asOf));
    const time = parseTimestamp(asOf);
    if (time === undefined) {
      throw invalidInput([
        { field: 'asOf', message: 'must be an RFC 3339 time with a zone, or a revision such as 42' },
      ]);
    }
    const history = this.options.events.history(this.#streamOf(id), LAST_REVISION);
    return this.#fold(recordedUpTo(history, Date.parse(time)));
  }

  async #asOfRevision(id: string, revision: number): Promise<RowSource> {
    const { events, stream, notFound: none } = this.options;
    let last = -1;
    const history = events.history(this.#streamOf(id), Math.min(revision, LAST_REVISION));
    const noted = async function* () {
      for await (const page of history) {
        last = page.at(-1)?.revision ?? last;
        yield page;
      }
    };
    const rows = await this.#fold(noted());
    if (last < 0) throw none(id);
    if (last < revision) {
      const { name } = stream.category;
      throw notFound(
        `${name}.revision-not-found`,
        `${name.charAt(0).toUpperCase()}${name.slice(1)} ${id} is at revision ${last}; it has no revision ${revision} yet.`,
        { [stream.key]: id, revision: last },
      );
    }
    return rows;
  }

  async #fold(pages: AsyncIterable<RecordedEvent[]>): Promise<RowSource> {
    const omissions = await this.options.omissions();
    const kept = async function* () {
      for await (const page of pages) {
        for (let i = 0; i < page.length; i += EVENTS_A_TURN) {
          yield page.slice(i, i + EVENTS_A_TURN).filter((event) => !omissions.isDiscarded(event));
          await nextTurn();
        }
      }
    };
    return foldInMemory(this.options.projections, kept());
  }
}

/** Events up to the first that was recorded after `time` (milliseconds since 1970). */
async function* recordedUpTo(
  pages: AsyncIterable<RecordedEvent[]>,
  time: number,
): AsyncIterable<RecordedEvent[]> {
  for await (const page of pages) {
    const end = page.findIndex(({ recordedAt }) => Date.parse(recordedAt) > time);
    if (end < 0) {
      yield page;
    } else {
      yield page.slice(0, end);
      return;
    }
  }
}
