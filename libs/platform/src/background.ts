import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, but at most until the signal is aborted; it does not say which happened. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);

/** A signal may be aborted while something is awaited, which the type checker does not know. */
export const isAborted = (signal: AbortSignal): boolean => signal.aborted;

/** Background work, from `start` until it has been told to stop and has ended. */
export class Background {
  #stop: AbortController | undefined;
  #running: Promise<void> | undefined;

  /** `work` must end soon after its signal is aborted, and handle its own failures. */
  constructor(private readonly work: (signal: AbortSignal) => Promise<void>) {}

  /** Starting work that runs already changes nothing. */
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
