import { Controller, Get, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsIn,
  IsInt,
  Max,
  MaxLength,
  Min,
  MinLength,
} from 'class-validator';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type pg from 'pg';
import {
  databaseCall,
  FreeText,
  IsJsonObject,
  IsName,
  IsOpaqueId,
  IsText,
  Label,
  Optional,
  timestampFromPostgres,
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
  MayAnswer,
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
  type CommandOptions,
  type Condition,
  type ContextPart,
  type Page,
  type PagedList,
  type ReadOptions,
} from '#lib/waylog';
import type { AttemptEnd } from '../events.js';
import { AttemptNumber, Flag, Share } from '../fields.js';
import { taskShape, taskView, VideoRequestReads, type TaskView } from '../requests/video-requests.api.js';
import { RequestId, RequestRecorded, TaskId, TaskRecorded } from '../rest.js';
import { CancelTask, cancelTask } from './cancel-task.js';
import type { TaskStatus } from '../video-request.js';
import { claimTask } from './claim-task.js';
import { completeTask } from './complete-task.js';
import { createTask, CreateTask, NewTask } from './create-task.js';
import { discardTask, DiscardTask, retryDeadTask, RetryDeadTask } from './dead-tasks.js';
import { failTask } from './fail-task.js';
import { endByTimeout, lapseLease } from './lapses.js';
import { MAX_LEASE_SECONDS } from './lease.js';
import { processingTasks, processingTasksTable } from './processing-tasks.projection.js';
import { releaseTask } from './release-task.js';
import { reportTaskProgress } from './report-progress.js';
import { taskAttempts, taskAttemptsTable } from './task-attempts.projection.js';
import { TaskQueue } from './task-queue.api.js';

/** An attempt at a task. */
export interface TaskAttemptView {
  readonly attempt: number;
  readonly worker: string;
  readonly startedAt: Timestamp;
  readonly endedAt: Timestamp | null;
  /** Null while it goes on. */
  readonly outcome: AttemptEnd | 'completed' | 'released' | 'cancelled' | null;
  readonly errorMessage: string | null;
}

const attemptView = (row: Row): TaskAttemptView => ({
  attempt: row['attempt'] as number,
  worker: row['worker'] as string,
  startedAt: row['started_at'] as Timestamp,
  endedAt: row['ended_at'] as Timestamp | null,
  outcome: row['outcome'] as TaskAttemptView['outcome'],
  errorMessage: row['error_message'] as string | null,
});

class OfTask extends AsOf {
  @IsOpaqueId() readonly videoRequestId!: string;
  @IsOpaqueId() readonly taskId!: string;
}

/** In their order. Throws `video-request.not-found`. */
export class GetTaskAttempts extends Query<TaskAttemptView[]> {
  constructor(
    readonly videoRequestId: string,
    readonly taskId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetTaskAttempts)
export class GetTaskAttemptsHandler implements IQueryHandler<GetTaskAttempts> {
  constructor(private readonly reads: VideoRequestReads) {}

