import type { Listener } from './listener.js';

/**
 * Waits for a notification, with polling as a fallback: a notification can be lost with its connection. Call `arm`
 * before looking, and `wait` after finding nothing: an announcement in between ends the wait at once.
 */
export class Waker {
  #woken = false;
  #wake: (() => void) | undefined;
  readonly #off: () => void;
  readonly #notify = () => {
    this.#woken = true;
    this.#wake?.();
  };

  constructor(
    listener: Listener,
    channel: string,
    private readonly pollIntervalMs: number,
    private readonly signal: AbortSignal,
  ) {
    this.#off = listener.on(channel, this.#notify);
    signal.addEventListener('abort', this.#notify);
  }

  arm(): void {
    this.#woken = this.signal.aborted;
  }

  async wait(): Promise<void> {
    if (this.#woken) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.pollIntervalMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  close(): void {
    this.#off();
    this.signal.removeEventListener('abort', this.#notify);
  }
}
