import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { FairTurns, installation } from '#lib/platform';
import { SyntaxFault } from './expanded-size.js';
import type { Sized } from './expanded-size-worker.js';

/** The longest that parsing a statement can take; 20,000 characters of usual SQL take some 50 ms. */
const MAX_MS = 500;
/** The heap of the thread. A statement of 20,000 characters needs some ten. */
const MAX_HEAP_MB = 256;
/** How long a caller comes last after a statement that took too long. */
const LAST_MS = 60_000;

/**
 * Computes sizes of statements in a separate thread, one after another: the parser's time can grow with the square of
 * the length, and the server must answer others meanwhile. Callers take turns. One of whom a statement took too long comes
 * after all others for a while, and only when a second thread stands by: so others wait for the end of a thread, and never for
 * the start of one.
 */
export class StatementSizes {
  #worker: Promise<Worker> | undefined;
  #spare: Promise<Worker> | undefined;
  /** The spare one that is ready. */
  #readySpare: Promise<Worker> | undefined;
  #isClosed = false;
  readonly #turns = new FairTurns({ ofKey: 1, ofAll: 1 });
  readonly #ending = new Set<Promise<unknown>>();

  constructor(
    private readonly maxMs: number = MAX_MS,
    private readonly startThread = startWorker,
  ) {}

  /**
   * Like `expandedSize`. Infinity also for statements that take too long to parse. Rejects with the reason of `signal`.
   */
  async of(sql: string, caller: string, signal?: AbortSignal): Promise<number> {
    for (;;) {
      if (this.#turns.isLast(caller)) await this.#spare?.catch(() => undefined);
      const size = await this.#turns.run(caller, () => this.#sizeInTurn(sql, caller), signal);
      if (size !== undefined) return size;
    }
  }

  async close(): Promise<void> {
    // After the statement that is being parsed.
    await this.#turns.run('', () => {
      this.#isClosed = true;
      this.#end();
      return Promise.all(this.#ending);
    });
  }

  /** Undefined if it is not its turn yet. */
  async #sizeInTurn(sql: string, caller: string): Promise<number | undefined> {
    const hasSpare = this.#spare === undefined || this.#spare === this.#readySpare;
    if (!hasSpare && this.#turns.isLast(caller)) return undefined;
    const size = await this.#sizeOf(sql);
    if (size !== undefined) return size;
    this.#turns.putLast(caller, LAST_MS);
    this.#end();
    return Infinity;
  }

  /** Undefined if that takes too long, or too much memory. */
  async #sizeOf(sql: string): Promise<number | undefined> {
    if (this.#isClosed) return undefined;
    const worker = await this.#ready();
    const late = new AbortController();
    try {
      const answered = once(worker, 'message', { signal: late.signal }) as Promise<[Sized]>;
      const ended = once(worker, 'exit', { signal: late.signal });
      worker.postMessage(sql);
      const [sized] = (await Promise.race([
        answered,
        ended,
        sleep(this.maxMs, [], { signal: late.signal }),
      ])) as [Sized | number | undefined];
      if (typeof sized !== 'object') return undefined;
      if ('size' in sized) return sized.size;
      throw new SyntaxFault(sized.fault, sized.position);
    } catch (error) {
      if (error instanceof SyntaxFault) throw error;
      return undefined;
    } finally {
      late.abort();
    }
  }

  /** The thread, with another one behind it. */
  #ready(): Promise<Worker> {
    const worker = (this.#worker ??= this.#start());
    this.#spare ??= this.#start();
    return worker;
  }

  #start(): Promise<Worker> {
    const started = this.startThread();
    started.then(
      () => {
        if (this.#spare === started) this.#readySpare = started;
      },
      () => {
        // The next statement tries again.
        if (this.#worker === started) this.#worker = undefined;
        if (this.#spare === started) this.#spare = undefined;
      },
    );
    return started;
  }

  /** Ends the thread, and nobody waits for that. The spare one takes its place, and is replaced. */
  #end(): void {
    const ended = this.#isClosed ? [this.#worker, this.#spare] : [this.#worker];
    this.#worker = this.#isClosed ? undefined : this.#spare;
    this.#spare = this.#isClosed ? undefined : this.#start();
    for (const started of ended) {
      const ending: Promise<unknown> | undefined = started
        ?.then((worker) => worker.terminate())
        .catch(() => undefined)
        .then(() => ending && this.#ending.delete(ending));
      if (ending) this.#ending.add(ending);
    }
  }
}

/** A thread that is ready for statements. */
export async function startWorker(): Promise<Worker> {
  const worker = new Worker(FILE, { resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB } });
  // As a spare one it may end while nobody listens.
  worker.on('error', () => undefined);
  await once(worker, 'message');
  // The thread must not keep an otherwise idle process alive.
  worker.unref();
  return worker;
}

/** Threads run what was built, also under the tests. */
const FILE = join(installation().root, 'dist/apps/server/src/gateway/expanded-size-worker.js');
