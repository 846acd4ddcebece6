import { IsInt, Max, Min } from 'class-validator';
import { Optional, type Timestamp } from '#lib/platform';
import { slice } from '../command.js';
import { Share } from '../fields.js';
import { progressOf } from '../video-request.js';
import { held, HolderCommand } from './holding.js';
import { after, isTimeToReport, isToExtend, MAX_LEASE_SECONDS } from './lease.js';

/** What a worker is told that reports. */
export interface Reported {
  /** Until when it holds the task without another report. */
  readonly leaseUntil: Timestamp;
  /** It is to stop, and to release the task: the request is being cancelled. */
  readonly isCancelling: boolean;
}

/**
 * The worker is alive, and so far with its task. Most reports record nothing: the lease when a third of it is gone, and
 * progress once a second at most. Progress does not go back within an attempt.
 */
export class ReportTaskProgress extends HolderCommand<Reported> {
  @Optional() @Share() readonly progress?: number | null | undefined;
  @IsInt() @Min(1) @Max(MAX_LEASE_SECONDS) readonly leaseSeconds!: number;
}

export const reportTaskProgress = {
  isInternal: true,
  ...slice(ReportTaskProgress, (command, request) => {
    const { taskId, attempt, progress, leaseSeconds, now } = command;
    const task = held(request, command);
    const { isCancelling } = request;
    const current = task.leaseUntil ?? now;
    const leaseUntil = after(now, leaseSeconds);
    const isFurther =
      progress != null &&
      progress > task.progress &&
      (progress === 1 || task.reportedAt === null || isTimeToReport(task.reportedAt, now));
    if (isFurther) {
      const requestProgress = progressOf(request, new Map([[taskId, { progress }]]));
      const data = { taskId, attempt, progress, leaseUntil, requestProgress, at: now };
      return { events: [{ type: 'TaskProgressed' as const, data }], answer: { leaseUntil, isCancelling } };
    }
    if (!isToExtend(current, now, leaseSeconds))
      return { events: [], answer: { leaseUntil: current, isCancelling } };
    return {
      events: [{ type: 'LeaseExtended' as const, data: { taskId, attempt, leaseUntil, at: now } }],
      answer: { leaseUntil, isCancelling },
    };
  }),
};
