import type { OnModuleDestroy } from '@nestjs/common';
import type { CommandBus } from '@nestjs/cqrs';
import type pg from 'pg';
import { isAborted, WaylogError, type Listener, type Timestamp } from '#lib/platform';
import { CHECKPOINTS_CHANNEL } from '#lib/projections';
import type { Appended, JsonObject } from '#lib/event-store';
import type { CommandOptions } from '#lib/waylog';
import { ClaimTask, type Claimed } from './claim-task.js';
import { CompleteTask } from './complete-task.js';
import { DatabaseClock } from './database-clock.api.js';
import { FailTask } from './fail-task.js';
import { DEFAULT_LEASE_SECONDS } from './lease.js';
import { ReleaseTask } from './release-task.js';
import { ReportTaskProgress, type Reported } from './report-progress.js';
import { TaskWorker, type DoTask, type TaskWorkerOptions } from './task-worker.api.js';
import { WaitingTasks, type WaitingTask } from './waiting-tasks.api.js';

/** A task in the hands of a worker. */
export interface TaskInHand extends Claimed {
  readonly videoRequestId: string;
  readonly taskType: string;
  readonly payload: JsonObject;
}

/** What a worker wants. */
export interface Claim {
  readonly types: readonly string[];
  /** Its name, for people. */
  readonly worker: string;
  /** How long it holds the task without saying anything; default 30 s. */
  readonly leaseSeconds?: number | undefined;
  /** How long to wait for a task if there is none; default not at all. */
  readonly waitSeconds?: number | undefined;
}

/** Which attempt says something. */
export interface InHand {
  readonly videoRequestId: string;
  readonly taskId: string;
  readonly attempt: number;
}

const namesOf = ({ videoRequestId, taskId, attempt }: InHand): InHand => ({
  videoRequestId,
  taskId,
  attempt,
});

/** How long a task can wait for a worker that waits, if the notification was lost, or its time has come. */
const LOOK_MS = 500;

/** What a claim is refused with that came too late. */
const NOT_THIS_ONE = new Set([
  ...['task.not-waiting', 'task.not-found', 'video-request.ended', 'video-request.cancelling'],
  'video-request.not-found',
]);

/** Tasks for workers: claimed, reported on, and ended. The log decides who holds what; the tables show what waits. */
export class TaskQueue implements OnModuleDestroy {
  readonly #clock: DatabaseClock;
  readonly #waiting: WaitingTasks;
  readonly #woken = new Set<() => void>();
  readonly #stopping = new AbortController();
  readonly #off: () => void;

  constructor(
    private readonly commands: CommandBus,
    pool: pg.Pool,
    listener: Listener,
  ) {
    this.#clock = new DatabaseClock(pool);
    this.#waiting = new WaitingTasks(pool);
    this.#off = listener.on(CHECKPOINTS_CHANNEL, (payload) => {
      if (payload === '' || payload.startsWith('video ')) for (const wake of [...this.#woken]) wake();
    });
  }

