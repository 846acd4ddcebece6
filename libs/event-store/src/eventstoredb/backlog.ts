import type { Timestamp } from '#lib/platform';
import type { Backlog, Position } from '../event-store.js';
import { decodeEvent } from './codec.js';
import type { OurEvents } from './our-events.js';
import { comparePositions, parsePosition, positionOf } from './position.js';

/** A backlog is counted no further: as many then means "at least as many". */
export const MAX_COUNTED_BACKLOG = 10_000;

const PAGE = 1_000;

interface Window {
  /** Exclusive. */
  readonly after: Position;
  /** How far was looked; inclusive. */
  readonly seen: Position;
  /** Our events in between, in order. */
  readonly events: readonly { readonly position: Position; readonly recordedAt: Timestamp }[];
}

/**
 * Counts what comes after a position. Positions of EventStoreDB say nothing about that, so it is read, and what was read is
 * remembered: while a projector catches up and somebody watches, each event is read once for the watching. Those who ask at the
 * same time take turns: the same question is asked once, and another one finds what was read before.
 */
export class BacklogCount {
  #window: Window | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** What waits for its turn. */
  readonly #waiting = new Map<Position, Promise<Backlog>>();

  constructor(private readonly ours: OurEvents) {}

  /** What was read is of a log that went back. */
  forget(): void {
    this.#window = undefined;
  }

  count(after: Position): Promise<Backlog> {
    const waiting = this.#waiting.get(after);
    if (waiting) return waiting;
    // Where one fails those who wait fail with it, rather than wait as long again, each of them.
    const counted = this.#last.finally(() => this.#waiting.delete(after)).then(() => this.#count(after));
    this.#waiting.set(after, counted);
    this.#last = counted;
    const over = () => {
      if (this.#last === counted) this.#last = Promise.resolve();
    };
    counted.then(over, over);
    return counted;
  }

  async #count(after: Position): Promise<Backlog> {
    const end = await this.ours.end();
    if (compare(end.ours, after) <= 0) return { events: 0, since: undefined };
    const known = this.#window;
    const isCovered = known && compare(after, known.after) >= 0 && compare(after, known.seen) <= 0;
    const events = isCovered ? known.events.filter(({ position }) => compare(position, after) > 0) : [];
    let seen = isCovered ? known.seen : after;
    while (events.length < MAX_COUNTED_BACKLOG && compare(seen, end.ours) < 0) {
      const found = await this.ours.page(seen, PAGE, end.ours);
      for (const resolved of found) {
        const event = decodeEvent(resolved)?.event;
        if (event) events.push({ position: event.position, recordedAt: event.recordedAt });
      }
      const last = found.at(-1)?.event;
      seen = found.length < PAGE || !last ? end.ours : positionOf(last.position);
    }
    this.#window = { after, seen, events };
    return { events: Math.min(events.length, MAX_COUNTED_BACKLOG), since: events[0]?.recordedAt };
  }
}

const compare = (a: Position, b: Position): number => comparePositions(parsePosition(a), parsePosition(b));
