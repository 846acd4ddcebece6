import { conflict, FreeText, IsJsonObject, Label, Optional } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import { RequestCommand, slice } from '../command.js';
import { Share } from '../fields.js';
import { cancelWaiting } from '../tasks/holding.js';
import { existing, refuseCancelling, refuseEnded, type VideoRequest } from '../video-request.js';

// The way of a request from the queue to its end, for what works on it as a whole.

/** Work on it begins. The first claim of one of its tasks says so, too. */
export class StartProcessing extends RequestCommand {}

export const startProcessing = slice(StartProcessing, ({ videoRequestId }, request, { at }) => {
  existing(request, videoRequestId);
  refuseEnded(request, videoRequestId);
  return request.status === 'processing' ? [] : [{ type: 'ProcessingStarted', data: { at } }];
});

/** How far a request without tasks is. With tasks that is the mean of theirs. */
export class ReportProgress extends RequestCommand {
  @Share() readonly progress!: number;
}

export const reportProgress = slice(ReportProgress, ({ videoRequestId, progress }, request, { at }) => {
  refuseUnlessProcessing(request, videoRequestId);
  if (request.tasks.size > 0)
    throw conflict(
      'video-request.has-tasks',
      `Video request ${videoRequestId} has tasks: its progress is the mean of theirs.`,
      { videoRequestId },
    );
  return progress > request.progress ? [{ type: 'RequestProgressed', data: { progress, at } }] : [];
});

/** What language processing has found in the prompt. */
export class RecordPromptAnalysis extends RequestCommand {
  @IsJsonObject() readonly nlpAnalysis!: JsonObject;
}

export const recordPromptAnalysis = slice(
  RecordPromptAnalysis,
  ({ videoRequestId, nlpAnalysis }, request, { at }) => {
    existing(request, videoRequestId);
    refuseEnded(request, videoRequestId);
    return [{ type: 'PromptAnalysed', data: { nlpAnalysis, at } }];
  },
);

/** The video is there. Tasks that it does not need are not begun any more. */
export class CompleteVideoRequest extends RequestCommand {
  @Optional() @FreeText(500) readonly videoUrl?: string | null | undefined;
  @Optional() @FreeText(500) readonly localPath?: string | null | undefined;
  @Optional() @FreeText(500) readonly cdnUrl?: string | null | undefined;
}

export const completeVideoRequest = slice(
  CompleteVideoRequest,
  ({ videoRequestId, videoUrl, localPath, cdnUrl }, request, { at }) => {
    refuseUnlessProcessing(request, videoRequestId);
    refuseCancelling(request, videoRequestId);
    const missing = [...request.tasks.entries()].filter(
      ([, { isRequired, status }]) => isRequired && !['completed', 'cancelled', 'discarded'].includes(status),
    );
    if (missing.length > 0)
      throw conflict(
        'video-request.tasks-missing',
        `Video request ${videoRequestId} needs tasks that are not completed: ` +
          `${missing.map(([taskId, { status }]) => `${taskId} (${status})`).join(', ')}.`,
        { videoRequestId, tasks: missing.map(([taskId]) => taskId) },
      );
    return [
      ...cancelWaiting(request, new Map(), at),
      {
        type: 'VideoRequestCompleted',
        data: { videoUrl: videoUrl ?? null, localPath: localPath ?? null, cdnUrl: cdnUrl ?? null, at },
      },
    ];
  },
);

/** It cannot be made. */
export class FailVideoRequest extends RequestCommand {
  @Label(10_000) readonly errorMessage!: string;
}

export const failVideoRequest = slice(
  FailVideoRequest,
  ({ videoRequestId, errorMessage }, request, { at }) => {
    existing(request, videoRequestId);
    refuseEnded(request, videoRequestId);
    refuseCancelling(request, videoRequestId);
    return [
      { type: 'VideoRequestFailed', data: { errorMessage, at } },
      ...cancelWaiting(request, new Map(), at),
    ];
  },
);

function refuseUnlessProcessing(request: VideoRequest, videoRequestId: string): void {
  existing(request, videoRequestId);
  refuseEnded(request, videoRequestId);
  if (request.status === 'processing') return;
  throw conflict(
    'video-request.not-processing',
    `Video request ${videoRequestId} is queued: start processing it, or let a worker claim a task of it.`,
    { videoRequestId },
  );
}
