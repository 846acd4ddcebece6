import type { Timestamp } from '#lib/platform';
import type { Position } from '../event-store.js';
import { decodeEvent } from './codec.js';
import type { Connection } from './connection.js';
import { comparePositions, parsePosition, positionOf } from './position.js';
import { readAllPage } from './read.js';

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
 * remembered: while a projector catches up and somebody watches, each event is read once for the watching.
 */
export class Backlog {
  #window: Window | undefined;

  constructor(private readonly connection: Connection) {}

  /** What was read is of a log that went back. */
  forget(): void {
    this.#window = undefined;
  }

  async count(after: Position): Promise<{ events: number; since: Timestamp | undefined }> {
    const known = this.#window;
    const isCovered = known && compare(after, known.after) >= 0 && compare(after, known.seen) <= 0;
    const events = isCovered ? known.events.filter(({ position }) => compare(position, after) > 0) : [];
    let seen = isCovered ? known.seen : after;
    while (events.length < MAX_COUNTED_BACKLOG) {
      const found = await readAllPage(this.connection, seen, PAGE);
      for (const resolved of found) {
        const event = decodeEvent(resolved)?.event;
        if (event) events.push({ position: event.position, recordedAt: event.recordedAt });
      }
      const last = found.at(-1)?.event;
      if (last) seen = positionOf(last.position);
      if (found.length < PAGE) break;
    }
    // Whoever counts at the same time leaves a window of his own, as good as this one.
    this.#window = { after, seen, events };
    return { events: Math.min(events.length, MAX_COUNTED_BACKLOG), since: events[0]?.recordedAt };
  }
}

const compare = (a: Position, b: Position): number => comparePositions(parsePosition(a), parsePosition(b));
