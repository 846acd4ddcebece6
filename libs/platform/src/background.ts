import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, but no longer than until the signal is aborted; it does not say which it was. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);

/** Work that goes on in the background, from `start` until it has been told to stop and has ended. */
export class Background {
  #stop: AbortController | undefined;
  #running: Promise<void> | undefined;

  /** `work` ends soon after its signal is aborted, and deals with its own failures. */
  constructor(private readonly work: (signal: AbortSignal) => Promise<void>) {}

  /** Starting what runs already is no change. */
  start(): void {
    if (this.#running) return;
    this.#stop = new AbortController();
    this.#running = this.work(this.#stop.signal);
  }

  /** Resolves when the work has ended. */
  async stop(): Promise<void> {
    this.#stop?.abort();
    await this.#running;
    this.#running = undefined;
  }
}
