import pLimit from 'p-limit';
import {
  answerTooLarge,
  invalidInput,
  MAX_ANSWER_BYTES,
  nextTurn,
  notFound,
  parseTimestamp,
  unavailable,
  weigh,
  type Weight,
} from '#lib/platform';
import type { EventStore, RecordedEvent } from '#lib/event-store';
import {
  foldInMemory,
  type CheckpointWatch,
  type LiveRows,
  type Omissions,
  type Row,
  type RowSource,
  type TableRead,
} from '#lib/projections';
import { knownDays, selectRecorded } from './days/select-recorded.js';
import { flightStreams } from './events.js';
import { flightNotFound } from './flight.js';
import { flightsTable } from './flight/flights.projection.js';
import { flightProjections } from './projections.js';
import { waiting, type ReadOptions } from '#lib/waylog';

/** The longest that a read waits for its minimum position. */
const MAX_WAIT_MS = 5_000;

/**
 * The number of concurrent `asOf` reads, and of those that wait for a turn. Each folds a flight's whole history in
 * memory, some 15 MB for one of 10,000 frames. More of them at once would not finish sooner: they share one thread.
 */
const MAX_FOLDS = 4;
/** The number of concurrent reads of events; as with folds, more would not finish sooner. */
const MAX_EVENT_READS = 4;
/** The number that can wait, of either. */
const MAX_WAITING = 60;
/**
 * The number of concurrent lists over all flights: one can need some hundred megabytes. Most are short, so more can
 * wait.
 */
const MAX_LISTS = 4;
const MAX_WAITING_LISTS = 250;
/** Reads of route chunks at a time: those of a flight may be as large as an answer can be. Others do not wait for them. */
const MAX_CHUNK_READS = 2;

/** The target size of a page of events, so that none holds the process for long. */
const PAGE: Weight = { values: 20_000, characters: 1024 * 1024 };
const FIRST_PAGE = 32;
const MAX_PAGE = 1_000;
/** How much larger than the last one a page can be: the next events can be larger. */
const GROWTH = 2;
/** Revisions are 32 bits wide. */
const LAST_REVISION = 2 ** 31 - 1;
/** How many events are folded before other work gets a turn; each makes rows of several tables. */
const EVENTS_A_TURN = 100;

