import { setImmediate as turn } from 'node:timers/promises';
import {
  START,
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type Position as ServerPosition,
} from '@eventstore/db-client';
import { WaylogError } from '#lib/platform';
import { NoAnswer, Standstill } from './calls.js';
import type { Connection } from './connection.js';
import type { Node } from './node.js';
import type { OurEvents } from './our-events.js';
import { BEGINNING, comparePositions, parsePosition, positionOf } from './position.js';

/**
 * What a checkpoint says if the log had nothing for us yet: -1, in a field without a sign. Whoever went on from there would miss
 * everything.
 */
const BEFORE_ALL = 2n ** 64n - 1n;

/** One catch-up subscription to what is ours, read in batches. It is not made again: see `subscribe`. */
export class Feed {
  readonly #connection: Connection;
  readonly #ours: OurEvents;
  readonly #subscription: AllStreamSubscription;
  readonly #deadline: NodeJS.Timeout;
  readonly #signal: AbortSignal;
  readonly #onCheckpoint: (position: ServerPosition) => void;
  #checkpoint: ServerPosition | undefined;
  /** The last event that has come. */
  #came: ServerPosition;
  /** At the last look the log had an event of ours that had not come; and nothing has since. */
  #isMissing = false;
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
    ours: OurEvents,
    options: {
      readonly after: ServerPosition;
      readonly batchSize: number;
      readonly signal: AbortSignal;
      readonly onConfirmation: () => void;
      readonly onCheckpoint: (position: ServerPosition) => void;
    },
  ) {
    this.#connection = connection;
    this.#ours = ours;
    this.#came = options.after;
    this.#signal = options.signal;
    // It runs in order with the events, so all before it are in the buffer. It may not throw: that would stop the
    // subscription without a word.
    const filter = ours.filter((_subscription, position) => {
      if (position.commit !== BEFORE_ALL) this.#checkpoint = position;
      this.#isMissing = false;
      return Promise.resolve();
    });
    this.#onCheckpoint = options.onCheckpoint;
    this.#subscription = node.subscribeToAll(
      {
        fromPosition: positionOf(options.after) === BEGINNING ? START : options.after,
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
      if (batch.length === batchSize) return this.#take(batch);
      // What was there when it came has been taken: whoever goes on from here need not look there again.
      if (checkpoint && batch.length === 0) this.#onCheckpoint(checkpoint);
      if (batch.length > before) {
        // More may be on its way through the stream: full batches where there is much, no wait where there is little.
        await turn();
      } else if (batch.length > 0) {
        return this.#take(batch);
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

  #take(batch: AllStreamResolvedEvent[]): AllStreamResolvedEvent[] {
    this.#came = batch.at(-1)?.event?.position ?? this.#came;
    this.#isMissing = false;
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
   * goes on, keep-alive and all, and brings nothing. What the leader has and this has not brought by the next look is missing,
   * unless this is on its way through other applications' events: then it says how far it has come.
   */
  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const [came, checkpoint] = [this.#came, this.#checkpoint];
      const { ours } = await this.#ours.end();
      // Something has come meanwhile, or is there to be taken.
      const hasMoved = this.#came !== came || this.#checkpoint !== checkpoint;
      if (hasMoved || this.#subscription.readableLength > 0) return;
      const isMissing = comparePositions(parsePosition(ours), came) > 0;
      if (isMissing && this.#isMissing) this.#fail(new Standstill(ours));
      this.#isMissing = isMissing;
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
