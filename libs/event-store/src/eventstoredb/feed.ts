import { setImmediate as turn } from 'node:timers/promises';
import {
  excludeSystemEvents,
  START,
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type Position as ServerPosition,
} from '@eventstore/db-client';
import { NoAnswer } from './calls.js';
import type { Connection } from './connection.js';

/** How many events the server looks at between two of its checkpoints, as far as it keeps to that. */
const CHECKPOINT_EVERY = 1_000;

/** One catch-up subscription to `$all` without the server's own events, read in batches. It is not made again: see `subscribe`. */
export class Feed {
  readonly #subscription: AllStreamSubscription;
  readonly #deadline: NodeJS.Timeout;
  readonly #signal: AbortSignal;
  readonly #onCheckpoint: (position: ServerPosition) => void;
  #checkpoint: ServerPosition | undefined;
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
    { client, credentials, deadlineMs }: Connection,
    options: {
      readonly after: ServerPosition | undefined;
      readonly batchSize: number;
      readonly signal: AbortSignal;
      readonly onCheckpoint: (position: ServerPosition) => void;
    },
  ) {
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
    this.#subscription = client.subscribeToAll(
      { fromPosition: options.after ?? START, filter, credentials },
      { highWaterMark: options.batchSize },
    );
    // Before it is confirmed a silent server is a failure; afterwards silence is what a quiet log sounds like, and whether
    // the server is still there is asked by gRPC's keep-alive.
    this.#deadline = setTimeout(() => this.#fail(new NoAnswer(deadlineMs)), deadlineMs);
    this.#subscription.on('confirmation', () => clearTimeout(this.#deadline));
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
      if (batch.length === batchSize) return batch;
      // What was there when it came has been taken: whoever goes on from here need not look there again.
      if (checkpoint && batch.length === 0) this.#onCheckpoint(checkpoint);
      if (batch.length > before) {
        // More may be on its way through the stream: full batches where there is much, no wait where there is little.
        await turn();
      } else if (batch.length > 0) {
        return batch;
      } else if (this.#failure) {
        throw this.#failure;
      } else if (this.#isOver) {
        return undefined;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = () => undefined;
      }
    }
  }

  /** Ends it on the server, too; leaving it alone would not. */
  close(): void {
    clearTimeout(this.#deadline);
    this.#signal.removeEventListener('abort', this.#over);
    // Where it never came to be there is nothing to end, and its failure has been told.
    this.#subscription.unsubscribe().catch(() => undefined);
    this.#subscription.destroy();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#over();
  }
}
