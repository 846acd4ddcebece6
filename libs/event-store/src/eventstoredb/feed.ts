import { setImmediate as turn } from 'node:timers/promises';
import {
  excludeSystemEvents,
  START,
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type Position as ServerPosition,
} from '@eventstore/db-client';
import { WaylogError } from '#lib/platform';
import type { Position } from '../event-store.js';
import { NoAnswer, Standstill } from './calls.js';
import type { Connection } from './connection.js';
import type { Node } from './node.js';
import { BEGINNING, positionOf } from './position.js';
import { readAllPage } from './read.js';

/** How many events the server looks at between two of its checkpoints, as far as it keeps to that. */
const CHECKPOINT_EVERY = 1_000;

/** What a subscription that is quiet is compared with is read in pages of so many. */
const LOOK_AHEAD = 256;

/** One catch-up subscription to `$all` without the server's own events, read in batches. It is not made again: see `subscribe`. */
export class Feed {
  readonly #connection: Connection;
  readonly #subscription: AllStreamSubscription;
  readonly #deadline: NodeJS.Timeout;
  readonly #signal: AbortSignal;
  readonly #onCheckpoint: (position: ServerPosition) => void;
  #checkpoint: ServerPosition | undefined;
  /** How far the log is known to have nothing that this should have brought and has not. */
  #covered: Position;
  /** An event that the log had at the last look, and that has not come since. */
  #missed: Position | undefined;
  #isLooking = false;
  #failure: Error | undefined;
  #isOver = false;
  #wake: () => void = () => undefined;
  readonly #over = () => {
    this.#isOver = true;
    this.#wake();
  };

  /**
   * `onCheckpoint` hears how far the server has looked without finding anything for us. No more than twice `batchSize` events
   * are held here: when nobody takes them, the server waits.
   */
  constructor(
    connection: Connection,
    node: Node,
    options: {
      readonly after: ServerPosition;
      readonly batchSize: number;
      readonly signal: AbortSignal;
      readonly onConfirmation: () => void;
      readonly onCheckpoint: (position: ServerPosition) => void;
    },
  ) {
    this.#connection = connection;
    this.#covered = positionOf(options.after);
    this.#signal = options.signal;
    const filter = excludeSystemEvents({
      maxSearchWindow: CHECKPOINT_EVERY,
      // It runs in order with the events, so all before it are in the buffer. It may not throw: that would stop the
      // subscription without a word.
      checkpointReached: (_subscription, position) => {
        this.#checkpoint = position;
        return Promise.resolve();
      },
    });
    this.#onCheckpoint = options.onCheckpoint;
    this.#subscription = node.subscribeToAll(
      {
        fromPosition: this.#covered === BEGINNING ? START : options.after,
        filter,
        credentials: connection.credentials,
      },
      { highWaterMark: options.batchSize },
    );
    // Before it is confirmed a silent server is a failure. Afterwards silence is what a quiet log sounds like: see `#look`.
    const { attemptMs } = connection;
    this.#deadline = setTimeout(() => this.#fail(new NoAnswer(attemptMs)), attemptMs);
    this.#subscription.on('confirmation', () => {
      clearTimeout(this.#deadline);
      options.onConfirmation();
    });
    this.#subscription.on('readable', () => this.#wake());
    this.#subscription.on('error', (error) => this.#fail(error));
    this.#subscription.on('end', this.#over);
    options.signal.addEventListener('abort', this.#over);
  }

  /** At least one event as soon as there is one; undefined when the subscription is over. @throws what it failed with */
  async next(batchSize: number): Promise<AllStreamResolvedEvent[] | undefined> {
    const batch: AllStreamResolvedEvent[] = [];
    for (;;) {
      if (this.#signal.aborted) return undefined;
      const before = batch.length;
      const checkpoint = this.#checkpoint;
      while (batch.length < batchSize) {
        const event = this.#subscription.read() as AllStreamResolvedEvent | null;
        if (event === null) break;
        batch.push(event);
      }
      if (batch.length === batchSize) return this.#came(batch);
      // What was there when it came has been taken: whoever goes on from here need not look there again.
      if (checkpoint && batch.length === 0) this.#onCheckpoint(checkpoint);
      if (batch.length > before) {
        // More may be on its way through the stream: full batches where there is much, no wait where there is little.
        await turn();
      } else if (batch.length > 0) {
        return this.#came(batch);
      } else if (this.#failure) {
        throw this.#failure;
      } else if (this.#isOver) {
        return undefined;
      } else {
        await this.#wait();
      }
    }
  }

  /** Ends it on the server, too; leaving it alone would not. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#signal.removeEventListener('abort', this.#over);
    // Where it never came to be there is nothing to end, and its failure has been told.
    this.#subscription.unsubscribe().catch(() => undefined);
    this.#subscription.destroy();
  }

  #came(batch: AllStreamResolvedEvent[]): AllStreamResolvedEvent[] {
    const last = batch.at(-1)?.event;
    if (last) this.#covered = positionOf(last.position);
    this.#missed = undefined;
    return batch;
  }

  async #wait(): Promise<void> {
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: its failure is that of the subscription
    const looking = setInterval(() => void this.#look(), this.#connection.attemptMs);
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = () => undefined;
    clearInterval(looking);
  }

  /**
   * Nothing has come for a while. Either there is nothing, or the node that is subscribed to is cut off from the others: then it
   * goes on, keep-alive and all, and brings nothing. What the leader has and this has not brought by the next look is missing.
   */
  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const from = this.#covered;
      const { covered, next } = await nextAfter(this.#connection, from);
      // Something has come meanwhile, or is there to be taken.
      if (this.#covered !== from || this.#subscription.readableLength > 0) return;
      if (next !== undefined && next === this.#missed) this.#fail(new Standstill(next));
      this.#missed = next;
      this.#covered = covered;
    } catch (error) {
      // Nobody to compare it with now; there will be a next look. But a place that the log does not have is no place to go on from.
      if (!(error instanceof WaylogError && error.kind === 'unavailable')) this.#fail(error as Error);
    } finally {
      this.#isLooking = false;
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#over();
  }
}

/** The first event that the filter of a subscription lets through, and how far there is none. */
async function nextAfter(
  connection: Connection,
  after: Position,
): Promise<{ covered: Position; next: Position | undefined }> {
  for (let covered = after; ;) {
    const page = await readAllPage(connection, covered, LOOK_AHEAD);
    for (const { event } of page) {
      if (!event) continue;
      const position = positionOf(event.position);
      if (!event.type.startsWith('$')) return { covered, next: position };
      covered = position;
    }
    if (page.length < LOOK_AHEAD) return { covered, next: undefined };
  }
}
