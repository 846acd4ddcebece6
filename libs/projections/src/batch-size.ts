/** If a batch took less than this, the next one can be twice as large. */
const BRISK_MS = 5_000;

/**
 * How many events one transaction folds: fewer after a batch that was too much for the database (time, memory, locks),
 * and gradually more again.
 */
export class BatchSize {
  #now: number;

  constructor(private readonly most: number) {
    this.#now = most;
  }

  get now(): number {
    return this.#now;
  }

  wasTooMuch(events: number): void {
    this.#now = Math.max(1, Math.ceil(events / 4));
  }

  wentWell(tookMs: number): void {
    if (tookMs < BRISK_MS) this.#now = Math.min(this.most, this.#now * 2);
  }
}
