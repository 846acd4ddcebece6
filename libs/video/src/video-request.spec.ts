import { given, type AnySlice } from '#lib/waylog';
import type { TaskData, VideoRequestEvent, VideoRequestEvents } from './events.js';
import { cancelVideoRequest, CancelVideoRequest } from './requests/cancel-video-request.js';
import { createVideoRequest, updateVideoRequest } from './requests/create-video-request.js';
import { completeVideoRequest, failVideoRequest, reportProgress } from './requests/processing.js';
import { retryVideoRequest } from './requests/retry-video-request.js';
import { claimTask } from './tasks/claim-task.js';
import { completeTask } from './tasks/complete-task.js';
import { createTask } from './tasks/create-task.js';
import { discardTask, retryDeadTask } from './tasks/dead-tasks.js';
import { failTask } from './tasks/fail-task.js';
import { endByTimeout, lapseLease } from './tasks/lapses.js';
import { releaseTask } from './tasks/release-task.js';
import { reportTaskProgress } from './tasks/report-progress.js';
import { videoRequestStream } from './video-request.js';

const NOW = '2026-05-01T12:00:00.000Z';
const at = (seconds: number) => new Date(Date.parse(NOW) + seconds * 1_000).toISOString();
const event = <Type extends keyof VideoRequestEvents>(
  type: Type,
  data: VideoRequestEvents[Type],
): VideoRequestEvent => ({ type, data }) as VideoRequestEvent;

const videoRequestId = 'v1';
const taskId = 't1';
const created = event('VideoRequestCreated', {
  userId: 'u1',
  title: 'Fjord',
  textPrompt: 'A fjord',
  description: null,
  ugcType: 'ugc_video_ad',
  language: 'es',
  durationPerImage: 3,
  resolutionWidth: 1080,
  resolutionHeight: 1920,
  estimatedDuration: null,
  metadata: {},
  at: NOW,
});
const task = (id = taskId, changes: Partial<TaskData & { readonly availableAt: string }> = {}) =>
  event('TaskCreated', {
    taskId: id,
    userId: 'u1',
    taskType: 'render',
    priority: 'normal',
    maxRetries: 1,
    timeout: null,
    weight: 1,
    isRequired: true,
    payload: {},
    availableAt: null,
    requestProgress: 0,
    at: NOW,
    ...changes,
  });
const claimed = (attempt = 1, changes: Partial<VideoRequestEvents['TaskClaimed']> = {}) =>
  event('TaskClaimed', {
    taskId,
    attempt,
    worker: 'w1',
    leaseUntil: at(30),
    endsBy: null,
    at: NOW,
    ...changes,
  });
const started = event('ProcessingStarted', { at: NOW });
const ended = (attempt: number, retryAt: string | null) =>
  event('AttemptEnded', {
    taskId,
    attempt,
    how: 'failed',
    errorMessage: 'no light',
    retries: attempt,
    retryAt,
    requestProgress: 0,
    at: NOW,
  });
const dead = ended(2, null);
const failed = event('VideoRequestFailed', { errorMessage: 'no light', at: NOW });
const ofRequest = (...history: VideoRequestEvent[]) => given(videoRequestStream, ...history);
const holder = { videoRequestId, taskId, attempt: 1, now: at(10) };

