import type pg from 'pg';
import { flight } from '#lib/flight';
import { verify } from '#lib/projections';
import { QUERY_POOL, RunningContexts } from '#lib/waylog';
import {
  CompleteVideoRequest,
  CreateTask,
  CreateUser,
  CreateVideoRequest,
  DeactivateUser,
  EraseUser,
  TaskQueue,
  UpdateUser,
  video,
  type NewTask,
} from '#lib/video';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

describe.each(logs)('videos, with the log in %s', (log) => {
  let database: TestDatabase;
  let one: RunningWaylog;
  let tasks: TaskQueue;
  beforeAll(async () => {
    database = await testDatabase(log, (url) => migrate(url, { contexts: [flight, video] }));
    one = await startWaylog(database, { contexts: [flight, video] });
    tasks = one.app.get(TaskQueue);
    await one.execute(new CreateUser({ userId: 'ann', user: { username: 'Ann', email: 'ann@example.com' } }));
  });
  afterAll(async () => {
    await one.close();
    await database.drop();
  });

  const settled = () => one.app.get(RunningContexts).settled(60_000);
  const rows = async <Row extends object>(sql: string, ...values: unknown[]): Promise<Row[]> =>
    (await one.app.get<pg.Pool>(QUERY_POOL).query<Row>(sql, values)).rows;
  const request = (id: string) =>
    one.execute(
      new CreateVideoRequest({ request: { id, userId: 'ann', title: 'Fjord', textPrompt: 'A fjord' } }),
    );
  const task = (videoRequestId: string, fields: NewTask) =>
    one.execute(new CreateTask({ videoRequestId, task: fields }));
  const statusOf = async (videoRequestId: string, id: string) => {
    await settled();
    const [row] = await rows<{ status: string }>(
      'select status from video.processing_tasks where video_request_id = $1 and id = $2',
      videoRequestId,
      id,
    );
    return row?.status;
  };

  it('go from the queue to a finished video', async () => {
    await request('v1');
    await task('v1', { id: 'scene', taskType: 'render', payload: { scene: 1 } });
    const claim = { types: ['render'], worker: 'w1', waitSeconds: 30 };
    const held = await tasks.claim(claim);
    expect(held).toMatchObject({ videoRequestId: 'v1', taskId: 'scene', attempt: 1, payload: { scene: 1 } });
    if (!held) return;
    await expect(tasks.report(held, { progress: 0.5 })).resolves.toMatchObject({ isCancelling: false });
    await expect(tasks.claim({ ...claim, waitSeconds: 0 })).resolves.toBeUndefined();
    await tasks.complete(held, { frames: 72 });
    await one.execute(
      new CompleteVideoRequest({ videoRequestId: 'v1', videoUrl: 'https://videos.example/1' }),
    );
    await settled();
    expect(await rows('select status, progress, video_url, attempt from video.video_requests')).toEqual([
      { status: 'completed', progress: 1, video_url: 'https://videos.example/1', attempt: 1 },
    ]);
    expect(await rows('select status, worker, result_data, queued_at from video.processing_tasks')).toEqual([
      { status: 'completed', worker: null, result_data: { frames: 72 }, queued_at: null },
    ]);
    expect(await rows('select attempt, worker, outcome from video.task_attempts')).toEqual([
      { attempt: 1, worker: 'w1', outcome: 'completed' },
    ]);
  });

  it('give the task of a silent worker to another one, and refuse what the first says then', async () => {
    await request('v2');
    await task('v2', { id: 'scene', taskType: 'slow', maxRetries: 3 });
    const frozen = await tasks.claim({ types: ['slow'], worker: 'frozen', leaseSeconds: 1, waitSeconds: 30 });
    if (!frozen) throw new Error('There was no task.');
    const other = await tasks.claim({ types: ['slow'], worker: 'other', waitSeconds: 30 });
    expect(other).toMatchObject({ taskId: 'scene', attempt: 2 });
    await expect(tasks.complete(frozen, {})).rejects.toMatchObject({ code: 'task.lease-lost' });
    await expect(tasks.report(frozen)).rejects.toMatchObject({ code: 'task.lease-lost' });
    if (other) await tasks.complete(other, {});
    expect(await statusOf('v2', 'scene')).toBe('completed');
    expect(
      await rows(
        `select attempt, worker, outcome from video.task_attempts where video_request_id = 'v2' order by attempt`,
      ),
    ).toEqual([
      { attempt: 1, worker: 'frozen', outcome: 'lease-lapsed' },
      { attempt: 2, worker: 'other', outcome: 'completed' },
    ]);
  });

  it('give each task to one of many workers, the urgent first', async () => {
    await request('v3');
    const ids = Array.from({ length: 40 }, (_, n) => `t${n}`);
    for (const id of ids) await task('v3', { id, taskType: 'many', priority: 'low' });
    await task('v3', { id: 'urgent', taskType: 'many', priority: 'urgent' });
    await settled();
    const first = await tasks.claim({ types: ['many'], worker: 'first' });
    expect(first?.taskId).toBe('urgent');
    const got: string[] = [];
    const work = async (worker: string) => {
      for (;;) {
        const held = await tasks.claim({ types: ['many'], worker });
        if (!held) return;
        got.push(held.taskId);
        await tasks.complete(held, {});
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, n) => work(`w${n}`)));
    expect(got.sort()).toEqual([...ids].sort());
  });

  it('wake a worker that waits as soon as there is a task', async () => {
    await request('v4');
    const waiting = tasks.claim({ types: ['awaited'], worker: 'w1', waitSeconds: 60 });
    await task('v4', { id: 'scene', taskType: 'awaited' });
    await expect(waiting).resolves.toMatchObject({ taskId: 'scene' });
  });

  it('are of users whose names are unique among the active ones, and can be erased', async () => {
    const user = { username: 'ANN', email: 'other@example.com' };
    const create = new CreateUser({ userId: 'bob', user });
    await expect(one.execute(create)).rejects.toMatchObject({ code: 'user.name-taken' });
    await one.execute(new CreateUser({ userId: 'bob', user: { username: 'Bob', email: 'bob@example.com' } }));
    await one.execute(
      new UpdateUser({ userId: 'bob', user: { username: 'Bobby', email: 'bob@example.com' } }),
    );
    await one.execute(new CreateUser({ userId: 'c', user: { username: 'bob', email: 'c@example.com' } }));
    await one.execute(new DeactivateUser({ userId: 'c' }));
    await one.execute(new UpdateUser({ userId: 'bob', user: { username: 'Bob', email: 'bob@example.com' } }));
    await one.execute(new EraseUser({ userId: 'bob' }));
    await settled();
    expect(await rows(`select username, email, is_active from video.users where id = 'bob'`)).toEqual([
      { username: 'erased', email: 'erased', is_active: false },
    ]);
  });

  it('have tables that are as the log says', async () => {
    await settled();
    const result = await verify({
      projector: 'video',
      projections: video.projections,
      store: one.app.get(RunningContexts).of(video).log,
      connectionString: database.url,
      keyOf: (streamId) => streamId.slice(streamId.indexOf('-') + 1),
      by: 'test',
    });
    expect(result.tables.flatMap(({ differences }) => differences)).toEqual([]);
    expect(result.isSound).toBe(true);
  });
});
