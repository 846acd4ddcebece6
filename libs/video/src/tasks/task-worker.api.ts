import { backoffDelay, isAborted, messageOf, pause, WaylogError } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import type { CommandOptions } from '#lib/waylog';
import { DEFAULT_LEASE_SECONDS } from './lease.js';
import type { TaskInHand, TaskQueue } from './task-queue.api.js';

/** What the code that does a task is given. */
export interface Working {
  /** Aborted when it is to stop: the task was lost or cancelled, or the worker stops. */
  readonly signal: AbortSignal;
  /** How far it is, 0 to 1. Sent with the next report. */
  readonly progress: (progress: number) => void;
}

/** Does a task, and returns its result. Throws `TaskRefused` for what would fail again. */
export type DoTask = (task: TaskInHand, working: Working) => Promise<JsonObject | undefined>;

/** Thrown by what does a task: it would fail again, and is not tried again. */
export class TaskRefused extends Error {
  override readonly name = 'TaskRefused';
}

export interface TaskWorkerOptions {
  readonly types: readonly string[];
  /** Its name, for people. */
  readonly worker: string;
  /** How many tasks it does at a time; default 1. */
  readonly concurrency?: number;
  readonly leaseSeconds?: number;
  /** Told of what goes wrong with the queue itself; tasks that fail are recorded. */
  readonly onTrouble?: (message: string) => void;
}

const WAIT_SECONDS = 30;

/**
 * Does tasks in this process: claims them, reports while they are done, and says how each ended. `stop` claims no more, tells
 * the code of those under way to stop, and gives back what it leaves.
 */
export class TaskWorker {
  readonly #stop = new AbortController();
  readonly #loops: Promise<void>[];
  readonly #sender: CommandOptions;

  constructor(
    private readonly queue: TaskQueue,
    private readonly options: TaskWorkerOptions,
    private readonly doTask: DoTask,
  ) {
    this.#sender = { actor: `worker:${options.worker}` };
    this.#loops = Array.from({ length: options.concurrency ?? 1 }, () => this.#run());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { types, worker, leaseSeconds = DEFAULT_LEASE_SECONDS } = this.options;
    for (let failures = 0; !isAborted(signal);) {
      try {
        const task = await this.queue.claim(
          { types, worker, leaseSeconds, waitSeconds: WAIT_SECONDS },
          this.#sender,
          signal,
        );
        failures = 0;
        if (task) await this.#work(task, leaseSeconds);
      } catch (error) {
        this.options.onTrouble?.(`Worker ${worker}: ${messageOf(error)}`);
        await pause(backoffDelay(++failures, 200, 10_000), signal);
      }
    }
  }

  async #work(task: TaskInHand, leaseSeconds: number): Promise<void> {
    const own = new AbortController();
    const signal = AbortSignal.any([own.signal, this.#stop.signal]);
    let progress: number | undefined;
    const reporting = this.#report(task, leaseSeconds, own, () => progress);
    let outcome: { readonly result: JsonObject | undefined } | { readonly error: unknown };
    try {
      const working: Working = {
        signal,
        progress: (share) => {
          progress = share;
        },
      };
      outcome = { result: await this.doTask(task, working) };
    } catch (error) {
      outcome = { error };
    }
    const isLost = await reporting.end();
    if (isLost) return;
    await this.#say(() => {
      if ('result' in outcome) return this.queue.complete(task, outcome.result, this.#sender);
      // What was told to stop has not failed.
      if (isAborted(signal)) return this.queue.release(task, this.#sender);
      const { error } = outcome;
      return this.queue.fail(
        task,
        {
          errorMessage: messageOf(error),
          isRetryable: !(error instanceof TaskRefused),
        },
        this.#sender,
      );
    });
  }

  /** Says it again while nobody answers: nothing is recorded twice. What holds the task no more is not told. */
  async #say(tell: () => Promise<unknown>): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        await tell();
        return;
      } catch (error) {
        if (!(error instanceof WaylogError)) throw error;
        if (error.code === 'task.lease-lost') return;
        if (error.kind !== 'unavailable' || failures === 8) throw error;
        await pause(backoffDelay(failures + 1, 200, 5_000), new AbortController().signal);
      }
    }
  }

  /** Keeps the lease while a task is done. */
  #report(task: TaskInHand, leaseSeconds: number, own: AbortController, progress: () => number | undefined) {
    const over = new AbortController();
    let isLost = false;
    const report = async () => {
      while (!isAborted(over.signal)) {
        await pause((leaseSeconds * 1_000) / 3, over.signal);
        if (isAborted(over.signal)) return;
        const share = progress();
        try {
          const { isCancelling } = await this.queue.report(
            task,
            {
              leaseSeconds,
              ...(share !== undefined && { progress: share }),
            },
            this.#sender,
          );
          if (isCancelling) own.abort();
        } catch (error) {
          isLost = error instanceof WaylogError && error.code === 'task.lease-lost';
          if (isLost) {
            own.abort();
            return;
          }
          this.options.onTrouble?.(`Worker ${this.options.worker}: ${messageOf(error)}`);
        }
      }
    };
    const reporting = report();
    return {
      end: async () => {
        over.abort();
        await reporting;
        return isLost;
      },
    };
  }
}