describe('a claim', () => {
  const claim = { videoRequestId, taskId, worker: 'w1', leaseSeconds: 30, now: NOW };

  it('gives the task to one worker until its lease is over, and begins the request', () => {
    ofRequest(created, task()).when(claimTask, claim).then(started, claimed());
    ofRequest(created, task(), started)
      .when(claimTask, claim)
      .thenAnswer({ taskId, attempt: 1, leaseUntil: at(30), endsBy: null });
    ofRequest(created, task(), started, claimed()).when(claimTask, claim).thenRefused('task.not-waiting');
  });

  it('counts its attempts, and ends them by their time limit', () => {
    ofRequest(created, task(taskId, { timeout: 60 }), started, claimed(), ended(1, at(5)))
      .when(claimTask, { ...claim, now: at(5) })
      .then(claimed(2, { leaseUntil: at(35), endsBy: at(65), at: at(5) }));
  });

  it('waits until a task can be tried again', () => {
    const history = [created, task(), started, claimed(), ended(1, at(5))];
    ofRequest(...history)
      .when(claimTask, { ...claim, now: at(4) })
      .thenRefused('task.not-waiting');
    ofRequest(created, task(taskId, { availableAt: at(60) }))
      .when(claimTask, claim)
      .thenRefused('task.not-waiting');
  });

  it('gives nothing of a request that has ended or is being cancelled', () => {
    ofRequest(created, task(), failed).when(claimTask, claim).thenRefused('video-request.ended');
    const wish = event('CancellationRequested', { reason: null, at: NOW });
    ofRequest(created, task(), task('t2'), started, claimed(1, { taskId: 't2' }), wish)
      .when(claimTask, claim)
      .thenRefused('video-request.cancelling');
    ofRequest(created).when(claimTask, claim).thenRefused('task.not-found');
    ofRequest().when(claimTask, claim).thenRefused('video-request.not-found');
  });
});

describe('the worker of another attempt', () => {
  // It was frozen, and wakes after others have gone on.
  const history = [created, task(), started, claimed(), ended(1, at(5)), claimed(2)];

  it.each([
    ['report', reportTaskProgress, { ...holder, leaseSeconds: 30, progress: 0.9 }],
    ['complete', completeTask, { ...holder, resultData: {} }],
    ['fail', failTask, { ...holder, errorMessage: 'x' }],
    ['release', releaseTask, holder],
  ] as const)('can %s nothing', (_, slice, command) => {
    ofRequest(...history)
      .when(slice as typeof completeTask, command)
      .thenRefused('task.lease-lost');
    ofRequest(created, task(), started, claimed(), ended(1, at(5)))
      .when(slice as typeof completeTask, command)
      .thenRefused('task.lease-lost');
  });
});

describe('a report', () => {
  const report = { ...holder, leaseSeconds: 30 };
  const progressed = (progress: number, when: number) =>
    event('TaskProgressed', {
      taskId,
      attempt: 1,
      progress,
      leaseUntil: at(when + 30),
      requestProgress: progress,
      at: at(when),
    });

  it('records progress once a second, and never less than before', () => {
    const history = [created, task(), started, claimed()];
    ofRequest(...history)
      .when(reportTaskProgress, { ...report, progress: 0.5 })
      .then(progressed(0.5, 10));
    ofRequest(...history, progressed(0.5, 10))
      .when(reportTaskProgress, { ...report, progress: 0.6, now: at(10.9) })
      .thenNothing();
    ofRequest(...history, progressed(0.5, 10))
      .when(reportTaskProgress, { ...report, progress: 1, now: at(10.9) })
      .then(progressed(1, 10.9));
    ofRequest(...history, progressed(0.5, 10))
      .when(reportTaskProgress, { ...report, progress: 0.4, now: at(12) })
      .thenNothing();
  });

  it('extends the lease in the log when a third of it is gone', () => {
    const history = [created, task(), started, claimed()];
    ofRequest(...history)
      .when(reportTaskProgress, { ...report, now: at(9) })
      .thenNothing();
    ofRequest(...history)
      .when(reportTaskProgress, { ...report, now: at(9) })
      .thenAnswer({ leaseUntil: at(30), isCancelling: false });
    ofRequest(...history)
      .when(reportTaskProgress, { ...report, now: at(11) })
      .then(event('LeaseExtended', { taskId, attempt: 1, leaseUntil: at(41), at: at(11) }));
  });

  it('is the mean of the tasks by their weights', () => {
    ofRequest(created, task(taskId, { weight: 3 }), task('t2'), started, claimed())
      .when(reportTaskProgress, { ...report, progress: 0.5 })
      .then(
        event('TaskProgressed', {
          taskId,
          attempt: 1,
          progress: 0.5,
          leaseUntil: at(40),
          requestProgress: 0.375,
          at: at(10),
        }),
      );
  });
});

