import { isDataError } from '#lib/platform';
import type { AppendOutcome, AppendRequest } from '../event-store.js';

interface Waiting {
  readonly request: AppendRequest;
  readonly resolve: (outcome: AppendOutcome) => void;
  readonly reject: (error: unknown) => void;
}

export interface GroupCommitOptions {
  /** How many flushes can be in progress at once. The second waits for the first one's lock while it parses. */
  readonly maxInFlight: number;
  /** A flush accepts no further request once it holds this many events. */
  readonly maxEvents: number;
}

/** How many events must wait for two flushes to be better than one. */
const SPLIT_FROM = 16;

/**
 * Collects appends while others are on their way to the database, and sends them together. Under load one transaction,
 * and one flush to disk, serves many streams; without load a single append leaves at once. Two requests for one stream
 * are never in progress together, so that the second sees what the first recorded.
 */
export class GroupCommit {
  #waiting: Waiting[] = [];
  #inFlight = 0;
  #isScheduled = false;
  readonly #streamsInFlight = new Set<string>();
  #idle: (() => void)[] = [];

  constructor(
    private readonly flush: (requests: readonly AppendRequest[]) => Promise<AppendOutcome[]>,
    private readonly options: GroupCommitOptions,
  ) {}

  add(request: AppendRequest): Promise<AppendOutcome> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      // After the current turn of the event loop, so that callers that were woken together are sent together.
      if (this.#isScheduled) return;
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        this.#send();
      });
    });
  }

  /** Resolves when nothing waits and nothing is in progress. */
  async settled(): Promise<void> {
    if (this.#inFlight > 0 || this.#waiting.length > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#inFlight < this.options.maxInFlight) {
      const group = this.#takeGroup();
      if (group.length === 0) return;
      this.#inFlight++;
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: each failure is the answer of its requests
      this.#flushGroup(group).finally(() => {
        this.#inFlight--;
        for (const { request } of group) this.#streamsInFlight.delete(request.streamId);
        this.#send();
        if (this.#inFlight === 0 && this.#waiting.length === 0)
          for (const idle of this.#idle.splice(0)) idle();
      });
    }
  }

  async #flushGroup(group: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.flush(group.map(({ request }) => request));
      for (const [i, { resolve, reject }] of group.entries()) {
        const outcome = outcomes[i];
        if (outcome) resolve(outcome);
        else reject(new Error(`The flush answered ${outcomes.length} outcomes to ${group.length} requests.`));
      }
    } catch (error) {
      // A value that PostgreSQL refuses fails only its own request: find it by bisection.
      if (group.length > 1 && isDataError(error)) {
        const half = group.length >> 1;
        await this.#flushGroup(group.slice(0, half));
        await this.#flushGroup(group.slice(half));
      } else {
        for (const { reject } of group) reject(error);
      }
    }
  }

  #takeGroup(): Waiting[] {
    const group: Waiting[] = [];
    const later: Waiting[] = [];
    // A request that has to wait also holds back later ones for the same stream.
    const streams = new Set(this.#streamsInFlight);
    let events = 0;
    const most = this.#mostEvents();
    for (const waiting of this.#waiting) {
      const { streamId } = waiting.request;
      const fits = group.length === 0 || events + waiting.request.events.length <= most;
      if (fits && !streams.has(streamId)) {
        group.push(waiting);
        this.#streamsInFlight.add(streamId);
        events += waiting.request.events.length;
      } else {
        later.push(waiting);
      }
      streams.add(streamId);
    }
    this.#waiting = later;
    return group;
  }

  /**
   * With nothing in progress, half of what waits goes first and the other half right after it. Otherwise callers who
   * were answered together come back together, and this process and PostgreSQL take turns instead of working in
   * parallel: with 64 and with 256 callers a quarter less. If little waits, one flush for all is cheaper.
   */
  #mostEvents(): number {
    const { maxEvents } = this.options;
    if (this.#inFlight > 0) return maxEvents;
    const waiting = this.#waiting.reduce((sum, { request }) => sum + request.events.length, 0);
    return waiting < SPLIT_FROM ? maxEvents : Math.min(maxEvents, Math.ceil(waiting / 2));
  }
}
