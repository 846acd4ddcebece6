import { FreeText, Optional } from '#lib/platform';
import { slice } from '../command.js';
import { Flag } from '../fields.js';
import { endAttempt } from './end-attempt.js';
import { held, HolderCommand } from './holding.js';

/** The worker could not do it. */
export class FailTask extends HolderCommand {
  @FreeText(10_000) readonly errorMessage!: string;
  /** False if it would fail again; default true. */
  @Optional() @Flag() readonly isRetryable?: boolean | null | undefined;
}

export const failTask = {
  isInternal: true,
  ...slice(FailTask, (command, request) => {
    const { taskId, errorMessage, isRetryable, now } = command;
    const task = held(request, command);
    return endAttempt(request, task, {
      taskId,
      how: 'failed',
      errorMessage,
      isRetryable: isRetryable ?? true,
      now,
    });
  }),
};