describe('a task that is done', () => {
  const done = event('TaskCompleted', {
    taskId,
    attempt: 1,
    resultData: { frames: 3 },
    requestProgress: 1,
    at: at(10),
  });

  it('is recorded once, however often its attempt says so', () => {
    const complete = { ...holder, resultData: { frames: 3 } };
    ofRequest(created, task(), started, claimed()).when(completeTask, complete).then(done);
    ofRequest(created, task(), started, claimed(), done).when(completeTask, complete).thenNothing();
    ofRequest(created, task(), started, claimed(), done)
      .when(completeTask, { ...complete, attempt: 2 })
      .thenRefused('task.lease-lost');
  });

  it('lets its request be completed, which needs all tasks that it requires', () => {
    const complete = { videoRequestId, videoUrl: 'https://videos.example/v1.mp4' };
    ofRequest(created, task(), started, claimed())
      .when(completeVideoRequest, complete)
      .thenRefused('video-request.tasks-missing');
    ofRequest(created, task(), task('t2', { isRequired: false }), started, claimed(), done)
      .when(completeVideoRequest, complete)
      .then(
        event('TaskCancelled', { taskId: 't2', attempt: null, requestProgress: 1, at: NOW }),
        event('VideoRequestCompleted', {
          videoUrl: complete.videoUrl,
          localPath: null,
          cdnUrl: null,
          at: NOW,
        }),
      );
    ofRequest(created).when(completeVideoRequest, complete).thenRefused('video-request.not-processing');
  });
});

describe('an attempt that fails', () => {
  const fail = { ...holder, errorMessage: 'no light' };
  const only = (events: readonly VideoRequestEvent[]) => events.map(({ type }) => type);
  const decide = (slice: AnySlice, command: object, ...history: VideoRequestEvent[]) => {
    const { initialState, evolve } = videoRequestStream.decider;
    return slice.decide(command, history.reduce(evolve, initialState()), {
      at: NOW,
      reads: {},
    }) as readonly VideoRequestEvent[];
  };

  it('is tried again after a wait that is recorded, longer each time', () => {
    const [first] = decide(failTask, fail, created, task(), started, claimed());
    const [again] = decide(failTask, fail, created, task(), started, claimed());
    expect(first).toEqual(again);
    expect(first).toMatchObject({ type: 'AttemptEnded', data: { attempt: 1, how: 'failed', retries: 1 } });
    const waits = [1, 2, 3, 4, 12].map((n) => {
      const before = event('AttemptEnded', {
        ...(ended(1, at(0)).data as VideoRequestEvents['AttemptEnded']),
        retries: n - 1,
      });
      const all = [created, task(taskId, { maxRetries: 20 }), started, claimed(), before, claimed(2)];
      const [one] = decide(failTask, { ...fail, attempt: 2 }, ...all);
      const { retryAt } = one?.data as VideoRequestEvents['AttemptEnded'];
      return (Date.parse(retryAt ?? '') - Date.parse(fail.now)) / 1_000;
    });
    for (const [i, most] of [5, 10, 20, 40, 600].entries()) {
      expect(waits[i]).toBeLessThanOrEqual(most);
      expect(waits[i]).toBeGreaterThanOrEqual(most / 2);
    }
  });

  it('is the last one when all retries are used up, or when it says that it would fail again', () => {
    const history = [created, task(), task('t2'), started, claimed(), ended(1, at(5)), claimed(2)];
    const last = decide(failTask, { ...fail, attempt: 2 }, ...history);
    expect(only(last)).toEqual(['AttemptEnded', 'VideoRequestFailed', 'TaskCancelled']);
    expect(last[0]?.data).toMatchObject({ retryAt: null, retries: 2 });
    const hopeless = decide(failTask, { ...fail, isRetryable: false }, created, task(), started, claimed());
    expect(only(hopeless)).toEqual(['AttemptEnded', 'VideoRequestFailed']);
    const optional = task(taskId, { isRequired: false, maxRetries: 0 });
    expect(only(decide(failTask, fail, created, optional, started, claimed()))).toEqual(['AttemptEnded']);
  });

  it('can end because nothing was heard of its worker, unless the lease was extended meanwhile', () => {
    const lapse = { videoRequestId, taskId, attempt: 1, dueAt: at(30) };
    const extended = event('LeaseExtended', { taskId, attempt: 1, leaseUntil: at(50), at: at(20) });
    const [one] = decide(lapseLease, lapse, created, task(), started, claimed());
    expect(one?.data).toMatchObject({ how: 'lease-lapsed', retries: 1, at: at(30) });
    ofRequest(created, task(), started, claimed(), extended)
      .when(lapseLease, lapse)
      .thenRefused('task.went-on');
    ofRequest(created, task(), started, claimed(), ended(1, at(5)))
      .when(lapseLease, lapse)
      .thenRefused('task.went-on');
  });

  it('can end because it took too long, although its worker lives', () => {
    const history = [created, task(taskId, { timeout: 60 }), started, claimed(1, { endsBy: at(60) })];
    const [one] = decide(endByTimeout, { videoRequestId, taskId, attempt: 1, dueAt: at(60) }, ...history);
    expect(one?.data).toMatchObject({ how: 'timed-out', at: at(60) });
  });

  it('does not count if its worker gave the task back', () => {
    ofRequest(created, task(), started, claimed())
      .when(releaseTask, holder)
      .then(event('TaskReleased', { taskId, attempt: 1, requestProgress: 0, at: at(10) }));
  });
});

