/** The first and the longest interval between two checks. */
const FIRST_LOOK_MS = 30;
const LAST_LOOK_MS = 5_000;

/**
 * Backends of the database whose sessions were cut. PostgreSQL ends a statement only where it checks for interrupts, so
 * a statement can continue for hours, and its place must not be given to another one meanwhile. One query asks for all
 * of them, less and less often, and only while there are any.
 */
export class CutSessions {
  readonly #waiting = new Map<number, () => void>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_LOOK_MS;
  #isClosed = false;

  /** @param thoseLeft which of these backends the database still has */
  constructor(private readonly thoseLeft: (pids: readonly number[]) => Promise<readonly number[]>) {}

  /** Resolves when the backend has ended, or when the checks stop. */
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
    // If the database does not answer, the backends may still be there.
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
