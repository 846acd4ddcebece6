import { IsInt, Max, Min } from 'class-validator';
import { conflict, IsKnownId, IsName, IsTimestamp, type Timestamp } from '#lib/platform';
import { RequestCommand, slice } from '../command.js';
import { existing, isWaiting, refuseCancelling, refuseEnded, taskOf } from '../video-request.js';
import { after, MAX_LEASE_SECONDS } from './lease.js';

/**
 * Gives a task to a worker, which then holds it alone until its lease lapses. Only what chooses tasks sends it: it knows
 * the time of the database, by whose clock leases are.
 */
export class ClaimTask extends RequestCommand<Claimed> {
  @IsKnownId() readonly taskId!: string;
  @IsName() readonly worker!: string;
  @IsInt() @Min(1) @Max(MAX_LEASE_SECONDS) readonly leaseSeconds!: number;
  /** By the clock of the database. */
  @IsTimestamp() readonly now!: Timestamp;
}

/** What a worker is told that has got a task. */
export interface Claimed {
  readonly taskId: string;
  /** Tells this claim from all others of the task: its worker says it with everything. */
  readonly attempt: number;
  readonly leaseUntil: Timestamp;
  /** When the attempt is over whatever its worker says; null for no limit. */
  readonly endsBy: Timestamp | null;
}

export const claimTask = {
  isInternal: true,
  ...slice(ClaimTask, ({ videoRequestId, taskId, worker, leaseSeconds, now }, request) => {
    existing(request, videoRequestId);
    refuseEnded(request, videoRequestId);
    refuseCancelling(request, videoRequestId);
    const task = taskOf(request, videoRequestId, taskId);
    const isDue = task.availableAt === null || task.availableAt <= now;
    if (!isWaiting(task) || !isDue)
      throw conflict(
        'task.not-waiting',
        `Task ${taskId} of video request ${videoRequestId} is ${task.status}` +
          (isWaiting(task) ? `, and waits until ${task.availableAt}.` : '.'),
        { videoRequestId, taskId, status: task.status },
      );
    const attempt = task.attempts + 1;
    const leaseUntil = after(now, leaseSeconds);
    const endsBy = task.timeout === null ? null : after(now, task.timeout);
    return {
      events: [
        ...(request.status === 'queued' ? [{ type: 'ProcessingStarted' as const, data: { at: now } }] : []),
        { type: 'TaskClaimed' as const, data: { taskId, attempt, worker, leaseUntil, endsBy, at: now } },
      ],
      answer: { taskId, attempt, leaseUntil, endsBy },
    };
  }),
};