describe('a dead task', () => {
  const optional = task(taskId, { isRequired: false });
  const history = [created, optional, started, claimed(), ended(1, at(5)), claimed(2), dead];

  it('waits for an operator, who retries it or discards it with a reason', () => {
    ofRequest(...history)
      .when(retryDeadTask, { videoRequestId, taskId })
      .then(event('TaskRevived', { taskId, requestProgress: 0, at: NOW }));
    ofRequest(...history)
      .when(discardTask, { videoRequestId, taskId, reason: 'the scene was dropped' })
      .then(event('TaskDiscarded', { taskId, reason: 'the scene was dropped', requestProgress: 0, at: NOW }));
    ofRequest(created, task()).when(retryDeadTask, { videoRequestId, taskId }).thenRefused('task.not-dead');
  });

  it('comes back with its request, which is a new attempt', () => {
    const cancelled = event('TaskCancelled', { taskId: 't2', attempt: null, requestProgress: 0, at: NOW });
    const all = [created, task(), task('t2'), started, claimed(), dead, failed, cancelled];
    ofRequest(...all)
      .when(retryDeadTask, { videoRequestId, taskId })
      .thenRefused('video-request.ended');
    ofRequest(...all)
      .when(retryVideoRequest, { videoRequestId })
      .then(
        event('VideoRequestRetried', { attempt: 2, at: NOW }),
        event('TaskRevived', { taskId, requestProgress: 0, at: NOW }),
        event('TaskRevived', { taskId: 't2', requestProgress: 0, at: NOW }),
      );
    ofRequest(created).when(retryVideoRequest, { videoRequestId }).thenRefused('video-request.not-failed');
  });
});

