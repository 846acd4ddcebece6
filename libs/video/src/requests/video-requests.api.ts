import { Controller, Get, Inject, Patch, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsIn, IsInt, Max, Min } from 'class-validator';
import type pg from 'pg';
import {
  FreeText,
  IsJsonObject,
  IsKnownId,
  IsOpaqueId,
  IsTimestamp,
  Label,
  Optional,
  parseTimestamp,
  type Timestamp,
} from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import type { Row } from '#lib/projections';
import {
  Answers,
  anyObject,
  count,
  Freshness,
  list,
  Needs,
  object,
  Operation,
  pageOf,
  Sender,
  shape,
  Tag,
  text,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  byPage,
  checked,
  PageOf,
  query,
  QUERY_POOL,
  readPage,
  StreamReads,
  type CommandOptions,
  type Condition,
  type ContextPart,
  type Page,
  type PagedList,
  type ReadOptions,
} from '#lib/waylog';
import type { Priority, RequestDetails, VideoPlaces } from '../events.js';
import { Share } from '../fields.js';
import { RequestId, RequestRecorded, requestRecorded } from '../rest.js';
import { processingTasksTable } from '../tasks/processing-tasks.projection.js';
import { videoRequestNotFound, type RequestStatus, type TaskStatus } from '../video-request.js';
import { CancelVideoRequest, cancelVideoRequest } from './cancel-video-request.js';
import {
  CreateVideoRequest,
  createVideoRequest,
  NewVideoRequest,
  UpdateVideoRequest,
  updateVideoRequest,
  VideoRequestFields,
} from './create-video-request.js';
import {
  CompleteVideoRequest,
  completeVideoRequest,
  FailVideoRequest,
  failVideoRequest,
  recordPromptAnalysis,
  RecordPromptAnalysis,
  reportProgress,
  ReportProgress,
  startProcessing,
  StartProcessing,
} from './processing.js';
import { retryVideoRequest, RetryVideoRequest } from './retry-video-request.js';
import { videoRequests, videoRequestsTable } from './video-requests.projection.js';

/** The reads of video requests, and of what belongs to them. */
export class VideoRequestReads extends StreamReads {}

/** A video request without its tasks, as lists show it. */
export interface VideoRequestSummary extends RequestDetails, VideoPlaces {
  readonly id: string;
  readonly status: RequestStatus;
  /** 0 to 1. */
  readonly progress: number;
  readonly attempt: number;
  readonly nlpAnalysis: JsonObject | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
  readonly startedAt: Timestamp | null;
  readonly completedAt: Timestamp | null;
  readonly errorMessage: string | null;
}

/** A task as it is stored. */
export type TaskView = {
  readonly id: string;
  readonly videoRequestId: string;
  readonly taskType: string;
  readonly priority: Priority;
  readonly status: TaskStatus;
  readonly progress: number;
  readonly retries: number;
  readonly maxRetries: number;
  readonly timeout: number | null;
  readonly weight: number;
  readonly isRequired: boolean;
  readonly payload: JsonObject;
  readonly attempt: number;
  readonly worker: string | null;
  readonly leaseUntil: Timestamp | null;
  readonly availableAt: Timestamp | null;
  readonly startedAt: Timestamp | null;
  readonly completedAt: Timestamp | null;
  readonly errorMessage: string | null;
  readonly resultData: JsonObject | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
};

export interface VideoRequestView extends VideoRequestSummary {
  /** In the order of their ids. */
  readonly tasks: readonly TaskView[];
}

