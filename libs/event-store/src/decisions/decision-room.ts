import { LRUCache } from 'lru-cache';
import { unavailable, type WaylogError } from '#lib/platform';
import type { StreamState } from './stream-states.js';

export interface DecisionRoomOptions {
  /** How many commands can wait for an answer; default 10,000. More are refused with `commands.overloaded`. */
  readonly maxPending?: number;
  /** The memory for states between commands, as `decider.sizeOf` counts it; default 96 MB. */
  readonly cacheBytes?: number;
  /** Called when the states of the streams in use do not fit, at most once a minute. */
  readonly onWarning?: (message: string) => void;
}

/** A state that is needed again this soon after its eviction means that there is too little room for the streams in use. */
const SOON_MS = 60_000;

/** What all streams of a process share, whatever their categories: memory for their states, and places to wait. */
export class DecisionRoom {
  readonly #options: Required<DecisionRoomOptions>;
  readonly #states: LRUCache<string, StreamState>;
  readonly #evicted = new LRUCache<string, true>({ max: 10_000, ttl: SOON_MS });
  readonly #loaded = { total: 0, again: 0 };
  #warnedAt = -Infinity;
  #pending = 0;

  constructor(options: DecisionRoomOptions = {}) {
    this.#options = { maxPending: 10_000, cacheBytes: 96_000_000, onWarning: () => undefined, ...options };
    this.#states = new LRUCache({
      maxSize: this.#options.cacheBytes,
      dispose: (_state, streamId, reason) => {
        if (reason === 'evict') this.#evicted.set(streamId, true);
      },
    });
  }

  /** Commands that wait for an answer. */
  get pending(): number {
    return this.#pending;
  }

  /** The memory that states use between commands, how often one was loaded, and how often one that was evicted a moment before. */
  get cache(): { readonly bytes: number; readonly loaded: number; readonly loadedAgain: number } {
    return {
      bytes: this.#states.calculatedSize,
      loaded: this.#loaded.total,
      loadedAgain: this.#loaded.again,
    };
  }

  /** Takes a place for a command until `leave`, or returns `commands.overloaded` if there is none. */
  enter(): WaylogError | undefined {
    if (this.#pending >= this.#options.maxPending)
      return unavailable(
        'commands.overloaded',
        `${this.#pending} commands wait already, which is the limit. Nothing was recorded; send it again in a moment.`,
        { pending: this.#pending },
      );
    this.#pending++;
    return undefined;
  }

  leave(): void {
    this.#pending--;
  }

  stateOf(streamId: string): StreamState | undefined {
    return this.#states.get(streamId);
  }

  /** Counts that a state has to be loaded. */
  missed(streamId: string): void {
    this.#loaded.total++;
    if (!this.#evicted.delete(streamId)) return;
    this.#loaded.again++;
    const now = performance.now();
    if (now - this.#warnedAt <= SOON_MS) return;
    this.#warnedAt = now;
    this.#options.onWarning(
      `The states of the streams in use do not fit into ${this.#options.cacheBytes / 1_000_000} MB: ` +
        `${streamId} was put out and is loaded again within a minute, which makes commands slow. Give them more: WAYLOG_DECISION_CACHE_MB`,
    );
  }

  keep(streamId: string, state: StreamState, bytes: number): void {
    // Setting the present value again would keep its old size: states grow in place.
    this.#states.delete(streamId);
    // A state that is larger than everything stays here alone, rather than being loaded for every batch.
    this.#states.set(streamId, state, { size: Math.min(bytes, this.#options.cacheBytes) });
  }

  drop(streamId: string): void {
    this.#states.delete(streamId);
  }
}