  /**
   * A task of one of these types, in the hands of this worker; undefined if there was none in time, or nobody waits any
   * more. Throws `input.invalid`.
   */
  async claim(
    claim: Claim,
    sender: CommandOptions = {},
    signal?: AbortSignal,
  ): Promise<TaskInHand | undefined> {
    const { types, worker, leaseSeconds = DEFAULT_LEASE_SECONDS, waitSeconds = 0 } = claim;
    const until = performance.now() + waitSeconds * 1_000;
    const { signal: stopping } = this.#stopping;
    const stop = signal ? AbortSignal.any([signal, stopping]) : stopping;
    const moves = new Moves(this.#woken, stop);
    try {
      while (!isAborted(stop)) {
        moves.arm();
        for (let task = await this.#waiting.next(types); task; task = await this.#waiting.next(types)) {
          const inHand = await this.#take(task, { worker, leaseSeconds }, sender);
          if (inHand) return inHand;
        }
        const left = until - performance.now();
        if (left <= 0) return undefined;
        await moves.wait(Math.min(LOOK_MS, left));
      }
      return undefined;
    } finally {
      moves.close();
    }
  }

  /** Undefined if another worker was faster, or the request has ended: there are other tasks. */
  async #take(
    { videoRequestId, taskId, taskType, payload }: WaitingTask,
    by: { readonly worker: string; readonly leaseSeconds: number },
    sender: CommandOptions,
  ): Promise<TaskInHand | undefined> {
    try {
      const now = await this.#now();
      const command = new ClaimTask({ ...sender, ...by, videoRequestId, taskId, now });
      const { attempt, leaseUntil, endsBy } = await this.#execute<Claimed>(command);
      return { videoRequestId, taskId, taskType, payload, attempt, leaseUntil, endsBy };
    } catch (error) {
      if (error instanceof WaylogError && NOT_THIS_ONE.has(error.code)) return undefined;
      throw error;
    }
  }

  /** The worker is alive, and so far. Throws `task.lease-lost`: it is to stop. */
  async report(
    of: InHand,
    { progress, leaseSeconds = DEFAULT_LEASE_SECONDS }: { progress?: number; leaseSeconds?: number } = {},
    sender: CommandOptions = {},
  ): Promise<Reported> {
    const command = new ReportTaskProgress({
      ...sender,
      ...namesOf(of),
      progress,
      leaseSeconds,
      now: await this.#now(),
    });
    const { leaseUntil, isCancelling } = await this.#execute<Reported>(command);
    return { leaseUntil, isCancelling };
  }

  /** It is done. Throws `task.lease-lost`: another worker has it, and does it again. */
  async complete(of: InHand, resultData?: JsonObject | null, sender: CommandOptions = {}): Promise<Appended> {
    return this.#execute(new CompleteTask({ ...sender, ...namesOf(of), resultData, now: await this.#now() }));
  }

  /** It could not be done. Throws `task.lease-lost`. */
  async fail(
    of: InHand,
    failure: { readonly errorMessage: string; readonly isRetryable?: boolean | undefined },
    sender: CommandOptions = {},
  ): Promise<Appended> {
    return this.#execute(new FailTask({ ...sender, ...namesOf(of), ...failure, now: await this.#now() }));
  }

  /** Gives it back, as when the worker stops. Throws `task.lease-lost`. */
  async release(of: InHand, sender: CommandOptions = {}): Promise<Appended> {
    return this.#execute(new ReleaseTask({ ...sender, ...namesOf(of), now: await this.#now() }));
  }

  /** Does tasks of these types in this process, until it is stopped. */
  work(options: TaskWorkerOptions, doTask: DoTask): TaskWorker {
    return new TaskWorker(this, options, doTask);
  }

  /** Nobody waits for a task any more: a stop does not wait for those who do. */
  onModuleDestroy(): void {
    this.#stopping.abort();
    this.#off();
  }

  #now(): Promise<Timestamp> {
    return this.#clock.now();
  }

  #execute<Answer extends object = object>(
    command: Parameters<CommandBus['execute']>[0],
  ): Promise<Appended & Answer> {
    return this.commands.execute(command);
  }
}

/** Waits for the tables to move: a move between `arm` and `wait` ends the wait at once. */
class Moves {
  #isMoved = false;
  #wake: (() => void) | undefined;
  readonly #moved = () => {
    this.#isMoved = true;
    this.#wake?.();
  };

  constructor(
    private readonly all: Set<() => void>,
    private readonly stop: AbortSignal,
  ) {
    all.add(this.#moved);
    stop.addEventListener('abort', this.#moved);
  }

  arm(): void {
    this.#isMoved = false;
  }

  async wait(ms: number): Promise<void> {
    if (this.#isMoved || this.stop.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  close(): void {
    this.all.delete(this.#moved);
    this.stop.removeEventListener('abort', this.#moved);
  }
}
