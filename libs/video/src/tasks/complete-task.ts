import { IsJsonObject, Optional } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import { slice } from '../command.js';
import { progressOf } from '../video-request.js';
import { afterwards, held, HolderCommand } from './holding.js';

/** The worker has done it. */
export class CompleteTask extends HolderCommand {
  @Optional() @IsJsonObject() readonly resultData?: JsonObject | null | undefined;
}

/** Said again by the attempt that has done it, it changes nothing. */
export const completeTask = {
  isInternal: true,
  ...slice(CompleteTask, (command, request) => {
    const { taskId, attempt, resultData, now } = command;
    const known = request.tasks.get(taskId);
    if (known?.status === 'completed' && known.attempts === attempt) return [];
    held(request, command);
    const changed = new Map([[taskId, { status: 'completed' as const }]]);
    const requestProgress = progressOf(request, changed);
    return [
      {
        type: 'TaskCompleted',
        data: { taskId, attempt, resultData: resultData ?? null, requestProgress, at: now },
      },
      ...afterwards(request, changed, now),
    ];
  }),
};
