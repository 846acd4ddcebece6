import { messageOf } from '#lib/platform';
import type { ProjectorLog } from './projector.js';

/** What goes on failing is said again so often. */
const REMIND_MS = 60_000;

/** What has worked for so long has come to an end. */
const CALM_MS = 10_000;

/**
 * What is said of something that fails and is tried again, every two seconds for as long as it lasts: a line when it begins, one
 * a minute with how often it has failed, and one when it goes on.
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

  /** It works, so far: where there is nothing to do that is all there is to see of it. */
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

  /** Nothing is said any more. */
  end(): void {
    clearTimeout(this.#calm);
  }
}
