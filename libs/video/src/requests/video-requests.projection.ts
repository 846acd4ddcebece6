import { Projection, update, upsert, type FoldedEvent, type TableDefinition } from '#lib/projections';
import type { Timestamp } from '#lib/platform';
import { videoRequestStreams, type RequestDetails, type VideoRequestEvents } from '../events.js';

export const videoRequestsTable: TableDefinition = {
  source: 'libs/video/src/requests/video-requests.projection.ts',
  schema: 'video',
  name: 'video_requests',
  columns: {
    id: 'text',
    user_id: 'text',
    title: 'text',
    text_prompt: 'text',
    description: 'text',
    ugc_type: 'text',
    language: 'text',
    duration_per_image: 'double precision',
    resolution_width: 'integer',
    resolution_height: 'integer',
    status: 'text',
    progress: 'double precision',
    attempt: 'integer',
    estimated_duration: 'double precision',
    video_url: 'text',
    local_path: 'text',
    cdn_url: 'text',
    nlp_analysis: 'jsonb',
    metadata: 'jsonb',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
    started_at: 'timestamptz',
    completed_at: 'timestamptz',
    error_message: 'text',
  },
  nullable: [
    ...['description', 'estimated_duration', 'video_url', 'local_path', 'cdn_url', 'nlp_analysis'],
    ...['started_at', 'completed_at', 'error_message'],
  ],
  key: ['id'],
  owner: { column: 'user_id', table: 'users', key: 'id' },
  checks: { progress: 'progress between 0 and 1' },
  indexes: {
    video_requests_created_at: ['created_at', 'id'],
    video_requests_status: ['status', 'created_at', 'id'],
    video_requests_user: ['user_id', 'created_at', 'id'],
  },
  // Its progress changes every few seconds.
  fillfactor: 80,
};

const keyOf = ({ streamId }: { readonly streamId: string }) => ({ id: videoRequestStreams.idOf(streamId) });

const details = (data: RequestDetails) => ({
  title: data.title,
  text_prompt: data.textPrompt,
  description: data.description,
  ugc_type: data.ugcType,
  language: data.language,
  duration_per_image: data.durationPerImage,
  resolution_width: data.resolutionWidth,
  resolution_height: data.resolutionHeight,
  estimated_duration: data.estimatedDuration,
  metadata: data.metadata,
});

type Progressing = FoldedEvent<{ readonly requestProgress: number; readonly at: Timestamp }>;
const progressed = (event: Progressing) =>
  update(keyOf(event), { progress: event.data.requestProgress, updated_at: event.data.at });

export const videoRequests = new Projection<VideoRequestEvents>('video_requests', 1, videoRequestsTable)
  .on('VideoRequestCreated', (event) =>
    upsert({
      ...keyOf(event),
      ...details(event.data),
      user_id: event.data.userId,
      status: 'queued',
      progress: 0,
      attempt: 1,
      video_url: null,
      local_path: null,
      cdn_url: null,
      nlp_analysis: null,
      created_at: event.data.at,
      updated_at: event.data.at,
      started_at: null,
      completed_at: null,
      error_message: null,
    }),
  )
  .on('VideoRequestUpdated', (event) =>
    update(keyOf(event), { ...details(event.data), updated_at: event.data.at }),
  )
  .on('PromptAnalysed', (event) =>
    update(keyOf(event), { nlp_analysis: event.data.nlpAnalysis, updated_at: event.data.at }),
  )
  .on('ProcessingStarted', (event) =>
    update(keyOf(event), {
      status: 'processing',
      started_at: event.data.at,
      updated_at: event.data.at,
    }),
  )
  .on('RequestProgressed', (event) =>
    update(keyOf(event), { progress: event.data.progress, updated_at: event.data.at }),
  )
  .on('VideoRequestCancelled', (event) =>
    update(keyOf(event), {
      status: 'cancelled',
      completed_at: event.data.at,
      updated_at: event.data.at,
    }),
  )
  .on('VideoRequestCompleted', (event) => {
    const { videoUrl, localPath, cdnUrl, at } = event.data;
    return update(keyOf(event), {
      status: 'completed',
      progress: 1,
      video_url: videoUrl,
      local_path: localPath,
      cdn_url: cdnUrl,
      completed_at: at,
      updated_at: at,
    });
  })
  .on('VideoRequestFailed', (event) =>
    update(keyOf(event), {
      status: 'failed',
      error_message: event.data.errorMessage,
      completed_at: event.data.at,
      updated_at: event.data.at,
    }),
  )
  .on('VideoRequestRetried', (event) =>
    update(keyOf(event), {
      status: 'queued',
      attempt: event.data.attempt,
      progress: 0,
      error_message: null,
      started_at: null,
      completed_at: null,
      updated_at: event.data.at,
    }),
  )
  .on('TaskCreated', progressed)
  .on('TaskProgressed', progressed)
  .on('TaskCompleted', progressed)
  .on('AttemptEnded', progressed)
  .on('TaskReleased', progressed)
  .on('TaskCancelled', progressed)
  .on('TaskRevived', progressed)
  .on('TaskDiscarded', progressed);
