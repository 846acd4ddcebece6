import { messageOf } from '#lib/platform';
import type { ProjectorLog } from './projector.js';

/** How often a continuing failure is logged again. */
const REMIND_MS = 60_000;

/** After this long without failure, the trouble is over. */
const CALM_MS = 10_000;

/**
 * Logs work that fails and is retried every two seconds: a line when it begins to fail, one a minute with the number of
 * failures, and one when it works again.
 */
export class Trouble {
  #failures = 0;
  #saidAt = 0;
  #calm: NodeJS.Timeout | undefined;

  constructor(
    private readonly what: string,
    private readonly log: ProjectorLog,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** How often in a row it has failed. */
  get failures(): number {
    return this.#failures;
  }

  failed(error: unknown): void {
    clearTimeout(this.#calm);
    this.#failures++;
    if (this.#failures > 1 && this.now() - this.#saidAt < REMIND_MS) return;
    this.#saidAt = this.now();
    this.log.warn(
      `${this.what} failed${this.#failures > 1 ? ` ${this.#failures} times in a row` : ', and is tried again until it goes on'}: ${messageOf(error)}`,
    );
  }

  /** It works so far: without anything to do there is no more to see. */
  began(): void {
    if (this.#failures === 0) return;
    clearTimeout(this.#calm);
    this.#calm = setTimeout(() => this.succeeded(), CALM_MS).unref();
  }

  succeeded(): void {
    clearTimeout(this.#calm);
    if (this.#failures === 0) return;
    this.log.info(`${this.what} goes on, after ${this.#failures} failed attempts`);
    this.#failures = 0;
  }

  /** Stops logging. */
  end(): void {
    clearTimeout(this.#calm);
  }
}