describe('a request that is cancelled', () => {
  const cancel = { videoRequestId, reason: 'too dark' };
  const wish = event('CancellationRequested', { reason: 'too dark', at: NOW });
  const waiting = event('TaskCancelled', { taskId: 't2', attempt: null, requestProgress: 0, at: NOW });

  it('ends at once if nobody works on it', () => {
    ofRequest(created, task('t2'))
      .when(cancelVideoRequest, cancel)
      .then(waiting, event('VideoRequestCancelled', { reason: 'too dark', at: NOW }));
  });

  it('ends when the last worker has let go, however it does', () => {
    const history = [created, task(), task('t2'), started, claimed()];
    ofRequest(...history)
      .when(cancelVideoRequest, cancel)
      .then(wish, waiting);
    const gone = [
      event('TaskCancelled', { taskId, attempt: 1, requestProgress: 0, at: at(10) }),
      event('VideoRequestCancelled', { reason: 'too dark', at: at(10) }),
    ];
    const cancelling = ofRequest(...history, wish, waiting);
    cancelling
      .when(reportTaskProgress, { ...holder, leaseSeconds: 30, now: at(1) })
      .thenAnswer({ leaseUntil: at(30), isCancelling: true });
    cancelling.when(releaseTask, holder).then(...gone);
    cancelling.when(failTask, { ...holder, errorMessage: 'x' }).then(...gone);
    cancelling
      .when(completeTask, { ...holder, resultData: null })
      .then(
        event('TaskCompleted', { taskId, attempt: 1, resultData: null, requestProgress: 1, at: at(10) }),
        event('VideoRequestCancelled', { reason: 'too dark', at: at(10) }),
      );
    cancelling
      .when(createTask, { videoRequestId, taskId: 't3', task: { taskType: 'render' } })
      .thenRefused('video-request.cancelling');
    cancelling.when(cancelVideoRequest, new CancelVideoRequest({ videoRequestId })).thenNothing();
  });
});

describe('a request', () => {
  const fields = { title: 'Fjord', textPrompt: 'A fjord' };
  const request = { id: 'v1', userId: 'u1', ...fields };
  const user = { details: { username: 'ann', email: 'ann@example.com' }, isActive: true, isErased: false };

  it('is of an active user', () => {
    const create = { videoRequestId, request };
    ofRequest().when(createVideoRequest, create, { reads: { user } }).then(created);
    ofRequest()
      .when(createVideoRequest, create, { reads: { user: { ...user, isActive: false } } })
      .thenRefused('user.inactive');
    ofRequest()
      .when(createVideoRequest, create, { reads: { user: { ...user, details: undefined } } })
      .thenRefused('user.not-found');
    ofRequest(created)
      .when(createVideoRequest, create, { reads: { user } })
      .thenRefused('video-request.already-exists');
  });

  it('changes only while it is queued', () => {
    const update = { videoRequestId, request: { ...fields, title: 'Two fjords' } };
    ofRequest(created)
      .when(updateVideoRequest, update)
      .then(
        event('VideoRequestUpdated', {
          ...(created.data as VideoRequestEvents['VideoRequestCreated']),
          title: 'Two fjords',
        }),
      );
    ofRequest(created).when(updateVideoRequest, { videoRequestId, request: fields }).thenNothing();
    ofRequest(created, started).when(updateVideoRequest, update).thenRefused('video-request.not-queued');
  });

  it('without tasks says itself how far it is', () => {
    const report = { videoRequestId, progress: 0.5 };
    const half = event('RequestProgressed', { progress: 0.5, at: NOW });
    ofRequest(created, started).when(reportProgress, report).then(half);
    ofRequest(created, started, half).when(reportProgress, report).thenNothing();
    ofRequest(created).when(reportProgress, report).thenRefused('video-request.not-processing');
    ofRequest(created, task(), started).when(reportProgress, report).thenRefused('video-request.has-tasks');
  });

  it('that has failed is not worked on', () => {
    ofRequest(created, task())
      .when(failVideoRequest, { videoRequestId, errorMessage: 'no light' })
      .then(failed, event('TaskCancelled', { taskId, attempt: null, requestProgress: 0, at: NOW }));
    ofRequest(created, failed)
      .when(createTask, { videoRequestId, taskId, task: { taskType: 'render' } })
      .thenRefused('video-request.ended');
  });
});