  async execute({ videoRequestId, taskId, options }: GetTaskAttempts): Promise<TaskAttemptView[]> {
    checked(OfTask, { videoRequestId, taskId, asOf: options.asOf });
    const rows = await this.reads.of(videoRequestId, options, (source) =>
      source.select({
        table: taskAttemptsTable,
        where: { video_request_id: videoRequestId, task_id: taskId },
        orderBy: ['attempt'],
      }),
    );
    return rows.map(attemptView);
  }
}

/** How much of a type of tasks waits, and since when. */
export interface QueueOfType {
  readonly taskType: string;
  /** Can be claimed now. */
  readonly waiting: number;
  /** Wait for their time: after a failure, or as they were told. */
  readonly scheduled: number;
  readonly processing: number;
  readonly dead: number;
  /** Since when the first of those that can be claimed waits; null if none does. */
  readonly oldestSince: Timestamp | null;
}

export class GetTaskQueue extends Query<QueueOfType[]> {
  constructor(readonly options: ReadOptions = {}) {
    super();
  }
}

@QueryHandler(GetTaskQueue)
export class GetTaskQueueHandler implements IQueryHandler<GetTaskQueue> {
  constructor(
    private readonly reads: VideoRequestReads,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  async execute({ options }: GetTaskQueue): Promise<QueueOfType[]> {
    await this.reads.live(options);
    const { rows } = await databaseCall(() =>
      this.pool.query<{
        task_type: string;
        waiting: number;
        scheduled: number;
        processing: number;
        dead: number;
        oldest: string | null;
      }>(queueSql),
    );
    return rows.map(({ task_type: taskType, oldest, ...counts }) => ({
      taskType,
      ...counts,
      oldestSince: oldest === null ? null : timestampFromPostgres(oldest),
    }));
  }
}

const isDue = '(available_at is null or available_at <= clock_timestamp())';
const queueSql = `
  select task_type,
         count(*) filter (where queued_at is not null and ${isDue})::integer as waiting,
         count(*) filter (where queued_at is not null and not ${isDue})::integer as scheduled,
         count(*) filter (where status = 'processing')::integer as processing,
         count(*) filter (where status = 'dead')::integer as dead,
         (min(queued_at) filter (where ${isDue}))::text as oldest
    from video.processing_tasks
   where status in ('pending', 'retryable', 'processing', 'dead')
   group by task_type order by task_type`;

const TASK_STATUSES = [
  ...['pending', 'processing', 'retryable', 'completed', 'cancelled', 'dead', 'discarded'],
] as readonly TaskStatus[];

export class TaskFilter extends PageOf {
  @Optional() @IsIn(TASK_STATUSES) readonly status?: TaskStatus | null | undefined;
  @Optional() @FreeText(50) readonly taskType?: string | null | undefined;
  @Optional() @IsOpaqueId() readonly userId?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(1_000) readonly limit?: number | null | undefined;
}

/** Of all video requests, those first that have changed longest ago. */
export class ListTasks extends Query<Page<TaskView>> {
  constructor(
    readonly filter: TaskFilter = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

const taskList: PagedList = {
  table: processingTasksTable,
  from: 'video.processing_tasks t',
  orderBy: ['updated_at', 'video_request_id', 'id'],
};

@QueryHandler(ListTasks)
export class ListTasksHandler implements IQueryHandler<ListTasks> {
  constructor(
    private readonly reads: VideoRequestReads,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: ListTasks): Promise<Page<TaskView>> {
    checked(TaskFilter, filter);
    await this.reads.live(options);
    const conditions: Condition[] = [
      ['t.status =', filter.status],
      ['t.task_type =', filter.taskType],
      ['t.user_id =', filter.userId],
    ];
    return this.reads.list(() => readPage(this.pool, taskList, conditions, filter, taskView));
  }
}

const timeOrNull = { ...time, type: ['string', 'null'] };
const textOrNull = { type: ['string', 'null'] };
const Attempts = shape('TaskAttempts', () =>
  list(
    object({
      attempt: count,
      worker: text,
      startedAt: time,
      endedAt: timeOrNull,
      outcome: textOrNull,
      errorMessage: textOrNull,
    }),
  ),
);
const Queue = shape('TaskQueue', () =>
  list(
    object({
      taskType: text,
      waiting: count,
      scheduled: count,
      processing: count,
      dead: count,
      oldestSince: timeOrNull,
    }),
  ),
);
const TaskPage = shape('TaskPage', () => pageOf(object(taskShape)));
const TaskInHandShape = shape('TaskInHand', () =>
  object({
    videoRequestId: text,
    taskId: text,
    taskType: text,
    payload: anyObject,
    attempt: count,
    leaseUntil: time,
    endsBy: timeOrNull,
  }),
);
const ReportedShape = shape('TaskReported', () =>
  object({
    leaseUntil: time,
    isCancelling: {
      type: 'boolean',
      description: 'Stop, and release the task: its video request is being cancelled.',
    },
  }),
);

const getTaskAttempts = query({
  query: GetTaskAttempts,
  handler: GetTaskAttemptsHandler,
  parameters: OfTask,
  make: ({ videoRequestId, taskId }, options) => new GetTaskAttempts(videoRequestId, taskId, options),
});

const listTasks = query({
  query: ListTasks,
  handler: ListTasksHandler,
  parameters: TaskFilter,
  make: (filter, options) => new ListTasks(filter, options),
  weight: byPage,
});

class NoParameters {}
const getTaskQueue = query({
  query: GetTaskQueue,
  handler: GetTaskQueueHandler,
  parameters: NoParameters,
  make: (_, options) => new GetTaskQueue(options),
  // What waits changes with the clock, too.
  isApart: true,
});

/** The longest that a claim can wait for a task: what stands between, such as a proxy, gives up after a minute. */
const MAX_WAIT_SECONDS = 30;

/** What a worker asks for. */
class TaskClaimRequest {
  /** The types of tasks that it can do. */
  @IsArray()
  @ArrayMinSize(1)
  @ArrayMaxSize(20)
  @IsText({ each: true })
  @MinLength(1, { each: true })
  @MaxLength(50, { each: true })
  readonly types!: readonly string[];
  /** Its name, for people. */
  @IsName() readonly worker!: string;
  /** How long it holds the task without a report, in seconds; default 30. */
  @Optional() @IsInt() @Min(1) @Max(MAX_LEASE_SECONDS) readonly leaseSeconds?: number | null | undefined;
  /** How long to wait for a task, in seconds; default not at all. */
  @Optional() @IsInt() @Min(0) @Max(MAX_WAIT_SECONDS) readonly waitSeconds?: number | null | undefined;
}

class TaskReportRequest {
  @AttemptNumber() readonly attempt!: number;
  @Optional() @Share() readonly progress?: number | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(MAX_LEASE_SECONDS) readonly leaseSeconds?: number | null | undefined;
}
class TaskCompletionRequest {
  @AttemptNumber() readonly attempt!: number;
  @Optional() @IsJsonObject() readonly resultData?: JsonObject | null | undefined;
}
class TaskFailureRequest {
  @AttemptNumber() readonly attempt!: number;
  @FreeText(10_000) readonly errorMessage!: string;
  /** False if it would fail again; default true. */
  @Optional() @Flag() readonly isRetryable?: boolean | null | undefined;
}
class TaskReleaseRequest {
  @AttemptNumber() readonly attempt!: number;
}
class TaskDiscardRequest {
  @Label(1_000) readonly reason!: string;
}

/** For workers, on other machines or not. */
@Tag('video tasks')
@Controller('v1/video')
export class TasksController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly tasks: TaskQueue,
  ) {}

