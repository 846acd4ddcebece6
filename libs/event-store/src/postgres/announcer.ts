import { setTimeout as sleep } from 'node:timers/promises';

/** The shortest time between two announcements. */
const INTERVAL_MS = 5;

/**
 * Announces that the log has grown: at once after a quiet time, and once every few milliseconds under load. It is not
 * part of the append's transaction: there each of a thousand appends per second paid for a notification, which woke
 * every listening connection as often. A failed one is not repeated: listeners poll as well.
 */
export class Announcer {
  #isDue = false;
  #running: Promise<void> | undefined;

  constructor(private readonly notify: () => Promise<unknown>) {}

  announce(): void {
    this.#isDue = true;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is left to be announced. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isDue) {
      this.#isDue = false;
      await this.notify().catch(() => undefined);
      await sleep(INTERVAL_MS);
    }
    // In the same turn as the check of #isDue: nothing can be announced in between and be forgotten.
    this.#running = undefined;
  }
}
