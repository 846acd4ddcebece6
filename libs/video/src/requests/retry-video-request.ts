import { conflict } from '#lib/platform';
import { RequestCommand, slice } from '../command.js';
import type { VideoRequestEvent } from '../events.js';
import { existing, progressOf, type Task } from '../video-request.js';

/** A new attempt at a request that has failed or was cancelled: its dead and cancelled tasks wait again. */
export class RetryVideoRequest extends RequestCommand<{ readonly attempt: number }> {}

export const retryVideoRequest = slice(RetryVideoRequest, ({ videoRequestId }, request, { at }) => {
  const { status, attempt: last, tasks } = existing(request, videoRequestId);
  if (status !== 'failed' && status !== 'cancelled')
    throw conflict(
      'video-request.not-failed',
      `Video request ${videoRequestId} is ${status}: only one that has failed or was cancelled is tried again.`,
      { videoRequestId, status },
    );
  const attempt = last + 1;
  const changed = new Map<string, Partial<Task>>();
  const revived = [...tasks.entries()].flatMap(([taskId, task]): VideoRequestEvent[] => {
    if (task.status !== 'dead' && task.status !== 'cancelled') return [];
    changed.set(taskId, { status: 'pending', progress: 0 });
    return [{ type: 'TaskRevived', data: { taskId, requestProgress: progressOf(request, changed), at } }];
  });
  return {
    events: [{ type: 'VideoRequestRetried' as const, data: { attempt, at } }, ...revived],
    answer: { attempt },
  };
});
