import type { RecordedEvent } from '../event-store.js';
import type { DomainEvent } from './decider.js';
import { StreamStates, type StreamState, type StreamStatesOptions } from './stream-states.js';

/** Reads of one stream: the one that is under way, and the one that those who came during it wait for. */
interface Reads<State> {
  readonly now: Promise<State>;
  next?: Promise<State>;
}

/**
 * States of streams for decisions on other streams, each as it is at its end when it is asked for. Nothing is locked: the
 * stream can move a moment later. They are copies of their own, as commands change those of their mailboxes in place.
 */
export class ReferencedStates<State, Event extends DomainEvent> {
  readonly #states: StreamStates<State, Event>;
  readonly #reads = new Map<string, Reads<State>>();

  constructor(private readonly options: StreamStatesOptions<State, Event>) {
    this.#states = new StreamStates(options);
  }

  /** One read at a time for a stream: two would fold the same events into one state. */
  atEnd(streamId: string): Promise<State> {
    const reads = this.#reads.get(streamId);
    if (!reads) return this.#begin(streamId);
    // The read that is under way may have passed what this caller must see.
    return (reads.next ??= reads.now.catch(() => undefined).then(() => this.#begin(streamId)));
  }

  #begin(streamId: string): Promise<State> {
    const reads: Reads<State> = {
      now: this.#read(streamId).finally(() => {
        if (!reads.next) this.#reads.delete(streamId);
      }),
    };
    this.#reads.set(streamId, reads);
    return reads.now;
  }

  async #read(streamId: string): Promise<State> {
    const { room, store } = this.options;
    const key = `reference ${streamId}`;
    let known = room.stateOf(key) as StreamState<State> | undefined;
    if (known?.epoch === store.epoch) {
      const missed: RecordedEvent[] = [];
      for await (const page of store.readStream(streamId, { fromRevision: known.revision + 1 }))
        missed.push(...page);
      // All in one go: a decision must not see half of what a command recorded.
      this.#states.fold(known, missed);
    } else {
      room.missed(key);
      known = await this.#states.load(streamId);
      known.commands.clear();
    }
    room.keep(key, known, this.#states.bytesOf(known));
    return known.state;
  }
}
