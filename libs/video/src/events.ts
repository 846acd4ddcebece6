import { Category, type JsonObject } from '#lib/event-store';
import type { Timestamp } from '#lib/platform';

// Plain data, as in the log. Times are those of the database's clock where a lease depends on them.

/** Streams have no hyphen before their id: a stream id is split at the first one. */
export const videoRequestStreams = new Category('videorequest');

export const PRIORITIES = ['low', 'normal', 'high', 'urgent'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** What a video is made from. */
export interface RequestDetails extends JsonObject {
  readonly userId: string;
  readonly title: string;
  readonly textPrompt: string;
  readonly description: string | null;
  readonly ugcType: string;
  /** Such as `es`, by BCP 47. */
  readonly language: string;
  /** Seconds. */
  readonly durationPerImage: number;
  /** Pixels. */
  readonly resolutionWidth: number;
  readonly resolutionHeight: number;
  /** Seconds that the work is expected to take. */
  readonly estimatedDuration: number | null;
  readonly metadata: JsonObject;
}

/** Where the finished video is. */
export interface VideoPlaces extends JsonObject {
  readonly videoUrl: string | null;
  readonly localPath: string | null;
  readonly cdnUrl: string | null;
}

/** A piece of work for one worker. */
export interface TaskData extends JsonObject {
  readonly taskId: string;
  readonly userId: string;
  readonly taskType: string;
  readonly priority: Priority;
  /** How often it is tried again after the first attempt. */
  readonly maxRetries: number;
  /** The longest that one attempt can take, in seconds; null for no limit. */
  readonly timeout: number | null;
  /** Its share of the progress of the request, relative to other tasks. */
  readonly weight: number;
  /** Whether the request fails with it. */
  readonly isRequired: boolean;
  /** What the worker is told. */
  readonly payload: JsonObject;
}

/** Why an attempt has ended without a result. */
export type AttemptEnd = 'failed' | 'lease-lapsed' | 'timed-out';

export type VideoRequestEvents = {
  VideoRequestCreated: RequestDetails & { readonly at: Timestamp };
  VideoRequestUpdated: RequestDetails & { readonly at: Timestamp };
  PromptAnalysed: { readonly nlpAnalysis: JsonObject; readonly at: Timestamp };
  ProcessingStarted: { readonly at: Timestamp };
  /** Of a request without tasks. 0 to 1. */
  RequestProgressed: { readonly progress: number; readonly at: Timestamp };
  /** A wish, while workers hold tasks. */
  CancellationRequested: { readonly reason: string | null; readonly at: Timestamp };
  VideoRequestCancelled: { readonly reason: string | null; readonly at: Timestamp };
  VideoRequestCompleted: VideoPlaces & { readonly at: Timestamp };
  VideoRequestFailed: { readonly errorMessage: string; readonly at: Timestamp };
  /** Tried again as a whole: `attempt` is 2 for the first time. */
  VideoRequestRetried: { readonly attempt: number; readonly at: Timestamp };
  /** `availableAt`: not before then; null for at once. */
  TaskCreated: TaskData & {
    readonly availableAt: Timestamp | null;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** A worker has it, alone, until its lease lapses. `attempt` counts from 1, and tells this claim from all others. */
  TaskClaimed: {
    readonly taskId: string;
    readonly attempt: number;
    readonly worker: string;
    readonly leaseUntil: Timestamp;
    /** When the attempt is over whatever its worker says; null for no limit. */
    readonly endsBy: Timestamp | null;
    readonly at: Timestamp;
  };
  LeaseExtended: {
    readonly taskId: string;
    readonly attempt: number;
    readonly leaseUntil: Timestamp;
    readonly at: Timestamp;
  };
  /** Also extends the lease. `requestProgress` is that of the whole request. */
  TaskProgressed: {
    readonly taskId: string;
    readonly attempt: number;
    readonly progress: number;
    readonly leaseUntil: Timestamp;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  TaskCompleted: {
    readonly taskId: string;
    readonly attempt: number;
    readonly resultData: JsonObject | null;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** Tried again at `retryAt`; with null it is dead. */
  AttemptEnded: {
    readonly taskId: string;
    readonly attempt: number;
    readonly how: AttemptEnd;
    readonly errorMessage: string;
    readonly retries: number;
    readonly retryAt: Timestamp | null;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** Given back by its worker, as when it stops: no failed attempt. */
  TaskReleased: {
    readonly taskId: string;
    readonly attempt: number;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** `attempt`: the one that held it; null if it was waiting. */
  TaskCancelled: {
    readonly taskId: string;
    readonly attempt: number | null;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** Waits again, as new: by an operator, or because the request is tried again. */
  TaskRevived: {
    readonly taskId: string;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
  /** A dead one that nobody tries again. */
  TaskDiscarded: {
    readonly taskId: string;
    readonly reason: string;
    readonly requestProgress: number;
    readonly at: Timestamp;
  };
};

export type VideoRequestEvent = {
  [Type in keyof VideoRequestEvents]: { readonly type: Type; readonly data: VideoRequestEvents[Type] };
}[keyof VideoRequestEvents];

const types: Readonly<Record<keyof VideoRequestEvents, true>> = {
  VideoRequestCreated: true,
  VideoRequestUpdated: true,
  PromptAnalysed: true,
  ProcessingStarted: true,
  RequestProgressed: true,
  CancellationRequested: true,
  VideoRequestCancelled: true,
  VideoRequestCompleted: true,
  VideoRequestFailed: true,
  VideoRequestRetried: true,
  TaskCreated: true,
  TaskClaimed: true,
  LeaseExtended: true,
  TaskProgressed: true,
  TaskCompleted: true,
  AttemptEnded: true,
  TaskReleased: true,
  TaskCancelled: true,
  TaskRevived: true,
  TaskDiscarded: true,
};

/** All types of their events. */
export const VIDEO_REQUEST_EVENT_TYPES: ReadonlySet<string> = new Set(Object.keys(types));
