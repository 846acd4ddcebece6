import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { installation } from '#lib/platform';
import { SyntaxFault } from './expanded-size.js';
import type { Sized } from './expanded-size-worker.js';

/** The longest that parsing a statement can take; 20,000 characters of usual SQL take some 50 ms. */
const MAX_MS = 500;
/** The heap of the thread. A statement of 20,000 characters needs some ten. */
const MAX_HEAP_MB = 256;

/**
 * Computes sizes of statements in a separate thread, one after another: the parser's time can grow with the square of
 * the length, and the server must answer others meanwhile.
 */
export class StatementSizes {
  #worker: Promise<Worker> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(private readonly maxMs: number = MAX_MS) {}

  /**
   * Like `expandedSize`. Infinity also for statements that take too long to parse. Rejects with the reason of `signal`.
   */
  of(sql: string, signal?: AbortSignal): Promise<number> {
    const size = this.#last.then(() => {
      signal?.throwIfAborted();
      return this.#sizeOf(sql);
    });
    this.#last = size.catch(() => undefined);
    return size;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#end();
  }

  async #sizeOf(sql: string): Promise<number> {
    const worker = await (this.#worker ??= this.#start());
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
      if (typeof sized !== 'object') {
        await this.#end();
        return Infinity;
      }
      if ('size' in sized) return sized.size;
      throw new SyntaxFault(sized.fault, sized.position);
    } catch (error) {
      // Also if the thread has run out of memory.
      if (error instanceof SyntaxFault) throw error;
      await this.#end();
      return Infinity;
    } finally {
      late.abort();
    }
  }

  async #start(): Promise<Worker> {
    const worker = new Worker(FILE, { resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB } });
    try {
      await once(worker, 'message');
    } catch (error) {
      // The next statement tries again.
      this.#worker = undefined;
      throw error;
    }
    // The thread must not keep an otherwise idle process alive.
    worker.unref();
    return worker;
  }

  async #end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await (await worker)?.terminate();
  }
}

/** Threads run what was built, also under the tests. */
const FILE = join(installation().root, 'dist/apps/server/src/gateway/expanded-size-worker.js');
