import { deciderOf, type StateMap } from '#lib/event-store';
import { conflict, notFound, type Timestamp } from '#lib/platform';
import type { StreamType } from '#lib/waylog';
import {
  VIDEO_REQUEST_EVENT_TYPES,
  videoRequestStreams,
  type RequestDetails,
  type VideoRequestEvent,
} from './events.js';

export type RequestStatus = 'queued' | 'processing' | 'completed' | 'failed' | 'cancelled';

/**
 * `pending` and `retryable` wait for a worker, from `availableAt` on; `dead` has used up its attempts, and waits for an
 * operator.
 */
export type TaskStatus =
  'pending' | 'processing' | 'retryable' | 'completed' | 'cancelled' | 'dead' | 'discarded';

/** What decisions have to know of a task. */
export interface Task {
  readonly status: TaskStatus;
  readonly maxRetries: number;
  readonly timeout: number | null;
  readonly weight: number;
  readonly isRequired: boolean;
  /** How many attempts were begun; the last one tells its worker from all others. */
  readonly attempts: number;
  /** How many of them failed. */
  readonly retries: number;
  readonly worker: string | null;
  readonly leaseUntil: Timestamp | null;
  readonly endsBy: Timestamp | null;
  /** Not before then; null for at once. */
  readonly availableAt: Timestamp | null;
  readonly progress: number;
  /** When its worker was heard of last, as far as recorded. */
  readonly reportedAt: Timestamp | null;
}

/** The state of a video request for decisions. `details` is undefined if there is none. */
export interface VideoRequest {
  details: RequestDetails | undefined;
  status: RequestStatus;
  attempt: number;
  /** 0 to 1. */
  progress: number;
  isCancelling: boolean;
  cancelReason: string | null;
  readonly tasks: StateMap<string, Task>;
}

const noRequest = (): VideoRequest => ({
  details: undefined,
  status: 'queued',
  attempt: 1,
  progress: 0,
  isCancelling: false,
  cancelReason: null,
  tasks: new Map(),
});

function change(request: VideoRequest, taskId: string, changes: Partial<Task>): void {
  const task = request.tasks.get(taskId);
  if (task) request.tasks.set(taskId, { ...task, ...changes });
}

/** Nobody holds it. */
const free = { worker: null, leaseUntil: null, endsBy: null, reportedAt: null } as const;

/** Folds one event. It replaces values and never changes one in place: forks share them. */
export function evolve(request: VideoRequest, { type, data }: VideoRequestEvent): VideoRequest {
  switch (type) {
    case 'VideoRequestCreated':
    case 'VideoRequestUpdated': {
      const { at: _, ...details } = data;
      request.details = details;
      return request;
    }
    case 'PromptAnalysed':
      return request;
    case 'ProcessingStarted':
      request.status = 'processing';
      return request;
    case 'RequestProgressed':
      request.progress = data.progress;
      return request;
    case 'CancellationRequested':
      request.isCancelling = true;
      request.cancelReason = data.reason;
      return request;
    case 'VideoRequestCancelled':
      request.status = 'cancelled';
      request.isCancelling = false;
      return request;
    case 'VideoRequestCompleted':
      request.status = 'completed';
      request.progress = 1;
      return request;
    case 'VideoRequestFailed':
      request.status = 'failed';
      return request;
    case 'VideoRequestRetried':
      request.status = 'queued';
      request.attempt = data.attempt;
      request.isCancelling = false;
      request.progress = 0;
      return request;
    case 'TaskCreated':
      request.tasks.set(data.taskId, {
        status: 'pending',
        maxRetries: data.maxRetries,
        timeout: data.timeout,
        weight: data.weight,
        isRequired: data.isRequired,
        attempts: 0,
        retries: 0,
        availableAt: data.availableAt,
        progress: 0,
        ...free,
      });
      request.progress = data.requestProgress;
      return request;
    case 'TaskClaimed':
      change(request, data.taskId, {
        status: 'processing',
        attempts: data.attempt,
        worker: data.worker,
        leaseUntil: data.leaseUntil,
        endsBy: data.endsBy,
        progress: 0,
        reportedAt: data.at,
      });
      return request;
    case 'LeaseExtended':
      change(request, data.taskId, { leaseUntil: data.leaseUntil });
      return request;
    case 'TaskProgressed':
      change(request, data.taskId, {
        progress: data.progress,
        leaseUntil: data.leaseUntil,
        reportedAt: data.at,
      });
      request.progress = data.requestProgress;
      return request;
    case 'TaskCompleted':
      change(request, data.taskId, { ...free, status: 'completed', progress: 1 });
      request.progress = data.requestProgress;
      return request;
    case 'AttemptEnded':
      change(request, data.taskId, {
        ...free,
        status: data.retryAt === null ? 'dead' : 'retryable',
        retries: data.retries,
        progress: 0,
        ...(data.retryAt !== null && { availableAt: data.retryAt }),
      });
      request.progress = data.requestProgress;
      return request;
    case 'TaskReleased':
      change(request, data.taskId, {
        ...free,
        status: 'pending',
        progress: 0,
        availableAt: null,
      });
      request.progress = data.requestProgress;
      return request;
    case 'TaskCancelled':
      change(request, data.taskId, { ...free, status: 'cancelled' });
      request.progress = data.requestProgress;
      return request;
    case 'TaskRevived':
      change(request, data.taskId, {
        ...free,
        status: 'pending',
        retries: 0,
        progress: 0,
        availableAt: null,
      });
      request.progress = data.requestProgress;
      return request;
    case 'TaskDiscarded':
      change(request, data.taskId, { status: 'discarded' });
      request.progress = data.requestProgress;
      return request;
  }
}

