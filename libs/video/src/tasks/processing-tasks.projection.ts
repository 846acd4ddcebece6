import { Projection, update, upsert, type TableDefinition } from '#lib/projections';
import { videoRequestStreams, type VideoRequestEvents } from '../events.js';

export const processingTasksTable: TableDefinition = {
  source: 'libs/video/src/tasks/processing-tasks.projection.ts',
  schema: 'video',
  name: 'processing_tasks',
  comment:
    'Pieces of work. queued_at is set while a task waits for a worker: by it, and by priority, they are claimed.',
  columns: {
    video_request_id: 'text',
    id: 'text',
    user_id: 'text',
    task_type: 'text',
    priority: 'text',
    status: 'text',
    progress: 'double precision',
    retries: 'integer',
    max_retries: 'integer',
    timeout: 'integer',
    weight: 'double precision',
    is_required: 'boolean',
    payload: 'jsonb',
    attempt: 'integer',
    worker: 'text',
    lease_until: 'timestamptz',
    available_at: 'timestamptz',
    queued_at: 'timestamptz',
    started_at: 'timestamptz',
    completed_at: 'timestamptz',
    error_message: 'text',
    result_data: 'jsonb',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
  },
  nullable: [
    ...['timeout', 'worker', 'lease_until', 'available_at', 'queued_at', 'started_at', 'completed_at'],
    ...['error_message', 'result_data'],
  ],
  key: ['video_request_id', 'id'],
  owner: { column: 'video_request_id', table: 'video_requests', key: 'id' },
  checks: { progress: 'progress between 0 and 1' },
  indexes: {
    // In the order in which they are claimed.
    processing_tasks_waiting: ['task_type', 'priority', 'queued_at', 'video_request_id', 'id'],
    processing_tasks_status: ['status', 'updated_at', 'video_request_id', 'id'],
    processing_tasks_user: ['user_id', 'status'],
  },
  fillfactor: 70,
};

const keyOf = ({
  streamId,
  data,
}: {
  readonly streamId: string;
  readonly data: { readonly taskId: string };
}) => ({
  video_request_id: videoRequestStreams.idOf(streamId),
  id: data.taskId,
});
/** Nobody holds it. */
const free = { worker: null, lease_until: null } as const;

export const processingTasks = new Projection<VideoRequestEvents>('processing_tasks', 1, processingTasksTable)
  .on('TaskCreated', (event) => {
    const { data } = event;
    return upsert({
      ...keyOf(event),
      user_id: data.userId,
      task_type: data.taskType,
      priority: data.priority,
      status: 'pending',
      progress: 0,
      retries: 0,
      max_retries: data.maxRetries,
      timeout: data.timeout,
      weight: data.weight,
      is_required: data.isRequired,
      payload: data.payload,
      attempt: 0,
      ...free,
      available_at: data.availableAt,
      queued_at: data.availableAt ?? data.at,
      started_at: null,
      completed_at: null,
      error_message: null,
      result_data: null,
      created_at: data.at,
      updated_at: data.at,
    });
  })
  .on('TaskClaimed', (event) => {
    const { attempt, worker, leaseUntil, at } = event.data;
    return update(keyOf(event), {
      status: 'processing',
      progress: 0,
      attempt,
      worker,
      lease_until: leaseUntil,
      available_at: null,
      queued_at: null,
      started_at: at,
      updated_at: at,
    });
  })
  .on('LeaseExtended', (event) =>
    update(keyOf(event), { lease_until: event.data.leaseUntil, updated_at: event.data.at }),
  )
  .on('TaskProgressed', (event) => {
    const { progress, leaseUntil, at } = event.data;
    return update(keyOf(event), { progress, lease_until: leaseUntil, updated_at: at });
  })
  .on('TaskCompleted', (event) => {
    const { resultData, at } = event.data;
    return update(keyOf(event), {
      ...free,
      status: 'completed',
      progress: 1,
      result_data: resultData,
      error_message: null,
      completed_at: at,
      updated_at: at,
    });
  })
  .on('AttemptEnded', (event) => {
    const { errorMessage, retries, retryAt, at } = event.data;
    return update(keyOf(event), {
      ...free,
      status: retryAt === null ? 'dead' : 'retryable',
      progress: 0,
      retries,
      error_message: errorMessage,
      available_at: retryAt,
      queued_at: retryAt,
      completed_at: retryAt === null ? at : null,
      updated_at: at,
    });
  })
  .on('TaskReleased', (event) => {
    const { at } = event.data;
    return update(keyOf(event), {
      ...free,
      status: 'pending',
      progress: 0,
      available_at: null,
      queued_at: at,
      updated_at: at,
    });
  })
  .on('TaskCancelled', (event) => {
    const { at } = event.data;
    return update(keyOf(event), {
      ...free,
      status: 'cancelled',
      available_at: null,
      queued_at: null,
      completed_at: at,
      updated_at: at,
    });
  })
  .on('TaskRevived', (event) => {
    const { at } = event.data;
    return update(keyOf(event), {
      ...free,
      status: 'pending',
      progress: 0,
      retries: 0,
      available_at: null,
      queued_at: at,
      completed_at: null,
      updated_at: at,
    });
  })
  .on('TaskDiscarded', (event) => update(keyOf(event), { status: 'discarded', updated_at: event.data.at }));
