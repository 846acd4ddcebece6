import type { Timestamp } from '#lib/platform';
import type { AttemptEnd, VideoRequestEvent } from '../events.js';
import { progressOf, type Task, type VideoRequest } from '../video-request.js';
import { afterwards } from './holding.js';
import { retryAt } from './lease.js';

/**
 * What an attempt without a result leads to: the task waits to be tried again, or is dead, and fails its request if that
 * needs it. Of a request that is being cancelled nothing is tried again.
 */
export function endAttempt(
  request: VideoRequest,
  task: Task,
  {
    taskId,
    how,
    errorMessage,
    isRetryable,
    now,
  }: {
    readonly taskId: string;
    readonly how: AttemptEnd;
    readonly errorMessage: string;
    readonly isRetryable: boolean;
    readonly now: Timestamp;
  },
): VideoRequestEvent[] {
  if (request.isCancelling) {
    const changed = new Map([[taskId, { status: 'cancelled' as const }]]);
    const requestProgress = progressOf(request, changed);
    return [
      { type: 'TaskCancelled', data: { taskId, attempt: task.attempts, requestProgress, at: now } },
      ...afterwards(request, changed, now),
    ];
  }
  const failures = task.retries + 1;
  const isDead = !isRetryable || failures > task.maxRetries || !isOpen(request);
  const changed = new Map([
    [taskId, { status: isDead ? ('dead' as const) : ('retryable' as const), progress: 0 }],
  ]);
  const failure = `Task ${taskId} is dead after ${task.attempts} attempts: ${errorMessage}`;
  return [
    {
      type: 'AttemptEnded',
      data: {
        taskId,
        attempt: task.attempts,
        how,
        errorMessage,
        retries: failures,
        retryAt: isDead ? null : retryAt(now, failures, taskId),
        requestProgress: progressOf(request, changed),
        at: now,
      },
    },
    ...afterwards(request, changed, now, isDead && task.isRequired && isOpen(request) ? failure : undefined),
  ];
}

const isOpen = ({ status }: VideoRequest): boolean => status === 'queued' || status === 'processing';