/**
 * A video request with its tasks: they are decided in one order, so that what depends on each other is recorded
 * together.
 */
export const videoRequestStream: StreamType<VideoRequest, VideoRequestEvent> = {
  category: videoRequestStreams,
  key: 'videoRequestId',
  decider: deciderOf<VideoRequest, VideoRequestEvent>({ version: 1, initialState: noRequest, evolve }),
  eventTypes: VIDEO_REQUEST_EVENT_TYPES,
};

export interface ExistingRequest extends VideoRequest {
  readonly details: RequestDetails;
}

/** The request, if there is one. Throws `video-request.not-found`. */
export function existing(request: VideoRequest, videoRequestId: string): ExistingRequest {
  if (request.details) return request as ExistingRequest;
  throw videoRequestNotFound(videoRequestId);
}

export const videoRequestNotFound = (videoRequestId: string) =>
  notFound(
    'video-request.not-found',
    `There is no video request ${videoRequestId}. Create it first, or check the id.`,
    { videoRequestId },
  );

/** Throws `video-request.ended` if nothing can be done for the request any more. */
export function refuseEnded({ status }: VideoRequest, videoRequestId: string): void {
  if (status === 'queued' || status === 'processing') return;
  throw conflict(
    'video-request.ended',
    `Video request ${videoRequestId} is ${status}.` +
      (status === 'completed' ? '' : ' Retry it to work on it again.'),
    { videoRequestId, status },
  );
}

/** Throws `video-request.cancelling` if the request is to end as soon as its workers have let go. */
export function refuseCancelling({ isCancelling }: VideoRequest, videoRequestId: string): void {
  if (isCancelling)
    throw conflict(
      'video-request.cancelling',
      `Video request ${videoRequestId} is being cancelled: it ends as soon as its workers have let go of its tasks.`,
      { videoRequestId },
    );
}

/** Throws `task.not-found`. */
export function taskOf({ tasks }: VideoRequest, videoRequestId: string, taskId: string): Task {
  const task = tasks.get(taskId);
  if (task) return task;
  throw notFound('task.not-found', `Video request ${videoRequestId} has no task ${taskId}.`, {
    videoRequestId,
    taskId,
  });
}

/** Whether it waits for a worker. */
export const isWaiting = ({ status }: Task): boolean => status === 'pending' || status === 'retryable';

/** The mean of its tasks by their weights, once some of them have changed; cancelled and discarded ones do not count. */
export function progressOf(request: VideoRequest, changed: ReadonlyMap<string, Partial<Task>>): number {
  let sum = 0;
  let weights = 0;
  const tasks = new Map([...changed, ...request.tasks.entries()]);
  for (const [taskId, task] of tasks) {
    const { status, progress = 0, weight = 1 } = { ...task, ...changed.get(taskId) };
    if (status === 'cancelled' || status === 'discarded') continue;
    sum += weight * (status === 'completed' ? 1 : progress);
    weights += weight;
  }
  return weights === 0 ? request.progress : Math.round((sum / weights) * 1e4) / 1e4;
}
