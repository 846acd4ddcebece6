import { slice } from '../command.js';
import { progressOf } from '../video-request.js';
import { afterwards, held, HolderCommand } from './holding.js';

/** The worker gives it back, as when it stops: others can claim it at once, and no attempt has failed. */
export class ReleaseTask extends HolderCommand {}

export const releaseTask = {
  isInternal: true,
  ...slice(ReleaseTask, (command, request) => {
    const { taskId, attempt, now } = command;
    held(request, command);
    const changed = new Map([
      [taskId, { status: request.isCancelling ? ('cancelled' as const) : ('pending' as const), progress: 0 }],
    ]);
    const requestProgress = progressOf(request, changed);
    return request.isCancelling
      ? [
          { type: 'TaskCancelled', data: { taskId, attempt, requestProgress, at: now } },
          ...afterwards(request, changed, now),
        ]
      : [{ type: 'TaskReleased', data: { taskId, attempt, requestProgress, at: now } }];
  }),
};
