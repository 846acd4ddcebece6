/** The next value of an iterator, for a reader that waits for other things as well. Listens to it once, however often it is looked at. */
export class NextOf<T> {
  #arrived: IteratorResult<T, unknown> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(private readonly iterator: AsyncIterator<T, unknown>) {
    this.ask();
  }

  /** Goes on to the one after it. */
  ask(): void {
    this.#arrived = undefined;
    this.iterator.next().then(
      (arrived) => {
        this.#arrived = arrived;
        this.#wake();
      },
      (error: unknown) => {
        this.#failure = { error };
        this.#wake();
      },
    );
  }

  /** What has arrived by then; undefined if nothing has, or the signal was aborted. Throws what the iterator threw. */
  async within(ms: number, signal: AbortSignal): Promise<IteratorResult<T, unknown> | undefined> {
    if (!this.#arrived && !this.#failure && !signal.aborted)
      await new Promise<void>((resolve) => {
        const end = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', end);
          resolve();
        };
        const timer = setTimeout(end, ms);
        signal.addEventListener('abort', end);
        this.#wake = end;
      });
    if (this.#failure) throw this.#failure.error;
    return this.#arrived;
  }
}
