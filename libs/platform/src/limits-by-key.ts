import pLimit, { type LimitFunction } from 'p-limit';

/** Limits how many works of a key run at a time; the others of that key wait, and those of other keys do not. */
export class LimitsByKey {
  readonly #limits = new Map<string, LimitFunction>();

  constructor(private readonly atOnce: (key: string) => number) {}

  /** How many works of a key wait. */
  waiting(key: string): number {
    return this.#limits.get(key)?.pendingCount ?? 0;
  }

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const limit = this.#limits.get(key) ?? pLimit(this.atOnce(key));
    this.#limits.set(key, limit);
    try {
      return await limit(work);
    } finally {
      if (limit.activeCount + limit.pendingCount === 0) this.#limits.delete(key);
    }
  }

  /** Applies what `atOnce` says now to the works of a key that have come already. */
  adjust(key: string): void {
    const limit = this.#limits.get(key);
    if (limit) limit.concurrency = this.atOnce(key);
  }
}
