/**
 * Does the same work for all who ask at a time. Who asks while it is being done gets what comes next, which sees what has happened
 * until then; when it fails, those fail with it: they would have to wait twice to hear the same.
 */
export class Shared<T> {
  #running: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  constructor(private readonly work: () => Promise<T>) {}

  get(): Promise<T> {
    if (!this.#running) return this.#next ?? this.#begin();
    this.#next ??= this.#running.then(
      () => {
        this.#next = undefined;
        return this.#begin();
      },
      (error: unknown) => {
        this.#next = undefined;
        throw error;
      },
    );
    return this.#next;
  }

  #begin(): Promise<T> {
    const running = this.work();
    this.#running = running;
    const over = () => {
      // Whoever waits begins anew by himself.
      if (this.#running === running) this.#running = undefined;
    };
    running.then(over, over);
    return running;
  }
}