/** The source of the rows for queries of the flight context. */
export class FlightReads {
  readonly #knownDays = knownDays();
  readonly #folds = inTurns(
    MAX_FOLDS,
    MAX_WAITING,
    `${MAX_WAITING} reads with asOf wait for their turn already; each folds the history of a flight, and ` +
      `${MAX_FOLDS} do at a time. Try again in a moment, or read the tables, without asOf.`,
  );
  readonly #eventReads = inTurns(
    MAX_EVENT_READS,
    MAX_WAITING,
    `${MAX_WAITING} reads of events wait for their turn already, ${MAX_EVENT_READS} run at a time. Try again in a moment.`,
  );
  /** A list over all flights, when its turn comes. Throws `reads.overloaded`. */
  readonly list = inTurns(
    MAX_LISTS,
    MAX_WAITING_LISTS,
    `${MAX_WAITING_LISTS} lists wait for their turn already, ${MAX_LISTS} are made at a time. Try again in a moment.`,
  );
  /** Route chunks, when their turn comes. Throws `reads.overloaded`. */
  readonly chunks = inTurns(
    MAX_CHUNK_READS,
    MAX_WAITING,
    `${MAX_WAITING} reads of route chunks wait for their turn already, ${MAX_CHUNK_READS} run at a time. Try again in a moment.`,
  );

  constructor(
    private readonly store: EventStore,
    private readonly watch: CheckpointWatch,
    private readonly tables: LiveRows,
    /** What the tables leave out; `asOf` reads leave out discarded events too. */
    private readonly omissions: () => Promise<Omissions>,
  ) {}

  /** The tables, once they are as current as the read requires. */
  async live(options: ReadOptions): Promise<RowSource> {
    const { minPosition } = options;
    if (minPosition !== undefined) await waiting(options, () => this.watch.waitFor(minPosition, MAX_WAIT_MS));
    return this.tables;
  }

  /**
   * Reads of one flight: `work` gets the tables, or the fold of the flight's events as of the time asked for. Throws
   * `flight.not-found` if `work` finds nothing and there is (or was then) no such flight, and `reads.overloaded` if too
   * many `asOf` reads wait for a turn. `work` is called a second time if it finds nothing although there is a flight.
   */
  async ofFlight<T>(
    flightId: string,
    options: ReadOptions,
    work: (source: RowSource) => Promise<T>,
  ): Promise<T> {
    const { asOf } = options;
    if (asOf === undefined || asOf === null)
      return this.#find(flightId, await this.#liveOf(flightId, options), work);
    // Until `work` has ended: the rows stay in memory that long.
    return this.#folds(async () => this.#find(flightId, await this.#asOf(flightId, asOf), work));
  }

  async #find<T>(flightId: string, source: RowSource, work: (source: RowSource) => Promise<T>): Promise<T> {
    const found = await work(source);
    const isNothing = found === undefined || (Array.isArray(found) && found.length === 0);
    if (
      isNothing &&
      (await source.select({ table: flightsTable, where: { id: flightId }, orderBy: ['id'] })).length === 0
    ) {
      throw flightNotFound(flightId);
    }
    // The flight may have been folded into the tables between the two reads, with its first parts.
    return isNothing ? work(source) : found;
  }

  /** The rows of a flight in one of the hypertables; like `ofFlight`. */
  recorded(flightId: string, options: ReadOptions, read: Omit<TableRead, 'where'>): Promise<Row[]> {
    return this.ofFlight(flightId, options, (source) =>
      selectRecorded(source, this.#knownDays, flightId, read),
    );
  }

  /** The events of a flight from a revision on, at most `limit`. Throws `answer.too-large` and `reads.overloaded`. */
  async events(flightId: string, fromRevision: number, limit: number): Promise<RecordedEvent[]> {
    const events = await this.#eventPages(limit, async (before, pageSize) => {
      const from = before ? before.revision + 1 : fromRevision;
      return this.#page(flightId, from, Math.min(from + pageSize - 1, LAST_REVISION));
    });
    if (events.length === 0 && (await this.#isEmpty(flightId))) throw flightNotFound(flightId);
    return events;
  }

  /** The global log after a position, at most `limit` events. Throws `position.lost`, `answer.too-large` and `reads.overloaded`. */
  async log(options: {
    after?: string | undefined;
    limit: number;
    types?: readonly string[] | undefined;
  }): Promise<RecordedEvent[]> {
    const { limit, types } = options;
    // A caller that continues from an event that was lost holds data that the log no longer has.
    if (options.after !== undefined) await this.store.refuseLost(options.after, await this.store.head());
    return this.#eventPages(limit, (before, pageSize) => {
      const after = before?.position ?? options.after;
      return this.store.readAll({
        limit: pageSize,
        ...(after !== undefined && { after }),
        ...(types && { types }),
      });
    });
  }

  /** Calls `read` for page after page until there are `limit`, or no more. */
  #eventPages(
    limit: number,
    read: (before: RecordedEvent | undefined, pageSize: number) => Promise<RecordedEvent[]>,
  ): Promise<RecordedEvent[]> {
    return this.#eventReads(async () => {
      const events: RecordedEvent[] = [];
      // A lower bound; the code that writes the answer counts exactly.
      let bytes = 0;
      for (let next = FIRST_PAGE; events.length < limit;) {
        const pageSize = Math.min(next, limit - events.length);
        const page = await read(events.at(-1), pageSize);
        events.push(...page);
        if (page.length < pageSize) break;
        const weight = weightOf(page);
        bytes += weight.characters + 2 * weight.values;
        if (bytes > MAX_ANSWER_BYTES) throw answerTooLarge();
        next = nextPage(page, weight);
      }
      return events;
    });
  }

  async #liveOf(flightId: string, options: ReadOptions): Promise<RowSource> {
    const source = await this.live(options);
    if (options.minPosition !== undefined)
      await this.watch.refuseParked(streamOf(flightId), options.minPosition);
    return source;
  }

  async #asOf(flightId: string, asOf: string): Promise<RowSource> {
    if (/^\d{1,10}$/.test(asOf)) return this.#asOfRevision(flightId, Number(asOf));
    const time = parseTimestamp(asOf);
    if (time === undefined) {
      throw invalidInput([
        { field: 'asOf', message: 'must be an RFC 3339 time with a zone, or a revision such as 42' },
      ]);
    }
    return this.#fold(recordedUpTo(this.#history(flightId, LAST_REVISION), Date.parse(time)));
  }

  async #asOfRevision(flightId: string, revision: number): Promise<RowSource> {
    let last = -1;
    const events = this.#history(flightId, Math.min(revision, LAST_REVISION));
    const noted = async function* () {
      for await (const page of events) {
        last = page.at(-1)?.revision ?? last;
        yield page;
      }
    };
    const rows = await this.#fold(noted());
    if (last < 0) throw flightNotFound(flightId);
    if (last < revision) {
      throw notFound(
        'flight.revision-not-found',
        `Flight ${flightId} is at revision ${last}; it has no revision ${revision} yet.`,
        {
          flightId,
          revision: last,
        },
      );
    }
    return rows;
  }

  /** The events of a flight up to a revision, in pages that do not hold the process. */
  async *#history(flightId: string, last: number): AsyncIterable<RecordedEvent[]> {
    let pageSize = FIRST_PAGE;
    for (let from = 0; from <= last;) {
      const to = Math.min(from + pageSize - 1, last);
      const page = await this.#page(flightId, from, to);
      yield page;
      if (page.length <= to - from) return;
      from += page.length;
      pageSize = nextPage(page, weightOf(page));
    }
  }

  async #page(flightId: string, fromRevision: number, toRevision: number): Promise<RecordedEvent[]> {
    const page: RecordedEvent[] = [];
    // One more than there can be, so that the store does not query for more.
    const options = { fromRevision, toRevision, pageSize: toRevision - fromRevision + 2 };
    for await (const part of this.store.readStream(streamOf(flightId), options)) page.push(...part);
    return page;
  }

  async #fold(pages: AsyncIterable<RecordedEvent[]>): Promise<RowSource> {
    const omissions = await this.omissions();
    const kept = async function* () {
      for await (const page of pages) {
        for (let i = 0; i < page.length; i += EVENTS_A_TURN) {
          yield page.slice(i, i + EVENTS_A_TURN).filter((event) => !omissions.isDiscarded(event));
          await nextTurn();
        }
      }
    };
    return foldInMemory(flightProjections, kept());
  }

  async #isEmpty(flightId: string): Promise<boolean> {
    for await (const page of this.store.readStream(streamOf(flightId), { toRevision: 0 }))
      return page.length === 0;
    return true;
  }
}

const weightOf = (page: readonly RecordedEvent[]): Weight =>
  page.reduce((sum, { data }) => weigh(data, sum), { values: 0, characters: 0 });

/** How many events to read after a page. */
function nextPage({ length }: readonly RecordedEvent[], { values, characters }: Weight): number {
  const fits = Math.min(PAGE.values / values, PAGE.characters / Math.max(1, characters));
  return Math.max(1, Math.min(MAX_PAGE, length * GROWTH, Math.floor(length * fits)));
}

/** Runs so many reads at a time; others wait. Throws `reads.overloaded` if too many wait already. */
function inTurns(atOnce: number, mostWaiting: number, refusal: string) {
  const limit = pLimit(atOnce);
  return <T>(read: () => Promise<T>): Promise<T> => {
    if (limit.pendingCount >= mostWaiting) throw unavailable('reads.overloaded', refusal);
    return limit(read);
  };
}

export const streamOf = (flightId: string): string => flightStreams.streamOf(flightId);

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
