/**
 * Lets so many calls run at once, the others in the order they came. A server takes about a hundred calls a connection; those
 * beyond wait inside gRPC, where the wait would count against their deadlines.
 */
export class Limit {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #idle: (() => void)[] = [];

  constructor(private readonly most: number) {}

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.most) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      // Whoever waits takes the place over.
      const next = this.#waiting.shift();
      if (next) next();
      else if (--this.#running === 0) for (const idle of this.#idle.splice(0)) idle();
    }
  }

  /** Resolves when nothing runs and nothing waits. */
  async settled(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }
}
