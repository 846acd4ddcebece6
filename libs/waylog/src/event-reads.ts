import pLimit from 'p-limit';
import { answerTooLarge, MAX_ANSWER_BYTES, unavailable, weigh, type Weight } from '#lib/platform';
import type { EventStore, RecordedEvent } from '#lib/event-store';

/** The number of concurrent reads of events; more would not finish sooner: they share one thread. */
const MAX_EVENT_READS = 4;
/** The number of reads of a kind that can wait. */
export const MAX_WAITING = 60;

/** The target size of a page of events, so that none holds the process for long. */
const PAGE: Weight = { values: 20_000, characters: 1024 * 1024 };
const FIRST_PAGE = 32;
const MAX_PAGE = 1_000;
/** How much larger than the last one a page can be: the next events can be larger. */
const GROWTH = 2;
/** Revisions are 32 bits wide. */
export const LAST_REVISION = 2 ** 31 - 1;

/** Reads of events for callers: in pages that do not hold the process, and not too many at a time. */
export class EventReads {
  readonly #turns = inTurns(
    MAX_EVENT_READS,
    MAX_WAITING,
    `${MAX_WAITING} reads of events wait for their turn already, ${MAX_EVENT_READS} run at a time. Try again in a moment.`,
  );

  constructor(private readonly store: EventStore) {}

  /** The events of a stream from a revision on, at most `limit`. Throws `answer.too-large` and `reads.overloaded`. */
  ofStream(streamId: string, fromRevision: number, limit: number): Promise<RecordedEvent[]> {
    return this.#pages(limit, (before, pageSize) => {
      const from = before ? before.revision + 1 : fromRevision;
      return this.#page(streamId, from, Math.min(from + pageSize - 1, LAST_REVISION));
    });
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
    return this.#pages(limit, (before, pageSize) => {
      const after = before?.position ?? options.after;
      return this.store.readAll({
        limit: pageSize,
        ...(after !== undefined && { after }),
        ...(types && { types }),
      });
    });
  }

  async isEmpty(streamId: string): Promise<boolean> {
    for await (const page of this.store.readStream(streamId, { toRevision: 0 })) return page.length === 0;
    return true;
  }

  /** The events of a stream up to a revision, page by page. */
  async *history(streamId: string, last: number): AsyncIterable<RecordedEvent[]> {
    let pageSize = FIRST_PAGE;
    for (let from = 0; from <= last;) {
      const to = Math.min(from + pageSize - 1, last);
      const page = await this.#page(streamId, from, to);
      yield page;
      if (page.length <= to - from) return;
      from += page.length;
      pageSize = nextPage(page, weightOf(page));
    }
  }

  /** Calls `read` for page after page until there are `limit`, or no more. */
  #pages(
    limit: number,
    read: (before: RecordedEvent | undefined, pageSize: number) => Promise<RecordedEvent[]>,
  ): Promise<RecordedEvent[]> {
    return this.#turns(async () => {
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

  async #page(streamId: string, fromRevision: number, toRevision: number): Promise<RecordedEvent[]> {
    const page: RecordedEvent[] = [];
    // One more than there can be, so that the store does not query for more.
    const options = { fromRevision, toRevision, pageSize: toRevision - fromRevision + 2 };
    for await (const part of this.store.readStream(streamId, options)) page.push(...part);
    return page;
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
export function inTurns(atOnce: number, mostWaiting: number, refusal: string) {
  const limit = pLimit(atOnce);
  return <T>(read: () => Promise<T>): Promise<T> => {
    if (limit.pendingCount >= mostWaiting) throw unavailable('reads.overloaded', refusal);
    return limit(read);
  };
}
