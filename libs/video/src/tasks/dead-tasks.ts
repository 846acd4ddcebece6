import { conflict, IsKnownId, Label } from '#lib/platform';
import { RequestCommand, slice } from '../command.js';
import { existing, progressOf, refuseEnded, taskOf, type VideoRequest } from '../video-request.js';

// What an operator decides about a task that has used up its attempts.

function refuseAlive(request: VideoRequest, videoRequestId: string, taskId: string): void {
  existing(request, videoRequestId);
  const { status } = taskOf(request, videoRequestId, taskId);
  if (status === 'dead') return;
  throw conflict(
    'task.not-dead',
    `Task ${taskId} of video request ${videoRequestId} is ${status}, and not dead.`,
    { videoRequestId, taskId, status },
  );
}

/** It waits again, with all its attempts before it. */
export class RetryDeadTask extends RequestCommand {
  @IsKnownId() readonly taskId!: string;
}

export const retryDeadTask = slice(RetryDeadTask, ({ videoRequestId, taskId }, request, { at }) => {
  refuseAlive(request, videoRequestId, taskId);
  // Its other tasks were cancelled then: they wait again only together.
  refuseEnded(request, videoRequestId);
  const requestProgress = progressOf(request, new Map([[taskId, { status: 'pending', progress: 0 }]]));
  return [{ type: 'TaskRevived', data: { taskId, requestProgress, at } }];
});

/** Nobody tries it again. It keeps its payload and its errors. */
export class DiscardTask extends RequestCommand {
  @IsKnownId() readonly taskId!: string;
  @Label(1_000) readonly reason!: string;
}

export const discardTask = slice(DiscardTask, ({ videoRequestId, taskId, reason }, request, { at }) => {
  refuseAlive(request, videoRequestId, taskId);
  const requestProgress = progressOf(request, new Map([[taskId, { status: 'discarded' }]]));
  return [{ type: 'TaskDiscarded', data: { taskId, reason, requestProgress, at } }];
});
