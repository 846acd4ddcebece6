import { setTimeout as sleep } from 'node:timers/promises';

/** How long after one announcement the next may follow. */
const INTERVAL_MS = 5;

/**
 * Announces that the log has grown: at once when all was quiet, and once every few milliseconds while much is recorded.
 * It is no part of the append's transaction: there each of a thousand appends a second paid for a notification, which
 * woke every listening connection as often. One that fails is not sent again: whoever listens polls as well.
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
    // In the same turn as the look at #isDue: nothing can be announced in between and be forgotten.
    this.#running = undefined;
  }
}
