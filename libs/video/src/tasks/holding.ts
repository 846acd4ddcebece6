import { conflict, IsKnownId, IsTimestamp, type Timestamp } from '#lib/platform';
import { RequestCommand } from '../command.js';
import type { VideoRequestEvent } from '../events.js';
import { AttemptNumber } from '../fields.js';
import { existing, progressOf, taskOf, type Task, type VideoRequest } from '../video-request.js';

/** What the worker of an attempt says of it. */
export abstract class HolderCommand<Answer extends object = object> extends RequestCommand<Answer> {
  @IsKnownId() readonly taskId!: string;
  @AttemptNumber() readonly attempt!: number;
  /** By the clock of the database. */
  @IsTimestamp() readonly now!: Timestamp;
}

/** The task, if this attempt holds it. Throws `task.lease-lost`. */
export function held(
  request: VideoRequest,
  { videoRequestId, taskId, attempt }: Pick<HolderCommand, 'videoRequestId' | 'taskId' | 'attempt'>,
): Task {
  existing(request, videoRequestId);
  const task = taskOf(request, videoRequestId, taskId);
  if (task.status === 'processing' && task.attempts === attempt) return task;
  throw conflict(
    'task.lease-lost',
    `Attempt ${attempt} does not hold task ${taskId} of video request ${videoRequestId}: ` +
      (task.status === 'processing'
        ? `attempt ${task.attempts} does, of worker ${task.worker}.`
        : `it is ${task.status} after ${task.attempts} attempts.`) +
      ' Stop working on it; what this attempt has made is not used.',
    { videoRequestId, taskId, attempt, current: task.attempts, status: task.status },
  );
}

/** What follows for a request when a task has left its worker: a cancellation that waited for it, or its failure. */
export function afterwards(
  request: VideoRequest,
  changed: ReadonlyMap<string, Partial<Task>>,
  now: Timestamp,
  failure?: string,
): VideoRequestEvent[] {
  const isHeld = [...request.tasks.entries()].some(
    ([taskId, task]) => (changed.get(taskId)?.status ?? task.status) === 'processing',
  );
  if (request.isCancelling)
    return isHeld ? [] : [{ type: 'VideoRequestCancelled', data: { reason: request.cancelReason, at: now } }];
  if (failure === undefined) return [];
  return [
    { type: 'VideoRequestFailed', data: { errorMessage: failure, at: now } },
    ...cancelWaiting(request, changed, now),
  ];
}

/** Whatever still waits for a worker is not begun any more. */
export function cancelWaiting(
  request: VideoRequest,
  changed: ReadonlyMap<string, Partial<Task>>,
  now: Timestamp,
): VideoRequestEvent[] {
  const all = new Map(changed);
  return [...request.tasks.entries()].flatMap(([taskId, task]): VideoRequestEvent[] => {
    const status = changed.get(taskId)?.status ?? task.status;
    if (status !== 'pending' && status !== 'retryable') return [];
    all.set(taskId, { status: 'cancelled' });
    return [
      {
        type: 'TaskCancelled',
        data: { taskId, attempt: null, requestProgress: progressOf(request, all), at: now },
      },
    ];
  });
}
