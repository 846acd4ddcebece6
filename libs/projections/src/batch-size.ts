/** As long as a batch took less than this, twice as much may be tried next. */
const BRISK_MS = 5_000;

/**
 * How many events one transaction takes: fewer once that was too much for the database (time, memory, locks), and gradually more
 * again as it goes well.
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