  @Post('tasks/claim')
  @Needs('operator')
  @Operation({
    summary: 'Claim a task',
    description: 'Waits for one if asked to. 204 if there was none in time.',
  })
  @Answers(200, TaskInHandShape)
  @MayAnswer(204)
  async claim(
    @ValidBody(TaskClaimRequest) { types, worker, leaseSeconds, waitSeconds }: TaskClaimRequest,
    @Sender() sender: CommandOptions,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const gone = new AbortController();
    request.raw.socket.once('close', () => gone.abort());
    const claim = {
      types,
      worker,
      leaseSeconds: leaseSeconds ?? undefined,
      waitSeconds: waitSeconds ?? undefined,
    };
    const found = await this.tasks.claim(claim, sender, gone.signal);
    if (!found) void reply.status(204);
    return found;
  }

  @Get('tasks')
  @Needs('reader', listTasks)
  @Operation({ summary: 'List tasks of all video requests' })
  @Answers(200, TaskPage)
  list(@ValidQuery(TaskFilter) filter: TaskFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new ListTasks(filter, options));
  }

  @Get('queue')
  @Needs('reader', getTaskQueue)
  @Operation({ summary: 'Read how much waits, by type' })
  @Answers(200, Queue)
  queue(@Freshness() options: ReadOptions) {
    return this.queries.execute(new GetTaskQueue(options));
  }

  @Post('requests/:id/tasks')
  @Needs('operator')
  @Operation({ summary: 'Create a task' })
  @Answers(201, TaskRecorded)
  create(
    @RequestId() videoRequestId: string,
    @ValidBody(NewTask) task: NewTask,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new CreateTask({ ...sender, videoRequestId, task }));
  }

