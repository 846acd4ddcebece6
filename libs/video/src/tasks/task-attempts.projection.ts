import { Projection, update, upsert, type TableDefinition } from '#lib/projections';
import type { Timestamp } from '#lib/platform';
import { videoRequestStreams, type VideoRequestEvents } from '../events.js';

export const taskAttemptsTable: TableDefinition = {
  source: 'libs/video/src/tasks/task-attempts.projection.ts',
  schema: 'video',
  name: 'task_attempts',
  comment: 'Every attempt at every task: who made it, when, and what came of it.',
  columns: {
    video_request_id: 'text',
    task_id: 'text',
    attempt: 'integer',
    worker: 'text',
    started_at: 'timestamptz',
    ended_at: 'timestamptz',
    outcome: 'text',
    error_message: 'text',
  },
  nullable: ['ended_at', 'outcome', 'error_message'],
  key: ['video_request_id', 'task_id', 'attempt'],
  owner: { column: 'video_request_id', table: 'video_requests', key: 'id' },
  indexes: { task_attempts_worker: ['worker', 'started_at'] },
};

interface OfAttempt {
  readonly streamId: string;
  readonly data: { readonly taskId: string; readonly attempt: number; readonly at: Timestamp };
}
const keyOf = ({ streamId, data }: OfAttempt) => ({
  video_request_id: videoRequestStreams.idOf(streamId),
  task_id: data.taskId,
  attempt: data.attempt,
});
const ended = (event: OfAttempt, outcome: string, errorMessage: string | null = null) =>
  update(keyOf(event), { ended_at: event.data.at, outcome, error_message: errorMessage });

export const taskAttempts = new Projection<VideoRequestEvents>('task_attempts', 1, taskAttemptsTable)
  .on('TaskClaimed', (event) =>
    upsert({
      ...keyOf(event),
      worker: event.data.worker,
      started_at: event.data.at,
      ended_at: null,
      outcome: null,
      error_message: null,
    }),
  )
  .on('TaskCompleted', (event) => ended(event, 'completed'))
  .on('AttemptEnded', (event) => ended(event, event.data.how, event.data.errorMessage))
  .on('TaskReleased', (event) => ended(event, 'released'))
  .on('TaskCancelled', ({ streamId, data: { attempt, ...data } }) =>
    attempt === null ? [] : ended({ streamId, data: { ...data, attempt } }, 'cancelled'),
  );
