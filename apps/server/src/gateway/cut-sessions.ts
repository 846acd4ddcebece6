/** How soon it is looked first, and how rarely at last. */
const FIRST_LOOK_MS = 30;
const LAST_LOOK_MS = 5_000;

/**
 * Backends of the database whose sessions were cut. PostgreSQL ends a statement only where it looks whether it should, so
 * that one may run on for hours: what it takes must not be given to others meanwhile. All are asked for with one query, more
 * and more rarely; none is where there are none.
 */
export class CutSessions {
  readonly #waiting = new Map<number, () => void>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_LOOK_MS;
  #isClosed = false;

  /** @param thoseLeft which of these backends the database still has */
  constructor(private readonly thoseLeft: (pids: readonly number[]) => Promise<readonly number[]>) {}

  /** Resolves when the database does not have it any more; or when nobody looks any more. */
  gone(pid: number): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    const gone = new Promise<void>((resolve) => this.#waiting.set(pid, resolve));
    this.#pauseMs = FIRST_LOOK_MS;
    this.#lookLater();
    return gone;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#settle([]);
  }

  #lookLater(): void {
    clearTimeout(this.#timer);
    if (this.#waiting.size === 0 || this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#look().catch(() => undefined), this.#pauseMs);
    this.#timer.unref();
    this.#pauseMs = Math.min(this.#pauseMs * 1.5, LAST_LOOK_MS);
  }

  async #look(): Promise<void> {
    const asked = [...this.#waiting.keys()];
    // A database that does not answer has not said that they are gone.
    const left = await this.thoseLeft(asked).catch(() => asked);
    const since = [...this.#waiting.keys()].filter((pid) => !asked.includes(pid));
    this.#settle([...left, ...since]);
    this.#lookLater();
  }

  #settle(left: readonly number[]): void {
    for (const [pid, resolve] of this.#waiting) {
      if (left.includes(pid)) continue;
      this.#waiting.delete(pid);
      resolve();
    }
  }
}