  @Get('requests/:id/tasks/:taskId/attempts')
  @Needs('reader', getTaskAttempts)
  @Operation({ summary: 'List the attempts at a task' })
  @Answers(200, Attempts)
  attempts(
    @RequestId() id: string,
    @TaskId() taskId: string,
    @ValidQuery(AsOf) { asOf }: AsOf,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetTaskAttempts(id, taskId, { ...options, asOf }));
  }

  @Post('requests/:id/tasks/:taskId/report')
  @Needs('operator')
  @Operation({ summary: 'Report on a task', description: 'Extends the lease. Do it at a third of its time.' })
  @Answers(200, ReportedShape)
  report(
    @RequestId() videoRequestId: string,
    @TaskId() taskId: string,
    @ValidBody(TaskReportRequest) { attempt, progress, leaseSeconds }: TaskReportRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.tasks.report(
      { videoRequestId, taskId, attempt },
      { ...(progress != null && { progress }), ...(leaseSeconds != null && { leaseSeconds }) },
      sender,
    );
  }

  @Post('requests/:id/tasks/:taskId/complete')
  @Needs('operator')
  @Operation({ summary: 'Complete a task' })
  @Answers(200, RequestRecorded)
  complete(
    @RequestId() videoRequestId: string,
    @TaskId() taskId: string,
    @ValidBody(TaskCompletionRequest) { attempt, resultData }: TaskCompletionRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.tasks.complete({ videoRequestId, taskId, attempt }, resultData, sender);
  }

  @Post('requests/:id/tasks/:taskId/fail')
  @Needs('operator')
  @Operation({ summary: 'Say that a task could not be done' })
  @Answers(200, RequestRecorded)
  fail(
    @RequestId() videoRequestId: string,
    @TaskId() taskId: string,
    @ValidBody(TaskFailureRequest) { attempt, errorMessage, isRetryable }: TaskFailureRequest,
    @Sender() sender: CommandOptions,
  ) {
    const failure = { errorMessage, isRetryable: isRetryable ?? undefined };
    return this.tasks.fail({ videoRequestId, taskId, attempt }, failure, sender);
  }

  @Post('requests/:id/tasks/:taskId/release')
  @Needs('operator')
  @Operation({ summary: 'Give a task back', description: 'As when its worker stops. No attempt has failed.' })
  @Answers(200, RequestRecorded)
  release(
    @RequestId() videoRequestId: string,
    @TaskId() taskId: string,
    @ValidBody(TaskReleaseRequest) { attempt }: TaskReleaseRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.tasks.release({ videoRequestId, taskId, attempt }, sender);
  }

  @Post('requests/:id/tasks/:taskId/cancel')
  @Needs('operator')
  @Operation({ summary: 'Cancel a task that waits' })
  @Answers(200, RequestRecorded)
  cancel(@RequestId() videoRequestId: string, @TaskId() taskId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new CancelTask({ ...sender, videoRequestId, taskId }));
  }

  @Post('requests/:id/tasks/:taskId/retry')
  @Needs('operator')
  @Operation({ summary: 'Try a dead task again' })
  @Answers(200, RequestRecorded)
  retry(@RequestId() videoRequestId: string, @TaskId() taskId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new RetryDeadTask({ ...sender, videoRequestId, taskId }));
  }

  @Post('requests/:id/tasks/:taskId/discard')
  @Needs('operator')
  @Operation({ summary: 'Discard a dead task' })
  @Answers(200, RequestRecorded)
  discard(
    @RequestId() videoRequestId: string,
    @TaskId() taskId: string,
    @ValidBody(TaskDiscardRequest) { reason }: TaskDiscardRequest,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new DiscardTask({ ...sender, videoRequestId, taskId, reason }));
  }
}

export const tasksPart: ContextPart = {
  commands: [
    createTask,
    claimTask,
    reportTaskProgress,
    completeTask,
    failTask,
    releaseTask,
    cancelTask,
    retryDeadTask,
    discardTask,
    lapseLease,
    endByTimeout,
  ],
  projections: [processingTasks, taskAttempts],
  queries: [getTaskAttempts, getTaskQueue, listTasks],
  controllers: [TasksController],
};
