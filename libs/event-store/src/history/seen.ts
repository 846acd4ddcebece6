import type { AppendRequest, Position } from '../event-store.js';

/** An event that was seen in the log. */
export interface Landmark {
  readonly position: Position;
  readonly id: string;
}

/** An event that was seen, and when, in milliseconds since 1970: it was recorded no later than that. */
export type Sighting = Landmark & { readonly at: number };

/** Which log the tables are folded from, identified by its first event, and how far. */
export interface Folded {
  readonly first: Sighting;
  readonly position: Position;
  /** When they had reached it, in milliseconds since 1970. */
  readonly at: number;
}

interface Answered extends Landmark {
  readonly streamId: string;
  readonly first: number;
  readonly last: number;
  readonly commands: number;
  /** When it was answered, in milliseconds since 1970. */
  readonly at: number;
}

/** What is known of events that this process has seen and that the log no longer holds. */
export interface Gone {
  readonly seen: Landmark;
  /** When the last of them was seen; and the last event that the log still holds, if one is known. */
  readonly seenAt: number;
  readonly keptAt: number | undefined;
  readonly keptPosition: Position | undefined;
  /** Those that this process appended itself. */
  readonly streams: readonly { readonly streamId: string; readonly from: number; readonly to: number }[];
  /** How many of its own commands it answered with them; undefined if it does not remember that many. */
  readonly commands: number | undefined;
}

/** How many appends are remembered, to say which were lost; some 2 MB. */
const REMEMBERED = 10_000;

/**
 * What a process has seen of the log: the newest event, by which it notices that the log went back, and its latest
 * appends, by which it says what was lost.
 */
export class Seen {
  #newest: Sighting | undefined;
  #answered: Answered[] = [];
  #isComplete = true;

  constructor(private readonly compare: (a: Position, b: Position) => number) {}

  get newest(): Sighting | undefined {
    return this.#newest;
  }

  note(event: Landmark | undefined): void {
    if (!event || (this.#newest && this.compare(event.position, this.#newest.position) <= 0)) return;
    this.#newest = { position: event.position, id: event.id, at: Date.now() };
  }

  noteAppend({ streamId, events }: AppendRequest, first: number, positions: readonly Position[]): void {
    const last = events.at(-1);
    const position = positions.at(-1);
    if (!last || position === undefined) return;
    this.note({ position, id: last.id });
    const commands = new Set(events.map(({ metadata }) => metadata.commandId)).size;
    this.#answered.push({
      position,
      id: last.id,
      streamId,
      first,
      last: first + events.length - 1,
      commands,
      at: Date.now(),
    });
    // In halves: moving all of them with every append would cost more than the append.
    if (this.#answered.length > 2 * REMEMBERED) {
      this.#answered = this.#answered.slice(-REMEMBERED);
      this.#isComplete = false;
    }
  }

  /**
   * What of it was lost; undefined if nothing was. `isThere` is called a few times: what was lost is the end of what
   * was seen.
   */
  async gone(isThere: (event: Sighting) => Promise<boolean>): Promise<Gone | undefined> {
    const newest = this.#newest;
    if (!newest || (await isThere(newest))) return undefined;
    const answered = this.#answered.toSorted((a, b) => this.compare(a.position, b.position));
    let kept = 0;
    for (let end = answered.length; kept < end;) {
      const middle = (kept + end) >> 1;
      if (await isThere(answered[middle] as Answered)) kept = middle + 1;
      else end = middle;
    }
    const gone = answered.slice(kept);
    return {
      seen: newest,
      seenAt: newest.at,
      keptAt: answered[kept - 1]?.at,
      keptPosition: answered[kept - 1]?.position,
      streams: byStream(gone),
      commands:
        kept > 0 || this.#isComplete ? gone.reduce((sum, { commands }) => sum + commands, 0) : undefined,
    };
  }

  /**
   * Forgets what was seen up to an event. Something newer may have come from a log that no longer exists: that is not
   * noticed.
   */
  forget({ position }: Landmark): void {
    const isNewer = (event: Landmark) => this.compare(event.position, position) > 0;
    this.#answered = this.#answered.filter(isNewer);
    if (this.#newest && !isNewer(this.#newest)) this.#newest = undefined;
  }
}

function byStream(gone: readonly Answered[]): Gone['streams'] {
  const streams = new Map<string, { streamId: string; from: number; to: number }>();
  for (const { streamId, first, last } of gone) {
    const known = streams.get(streamId);
    streams.set(streamId, {
      streamId,
      from: Math.min(first, known?.from ?? first),
      to: Math.max(last, known?.to ?? last),
    });
  }
  return [...streams.values()];
}
