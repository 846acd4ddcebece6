import { inTime } from '#lib/platform';

/** A session without an answer is not waited for: whoever does not start has more to say than that. */
const CLOSE_MS = 3_000;

/**
 * What has been opened for an application that is still being made. Nest closes no application that it could not make:
 * without this, connections of one that does not start keep its process alive.
 */
export class Opened {
  readonly #closers: (() => Promise<unknown>)[] = [];
  #isClosed = false;

  /** Notes what is open, and how it is closed; what comes too late is closed at once. */
  add<T>(what: T, close: (what: T) => Promise<unknown>): T {
    const closer = () => close(what);
    if (this.#isClosed) void closer().catch(() => undefined);
    else this.#closers.push(closer);
    return what;
  }

  /** The application, once it is made. Closes everything that was opened for it if it is not. */
  async orClose<App>(making: Promise<App>): Promise<App> {
    try {
      return await making;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** The last first, but none waits for another: what is asked for by one that is gone fails. It never throws. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const closing = this.#closers.splice(0).reverse();
    const all = Promise.allSettled(closing.map((close) => close()));
    await inTime(CLOSE_MS, all, () => new Error('late')).catch(() => undefined);
  }
}
