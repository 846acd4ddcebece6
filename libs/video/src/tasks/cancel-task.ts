import { conflict, IsKnownId } from '#lib/platform';
import { RequestCommand, slice } from '../command.js';
import { existing, isWaiting, progressOf, taskOf } from '../video-request.js';

/** Takes a task that nobody works on out of the queue. */
export class CancelTask extends RequestCommand {
  @IsKnownId() readonly taskId!: string;
}

export const cancelTask = slice(CancelTask, ({ videoRequestId, taskId }, request, { at }) => {
  existing(request, videoRequestId);
  const task = taskOf(request, videoRequestId, taskId);
  if (task.status === 'cancelled') return [];
  if (!isWaiting(task))
    throw conflict(
      'task.not-waiting',
      `Task ${taskId} of video request ${videoRequestId} is ${task.status}.` +
        (task.status === 'processing' ? ' Cancel the request: its workers are then told to stop.' : ''),
      { videoRequestId, taskId, status: task.status },
    );
  const requestProgress = progressOf(request, new Map([[taskId, { status: 'cancelled' }]]));
  return [{ type: 'TaskCancelled', data: { taskId, attempt: null, requestProgress, at } }];
});
