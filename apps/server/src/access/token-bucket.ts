import { LRUCache } from 'lru-cache';

/** As many callers are told apart; those that have not called for longest begin anew. */
const MAX_CALLERS = 10_000;

interface Bucket {
  tokens: number;
  at: number;
}

/**
 * Limits that let a burst of one second's worth pass: each caller has a bucket of `perSecond` tokens that fills up again
 * as fast. `now` is in milliseconds.
 */
export class TokenBuckets {
  readonly #buckets = new LRUCache<string, Bucket>({ max: MAX_CALLERS });

  constructor(
    private readonly perSecond: number,
    /** How far a bucket may go below zero by `charge`. */
    private readonly maxDebt = 0,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Takes a token; false when there is none. */
  take(caller: string): boolean {
    const bucket = this.#filled(caller);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  /** Whether there is a token. */
  has(caller: string): boolean {
    return this.#filled(caller).tokens >= 1;
  }

  /** Takes a token that may not be there: it has to be paid back first. */
  charge(caller: string): void {
    const bucket = this.#filled(caller);
    bucket.tokens = Math.max(bucket.tokens - 1, -this.maxDebt);
  }

  /** Whole seconds until there is a token again, at least 1. */
  secondsToWait(caller: string): number {
    return Math.max(1, Math.ceil((1 - this.#filled(caller).tokens) / this.perSecond));
  }

  #filled(caller: string): Bucket {
    const now = this.now();
    let bucket = this.#buckets.get(caller);
    if (!bucket) {
      bucket = { tokens: this.perSecond, at: now };
      this.#buckets.set(caller, bucket);
      return bucket;
    }
    bucket.tokens = Math.min(this.perSecond, bucket.tokens + ((now - bucket.at) / 1_000) * this.perSecond);
    bucket.at = now;
    return bucket;
  }
}
