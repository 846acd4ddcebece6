import { IsTimestamp, IsKnownId, conflict, type Timestamp } from '#lib/platform';
import { at, deadline, off } from '#lib/waylog';
import { RequestCommand, slice } from '../command.js';
import type { VideoRequestEvent } from '../events.js';
import { AttemptNumber } from '../fields.js';
import { videoRequestStream, type VideoRequest } from '../video-request.js';
import { endAttempt } from './end-attempt.js';

// The ends of attempts of which nobody says anything: their workers are dead, cut off, or too slow.

class Lapse extends RequestCommand {
  @IsKnownId() readonly taskId!: string;
  @AttemptNumber() readonly attempt!: number;
  /** The time that has come. */
  @IsTimestamp() readonly dueAt!: Timestamp;
}

/** Nothing has been heard of the worker for as long as its lease: others get the task. */
export class LapseLease extends Lapse {}
/** The attempt has taken as long as it may. */
export class EndByTimeout extends Lapse {}

const GONE_BY = 'task.went-on';

const wentOn = ({ videoRequestId, taskId, attempt }: Lapse) =>
  conflict(
    GONE_BY,
    `Attempt ${attempt} of task ${taskId} of video request ${videoRequestId} has ended, or has more time.`,
    { videoRequestId, taskId, attempt },
  );

export const lapseLease = {
  isInternal: true,
  ...slice(LapseLease, (command, request): VideoRequestEvent[] => {
    const { taskId, attempt, dueAt } = command;
    const task = heldBy(command, request);
    if (task?.leaseUntil !== dueAt) throw wentOn(command);
    const errorMessage = `Worker ${task.worker} was not heard of before its lease was over (attempt ${attempt}).`;
    return endAttempt(request, task, {
      taskId,
      how: 'lease-lapsed',
      errorMessage,
      isRetryable: true,
      now: dueAt,
    });
  }),
};

export const endByTimeout = {
  isInternal: true,
  ...slice(EndByTimeout, (command, request): VideoRequestEvent[] => {
    const { taskId, attempt, dueAt } = command;
    const task = heldBy(command, request);
    if (task?.endsBy !== dueAt) throw wentOn(command);
    const errorMessage = `Attempt ${attempt} of worker ${task.worker} took more than ${task.timeout} s.`;
    return endAttempt(request, task, {
      taskId,
      how: 'timed-out',
      errorMessage,
      isRetryable: true,
      now: dueAt,
    });
  }),
};

function heldBy({ taskId, attempt }: Lapse, { tasks }: VideoRequest) {
  const task = tasks.get(taskId);
  return task?.status === 'processing' && task.attempts === attempt ? task : undefined;
}

interface Attempt {
  readonly attempt: number;
}
const offFor = ({ data: { taskId } }: { readonly data: { readonly taskId: string } }) => off(taskId);
const until = ({ taskId, attempt }: { readonly taskId: string; readonly attempt: number }, time: Timestamp) =>
  at(time, { key: taskId, details: { attempt } });

export const leases = deadline<VideoRequest, VideoRequestEvent, Attempt>('task-lease', videoRequestStream, {
  version: 1,
  send: ({ id, key, dueAt, details: { attempt } }) =>
    new LapseLease({ videoRequestId: id, taskId: key, attempt, dueAt }),
  accepts: [GONE_BY],
})
  .on('TaskClaimed', ({ data }) => until(data, data.leaseUntil))
  .on('LeaseExtended', ({ data }) => until(data, data.leaseUntil))
  .on('TaskProgressed', ({ data }) => until(data, data.leaseUntil))
  .on('TaskCompleted', offFor)
  .on('AttemptEnded', offFor)
  .on('TaskReleased', offFor)
  .on('TaskCancelled', offFor);

export const timeouts = deadline<VideoRequest, VideoRequestEvent, Attempt>(
  'task-timeout',
  videoRequestStream,
  {
    version: 1,
    send: ({ id, key, dueAt, details: { attempt } }) =>
      new EndByTimeout({ videoRequestId: id, taskId: key, attempt, dueAt }),
    accepts: [GONE_BY],
  },
)
  .on('TaskClaimed', ({ data }) => (data.endsBy === null ? off(data.taskId) : until(data, data.endsBy)))
  .on('TaskCompleted', offFor)
  .on('AttemptEnded', offFor)
  .on('TaskReleased', offFor)
  .on('TaskCancelled', offFor);