const requestSummary = (row: Row): VideoRequestSummary => ({
  id: row['id'] as string,
  userId: row['user_id'] as string,
  title: row['title'] as string,
  textPrompt: row['text_prompt'] as string,
  description: row['description'] as string | null,
  ugcType: row['ugc_type'] as string,
  language: row['language'] as string,
  durationPerImage: row['duration_per_image'] as number,
  resolutionWidth: row['resolution_width'] as number,
  resolutionHeight: row['resolution_height'] as number,
  status: row['status'] as RequestStatus,
  progress: row['progress'] as number,
  attempt: row['attempt'] as number,
  estimatedDuration: row['estimated_duration'] as number | null,
  videoUrl: row['video_url'] as string | null,
  localPath: row['local_path'] as string | null,
  cdnUrl: row['cdn_url'] as string | null,
  nlpAnalysis: row['nlp_analysis'] as JsonObject | null,
  metadata: row['metadata'] as JsonObject,
  createdAt: row['created_at'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
  startedAt: row['started_at'] as Timestamp | null,
  completedAt: row['completed_at'] as Timestamp | null,
  errorMessage: row['error_message'] as string | null,
});

export const taskView = (row: Row): TaskView => ({
  id: row['id'] as string,
  videoRequestId: row['video_request_id'] as string,
  taskType: row['task_type'] as string,
  priority: row['priority'] as Priority,
  status: row['status'] as TaskStatus,
  progress: row['progress'] as number,
  retries: row['retries'] as number,
  maxRetries: row['max_retries'] as number,
  timeout: row['timeout'] as number | null,
  weight: row['weight'] as number,
  isRequired: row['is_required'] as boolean,
  payload: row['payload'] as JsonObject,
  attempt: row['attempt'] as number,
  worker: row['worker'] as string | null,
  leaseUntil: row['lease_until'] as Timestamp | null,
  availableAt: row['available_at'] as Timestamp | null,
  startedAt: row['started_at'] as Timestamp | null,
  completedAt: row['completed_at'] as Timestamp | null,
  errorMessage: row['error_message'] as string | null,
  resultData: row['result_data'] as JsonObject | null,
  createdAt: row['created_at'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
});

export class OfVideoRequest extends AsOf {
  @IsOpaqueId() readonly videoRequestId!: string;
}

/** A video request with its tasks. Throws `video-request.not-found`. */
export class GetVideoRequest extends Query<VideoRequestView> {
  constructor(
    readonly videoRequestId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetVideoRequest)
export class GetVideoRequestHandler implements IQueryHandler<GetVideoRequest> {
  constructor(private readonly reads: VideoRequestReads) {}

  async execute({ videoRequestId, options }: GetVideoRequest): Promise<VideoRequestView> {
    checked(OfVideoRequest, { videoRequestId, asOf: options.asOf });
    const found = await this.reads.of<VideoRequestView | undefined>(
      videoRequestId,
      options,
      async (source) => {
        const [[details] = [], tasks = []] = await source.selectTogether([
          { table: videoRequestsTable, where: { id: videoRequestId }, orderBy: ['id'] },
          { table: processingTasksTable, where: { video_request_id: videoRequestId }, orderBy: ['id'] },
        ]);
        return details && { ...requestSummary(details), tasks: tasks.map(taskView) };
      },
    );
    if (!found) throw videoRequestNotFound(videoRequestId);
    return found;
  }
}

const STATUSES = ['queued', 'processing', 'completed', 'failed', 'cancelled'] as const;

export class VideoRequestFilter extends PageOf {
  @Optional() @IsIn(STATUSES) readonly status?: RequestStatus | null | undefined;
  @Optional() @IsKnownId() readonly userId?: string | null | undefined;
  @Optional() @IsTimestamp() readonly createdFrom?: string | null | undefined;
  @Optional() @IsTimestamp() readonly createdTo?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(1_000) readonly limit?: number | null | undefined;
}

/** Oldest first. */
export class ListVideoRequests extends Query<Page<VideoRequestSummary>> {
  constructor(
    readonly filter: VideoRequestFilter = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

const requestList: PagedList = {
  table: videoRequestsTable,
  from: 'video.video_requests t',
  orderBy: ['created_at', 'id'],
};

@QueryHandler(ListVideoRequests)
export class ListVideoRequestsHandler implements IQueryHandler<ListVideoRequests> {
  constructor(
    private readonly reads: VideoRequestReads,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: ListVideoRequests): Promise<Page<VideoRequestSummary>> {
    checked(VideoRequestFilter, filter);
    await this.reads.live(options);
    const conditions: Condition[] = [
      ['t.status =', filter.status],
      ['t.user_id =', filter.userId],
      ['t.created_at >=', filter.createdFrom && parseTimestamp(filter.createdFrom)],
      ['t.created_at <=', filter.createdTo && parseTimestamp(filter.createdTo)],
    ];
    return this.reads.list(() => readPage(this.pool, requestList, conditions, filter, requestSummary));
  }
}

const orNull = (type: string) => ({ type: [type, 'null'] });
const timeOrNull = { ...time, type: ['string', 'null'] };
const objectOrNull = { ...anyObject, type: ['object', 'null'] };
const share = { type: 'number', minimum: 0, maximum: 1 };

const summary = {
  id: text,
  userId: text,
  title: text,
  textPrompt: text,
  description: orNull('string'),
  ugcType: text,
  language: text,
  durationPerImage: { type: 'number' },
  resolutionWidth: count,
  resolutionHeight: count,
  status: { type: 'string', enum: STATUSES },
  progress: share,
  attempt: count,
  estimatedDuration: orNull('number'),
  videoUrl: orNull('string'),
  localPath: orNull('string'),
  cdnUrl: orNull('string'),
  nlpAnalysis: objectOrNull,
  metadata: anyObject,
  createdAt: time,
  updatedAt: time,
  startedAt: timeOrNull,
  completedAt: timeOrNull,
  errorMessage: orNull('string'),
};
export const taskShape = {
  id: text,
  videoRequestId: text,
  taskType: text,
  priority: text,
  status: text,
  progress: share,
  retries: count,
  maxRetries: count,
  timeout: orNull('integer'),
  weight: { type: 'number' },
  isRequired: { type: 'boolean' },
  payload: anyObject,
  attempt: count,
  worker: orNull('string'),
  leaseUntil: timeOrNull,
  availableAt: timeOrNull,
  startedAt: timeOrNull,
  completedAt: timeOrNull,
  errorMessage: orNull('string'),
  resultData: objectOrNull,
  createdAt: time,
  updatedAt: time,
};
const VideoRequestShape = shape('VideoRequest', () => object({ ...summary, tasks: list(object(taskShape)) }));
const VideoRequestPage = shape('VideoRequestPage', () => pageOf(object(summary)));
const Retried = shape('VideoRequestRetried', () => object({ ...requestRecorded, attempt: count }));

const getVideoRequest = query({
  query: GetVideoRequest,
  handler: GetVideoRequestHandler,
  parameters: OfVideoRequest,
  make: ({ videoRequestId }, options) => new GetVideoRequest(videoRequestId, options),
});

const listVideoRequests = query({
  query: ListVideoRequests,
  handler: ListVideoRequestsHandler,
  parameters: VideoRequestFilter,
  make: (filter, options) => new ListVideoRequests(filter, options),
  weight: byPage,
});

// What the bodies of routes say; the request is in the path.
class ProgressOfRequest {
  @Share() readonly progress!: number;
}
class PromptAnalysis {
  @IsJsonObject() readonly nlpAnalysis!: JsonObject;
}
class PlacesOfVideo {
  @Optional() @FreeText(500) readonly videoUrl?: string | null | undefined;
  @Optional() @FreeText(500) readonly localPath?: string | null | undefined;
  @Optional() @FreeText(500) readonly cdnUrl?: string | null | undefined;
}
class FailureOfRequest {
  @Label(10_000) readonly errorMessage!: string;
}
class Cancellation {
  @Optional() @FreeText(1_000) readonly reason?: string | null | undefined;
}

@Tag('video requests')
@Controller('v1/video/requests')
export class VideoRequestsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Needs('operator')
  @Operation({ summary: 'Create a video request' })
  @Answers(201, RequestRecorded)
  create(@ValidBody(NewVideoRequest) request: NewVideoRequest, @Sender() sender: CommandOptions) {
    return this.commands.execute(new CreateVideoRequest({ ...sender, request }));
  }

  @Get()
  @Needs('reader', listVideoRequests)
  @Operation({ summary: 'List video requests' })
  @Answers(200, VideoRequestPage)
  list(@ValidQuery(VideoRequestFilter) filter: VideoRequestFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new ListVideoRequests(filter, options));
  }

  @Get(':id')
  @Needs('reader', getVideoRequest)
  @Operation({ summary: 'Read a video request with its tasks' })
  @Answers(200, VideoRequestShape)
  get(@RequestId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetVideoRequest(id, { ...options, asOf }));
  }

  @Patch(':id')
  @Needs('operator')
  @Operation({ summary: 'Change a video request', description: 'While it is queued.' })
  @Answers(200, RequestRecorded)
  update(
    @RequestId() videoRequestId: string,
    @ValidBody(VideoRequestFields) request: VideoRequestFields,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new UpdateVideoRequest({ ...sender, videoRequestId, request }));
  }

  @Post(':id/start')
  @Needs('operator')
  @Operation({
    summary: 'Start processing a video request',
    description: 'The first claim of a task does so, too.',
  })
  @Answers(200, RequestRecorded)
  start(@RequestId() videoRequestId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new StartProcessing({ ...sender, videoRequestId }));
  }

  @Put(':id/progress')
  @Needs('operator')
  @Operation({ summary: 'Report the progress of a video request without tasks' })
  @Answers(200, RequestRecorded)
  progress(
    @RequestId() videoRequestId: string,
    @ValidBody(ProgressOfRequest) { progress }: ProgressOfRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new ReportProgress({ ...sender, videoRequestId, progress }));
  }

  @Put(':id/analysis')
  @Needs('operator')
  @Operation({ summary: 'Record what language processing has found in the prompt' })
  @Answers(200, RequestRecorded)
  analysis(
    @RequestId() videoRequestId: string,
    @ValidBody(PromptAnalysis) { nlpAnalysis }: PromptAnalysis,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new RecordPromptAnalysis({ ...sender, videoRequestId, nlpAnalysis }));
  }

  @Post(':id/complete')
  @Needs('operator')
  @Operation({ summary: 'Complete a video request' })
  @Answers(200, RequestRecorded)
  complete(
    @RequestId() videoRequestId: string,
    @ValidBody(PlacesOfVideo) places: PlacesOfVideo,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new CompleteVideoRequest({ ...sender, ...places, videoRequestId }));
  }

  @Post(':id/fail')
  @Needs('operator')
  @Operation({ summary: 'Fail a video request' })
  @Answers(200, RequestRecorded)
  fail(
    @RequestId() videoRequestId: string,
    @ValidBody(FailureOfRequest) { errorMessage }: FailureOfRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new FailVideoRequest({ ...sender, videoRequestId, errorMessage }));
  }

  @Post(':id/cancel')
  @Needs('operator')
  @Operation({
    summary: 'Cancel a video request',
    description: 'While workers hold tasks of it this is a wish: they are told with their next report.',
  })
  @Answers(200, RequestRecorded)
  cancel(
    @RequestId() videoRequestId: string,
    @ValidBody(Cancellation) { reason }: Cancellation,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new CancelVideoRequest({ ...sender, videoRequestId, reason }));
  }

  @Post(':id/retry')
  @Needs('operator')
  @Operation({ summary: 'Try a failed or cancelled video request again' })
  @Answers(200, Retried)
  retry(@RequestId() videoRequestId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new RetryVideoRequest({ ...sender, videoRequestId }));
  }
}

export const videoRequestsPart: ContextPart = {
  commands: [
    createVideoRequest,
    updateVideoRequest,
    startProcessing,
    reportProgress,
    recordPromptAnalysis,
    completeVideoRequest,
    failVideoRequest,
    cancelVideoRequest,
    retryVideoRequest,
  ],
  projections: [videoRequests],
  queries: [getVideoRequest, listVideoRequests],
  controllers: [VideoRequestsController],
};
