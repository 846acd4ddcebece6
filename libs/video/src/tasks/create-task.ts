import { IsInt, IsNumber, Max, Min } from 'class-validator';
import {
  conflict,
  Example,
  IsId,
  IsJsonObject,
  IsTimestamp,
  Label,
  Nested,
  Optional,
  parseTimestamp,
} from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import { newId, type CommandOptions } from '#lib/waylog';
import { RequestCommand, slice } from '../command.js';
import type { Priority } from '../events.js';
import { Flag, PriorityName } from '../fields.js';
import { existing, progressOf, refuseCancelling, refuseEnded } from '../video-request.js';

/** A request with more is not one video. */
export const MAX_TASKS = 1_000;

/** A piece of work for one worker. Gets an id if it has none. */
@Example<NewTask>({ id: 't1', taskType: 'render', priority: 'high', payload: { scene: 1 } })
export class NewTask {
  @Optional() @IsId() readonly id?: string | null | undefined;
  /** What kind of work it is: workers claim by it. */
  @Label(50) readonly taskType!: string;
  /** Default `normal`. */
  @Optional() @PriorityName() readonly priority?: Priority | null | undefined;
  /** How often it is tried again after the first attempt; default 3. */
  @Optional() @IsInt() @Min(0) @Max(100) readonly maxRetries?: number | null | undefined;
  /** The longest that one attempt can take, in seconds; default no limit. */
  @Optional() @IsInt() @Min(1) @Max(604_800) readonly timeout?: number | null | undefined;
  /** Its share of the progress of the request, relative to its other tasks; default 1. */
  @Optional() @IsNumber() @Min(0.001) @Max(1_000) readonly weight?: number | null | undefined;
  /** Whether the request fails with it; default true. */
  @Optional() @Flag() readonly isRequired?: boolean | null | undefined;
  /** What the worker is told; default `{}`. */
  @Optional() @IsJsonObject() readonly payload?: JsonObject | null | undefined;
  /** Not before then; default at once. */
  @Optional() @IsTimestamp() readonly availableAt?: string | null | undefined;
}

export class CreateTask extends RequestCommand<{ readonly taskId: string }> {
  @IsId() readonly taskId!: string;
  @Nested(() => NewTask) readonly task!: NewTask;

  constructor(fields: { readonly videoRequestId: string; readonly task: NewTask } & CommandOptions) {
    super({
      ...fields,
      taskId: idIn(fields.task) ?? newId(fields.commandId, 'task'),
    });
  }
}

/** Constructors run before validation, so the input can be anything. */
const idIn = (task: unknown): string | undefined => {
  const id: unknown = typeof task === 'object' && task !== null ? Reflect.get(task, 'id') : undefined;
  return typeof id === 'string' ? id : undefined;
};

export const createTask = slice(CreateTask, ({ videoRequestId, taskId, task }, request, { at }) => {
  const { details, tasks } = existing(request, videoRequestId);
  refuseEnded(request, videoRequestId);
  refuseCancelling(request, videoRequestId);
  if (tasks.has(taskId))
    throw conflict(
      'task.already-exists',
      `Video request ${videoRequestId} has a task ${taskId} already. Leave the id out to get a new one.`,
      { videoRequestId, taskId },
    );
  if (tasks.size >= MAX_TASKS)
    throw conflict(
      'task.too-many',
      `Video request ${videoRequestId} has ${MAX_TASKS} tasks, the most that one can have.`,
      { videoRequestId, most: MAX_TASKS },
    );
  const { priority, maxRetries, timeout, weight, isRequired, payload, availableAt } = task;
  const added = new Map([[taskId, { status: 'pending' as const, progress: 0, weight: weight ?? 1 }]]);
  return {
    events: [
      {
        type: 'TaskCreated',
        data: {
          taskId,
          userId: details.userId,
          taskType: task.taskType,
          priority: priority ?? 'normal',
          maxRetries: maxRetries ?? 3,
          timeout: timeout ?? null,
          weight: weight ?? 1,
          isRequired: isRequired ?? true,
          payload: payload ?? {},
          availableAt: availableAt == null ? null : (parseTimestamp(availableAt) ?? availableAt),
          requestProgress: progressOf(request, added),
          at,
        },
      },
    ],
    answer: { taskId },
  };
});
