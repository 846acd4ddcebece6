import {
  END,
  START,
  type AllStreamResolvedEvent,
  type Filter,
  type ReadPosition,
} from '@eventstore/db-client';
import type { Position } from '../event-store.js';
import { isNoPosition } from './calls.js';
import { decodeEvent } from './codec.js';
import type { Connection } from './connection.js';
import { filterFor, filterWithMetadata } from './filter.js';
import type { Node } from './node.js';
import { BEGINNING, comparePositions, parsePosition, positionOf } from './position.js';
import { readFiltered, readLast } from './read.js';
import { Shared } from './shared.js';

/** So many are looked at without a filter: in a log of Waylog's own that is all there is to do. */
const TAIL = 10;
const PAGE = 1_000;

/** How far the log goes. Between `ours`, the last event of ours, and `seen`, the last of all, there is none of ours. */
interface End {
  readonly ours: Position;
  readonly seen: Position;
}

/**
 * What of a server's log is ours. Events of other applications may be a million between two of ours: the server passes over them
 * itself, which is ten times as fast as reading them, and what it has looked through once is not looked through again.
 */
export class OurEvents {
  #known: End = { ours: BEGINNING, seen: BEGINNING };
  readonly #look = new Shared(() =>
    this.#connection.call((node, deadline) => this.#lookForEnd(node, deadline)),
  );
  readonly #connection: Connection;
  readonly #filter;

  constructor(
    connection: Connection,
    readonly categories: readonly string[] | undefined,
  ) {
    this.#connection = connection;
    this.#filter = filterFor(categories);
  }

  /** Whether what is written to a stream will be found again. */
  includes(streamId: string): boolean {
    return this.categories?.some((category) => streamId.startsWith(`${category}-`)) ?? true;
  }

  /** What a subscription lets through. */
  filter(checkpointReached: Filter['checkpointReached']): Filter {
    return filterFor(this.categories, checkpointReached);
  }

  /** What was seen is of a log that went back. */
  forget(): void {
    this.#known = { ours: BEGINNING, seen: BEGINNING };
  }

  end(): Promise<End> {
    return this.#look.get();
  }

  /** At most `limit` events after a position (exclusive), up to the one at `until`. Some may turn out to be no events of ours. */
  async page(after: Position, limit: number, until: Position): Promise<AllStreamResolvedEvent[]> {
    if (isUpTo(until, after)) return [];
    return this.#connection.call((node, deadline) => this.#forwards(node, deadline, after, limit, until));
  }

  /** All that is in our streams, others' events and metadata too, the last first; `before` is exclusive. */
  all(before: ReadPosition, limit: number): Promise<AllStreamResolvedEvent[]> {
    const page = { filter: filterWithMetadata(this.categories), from: before, limit, backwards: true };
    return this.#connection.call((node, deadline) => readFiltered(node, page, this.#connection, deadline));
  }

  async #forwards(
    node: Node,
    deadline: number,
    after: Position,
    limit: number,
    until?: Position,
  ): Promise<AllStreamResolvedEvent[]> {
    const isFromStart = after === BEGINNING;
    const from: ReadPosition = isFromStart ? START : parsePosition(after);
    // The server begins with the event at the position, if there is one.
    const page = {
      filter: this.#filter,
      from,
      limit: isFromStart ? limit : limit + 1,
      backwards: false,
    };
    const found = await readFiltered(node, page, this.#connection, deadline, until);
    const [first] = found;
    const isRepeat = first?.event && positionOf(first.event.position) === after;
    return isRepeat ? found.slice(1) : found.slice(0, limit);
  }

  async #lookForEnd(node: Node, deadline: number): Promise<End> {
    const known = this.#known;
    const end = await this.#endFrom(node, deadline, known);
    // Unless the log has gone back meanwhile, and what was known of it was forgotten.
    if (this.#known === known) this.#known = end;
    return end;
  }

  async #endFrom(node: Node, deadline: number, known: End): Promise<End> {
    const tail = await readLast(node, TAIL, this.#connection, deadline);
    const seen = tail[0]?.event ? positionOf(tail[0].event.position) : BEGINNING;
    for (const resolved of tail) {
      if (!resolved.event) continue;
      const position = positionOf(resolved.event.position);
      if (isUpTo(position, known.seen)) return { ours: known.ours, seen };
      if (this.includes(resolved.event.streamId) && decodeEvent(resolved)) return { ours: position, seen };
    }
    if (tail.length < TAIL) return { ours: BEGINNING, seen };
    const isNews = known.seen === BEGINNING || (await this.#hasOursAfter(node, deadline, known.seen));
    return { ours: isNews ? await this.#lastOfOurs(node, deadline) : known.ours, seen };
  }

  async #hasOursAfter(node: Node, deadline: number, position: Position): Promise<boolean> {
    try {
      return (await this.#forwards(node, deadline, position, 1)).length > 0;
    } catch (error) {
      // A log that went back has another event's bytes there. Whoever notices says so; here it is looked through anew.
      if (isNoPosition(error)) return true;
      throw error;
    }
  }

  async #lastOfOurs(node: Node, deadline: number): Promise<Position> {
    for (let from: ReadPosition = END, limit = 1; ; limit = PAGE) {
      const page = { filter: this.#filter, from, limit, backwards: true };
      const found = await readFiltered(node, page, this.#connection, deadline);
      const ours = found.map(decodeEvent).find((decoded) => decoded !== undefined);
      if (ours) return ours.event.position;
      const last = found.at(-1)?.event;
      if (!last) return BEGINNING;
      from = last.position;
    }
  }
}

const isUpTo = (a: Position, b: Position): boolean =>
  comparePositions(parsePosition(a), parsePosition(b)) <= 0;
