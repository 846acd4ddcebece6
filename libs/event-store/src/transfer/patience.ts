import { setTimeout as sleep } from 'node:timers/promises';
import { backoffDelay, messageOf, WaylogError } from '#lib/platform';

const MAX_PAUSE_MS = 1_000;

/** Waits for logs that do not answer for a while. Its work must be harmless to repeat. */
export class Patience {
  #since: number | undefined;

  /** `boundMs` is the longest time without any answer. */
  constructor(
    private readonly boundMs: number,
    private readonly onWarning: (message: string) => void = () => undefined,
    readonly signal?: AbortSignal,
  ) {}

  /** @throws the error of `work`, at once unless the log does not answer, otherwise after the bound */
  async with<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 0; ;) {
      try {
        const done = await work();
        this.#answered();
        return done;
      } catch (error) {
        if (!(error instanceof WaylogError && error.code === 'database.unavailable')) throw error;
        this.#wait(error);
        const delay = backoffDelay(++failures, 100, MAX_PAUSE_MS);
        await sleep(delay, undefined, { signal: this.signal }).catch(() => undefined);
        this.signal?.throwIfAborted();
      }
    }
  }

  #answered(): void {
    if (this.#since === undefined) return;
    this.onWarning(`It goes on after ${Math.round((performance.now() - this.#since) / 1_000)} s.`);
    this.#since = undefined;
  }

  #wait(error: Error): void {
    if (this.#since === undefined) {
      this.#since = performance.now();
      this.onWarning(
        `A log does not answer (${messageOf(error)}) It is waited for, up to ${this.boundMs / 1_000} s.`,
      );
    } else if (performance.now() - this.#since > this.boundMs) throw error;
  }
}
