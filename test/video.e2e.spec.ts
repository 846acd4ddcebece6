import { video } from '#lib/video';
import { logs } from './support/database.js';
import { useServer } from './support/server.js';

// The one line of the server, with another context in it.
jest.mock('../apps/contexts.js', () => ({
  contexts: [
    jest.requireActual<typeof import('#lib/flight')>('#lib/flight').flight,
    jest.requireActual<typeof import('#lib/video')>('#lib/video').video,
  ],
}));

describe.each(logs)('a render queue over HTTP, with the log in %s', (log) => {
  const server = useServer({ WAYLOG_RATE_LIMIT: '1000' }, log, [video]);
  const call = (...request: Parameters<typeof server.call>) => server.call(...request);
  const post = (path: string, body: object = {}) => call('POST', `/v1/video/${path}`, body);
  const after = (position: string) => ({ 'waylog-min-position': position });
  const claim = { types: ['render'], worker: 'w1', waitSeconds: 30 };

  it('takes a video from its request to its end', async () => {
    const ann = { id: 'ann', username: 'Ann', email: 'ann@example.com' };
    expect(await post('users', ann)).toMatchObject({ status: 201, body: { userId: 'ann' } });
    const wanted = { id: 'v1', userId: 'ann', title: 'Fjord', textPrompt: 'A fjord at dawn' };
    expect(await post('requests', wanted)).toMatchObject({ status: 201, body: { videoRequestId: 'v1' } });
    const task = { id: 't1', taskType: 'render', priority: 'high', payload: { scene: 1 } };
    expect(await post('requests/v1/tasks', task)).toMatchObject({ status: 201, body: { taskId: 't1' } });
    const claimed = await post('tasks/claim', claim);
    expect(claimed).toMatchObject({
      status: 200,
      body: { videoRequestId: 'v1', taskId: 't1', attempt: 1, payload: { scene: 1 }, endsBy: null },
    });
    const held = 'requests/v1/tasks/t1';
    expect(await post(`${held}/report`, { attempt: 1, progress: 0.5 })).toMatchObject({
      status: 200,
      body: { isCancelling: false },
    });
    expect(await post(`${held}/complete`, { attempt: 2 })).toMatchObject({
      status: 409,
      body: { code: 'task.lease-lost' },
    });
    expect(await post(`${held}/complete`, { attempt: 1, resultData: { frames: 72 } })).toMatchObject({
      status: 200,
    });
    const { body } = await post('requests/v1/complete', { videoUrl: 'https://videos.example/v1' });
    expect(await call('GET', '/v1/video/requests/v1', undefined, after(String(body.position)))).toMatchObject(
      {
        status: 200,
        body: {
          status: 'completed',
          progress: 1,
          videoUrl: 'https://videos.example/v1',
          language: 'es',
          tasks: [{ id: 't1', status: 'completed', resultData: { frames: 72 } }],
        },
      },
    );
    expect(await call('GET', `/v1/video/${held}/attempts`)).toMatchObject({
      body: [{ attempt: 1, worker: 'w1', outcome: 'completed' }],
    });
    // What did we know before anybody had claimed it?
    expect(await call('GET', '/v1/video/requests/v1?asOf=1')).toMatchObject({
      body: { status: 'queued', tasks: [{ status: 'pending' }] },
    });
    expect(await call('GET', '/v1/video/requests?status=completed&userId=ann')).toMatchObject({
      body: { total: 1, items: [{ id: 'v1' }] },
    });
  });

  it('says that there is no task, and how much waits', async () => {
    expect(await post('tasks/claim', { ...claim, waitSeconds: 0 })).toMatchObject({ status: 204 });
    expect(await post('tasks/claim', { types: [], worker: '' })).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'types' }, { field: 'worker' }] },
    });
    await post('requests', { id: 'v2', userId: 'ann', title: 'Two', textPrompt: 'Two fjords' });
    const { body } = await post('requests/v2/tasks', { id: 't1', taskType: 'mux' });
    expect(await call('GET', '/v1/video/queue', undefined, after(String(body.position)))).toMatchObject({
      body: [{ taskType: 'mux', waiting: 1, scheduled: 0, processing: 0, dead: 0 }],
    });
  });

  it('runs commands and queries by name', async () => {
    const query = { query: 'GetVideoRequest', parameters: { videoRequestId: 'v2' }, serviceName: 'test' };
    expect(await call('POST', '/v1/queries', query)).toMatchObject({
      body: { data: { id: 'v2', status: 'queued' } },
    });
    const command = {
      command: 'CancelVideoRequest',
      parameters: { videoRequestId: 'v2' },
      serviceName: 'test',
    };
    expect(await call('POST', '/v1/commands', command)).toMatchObject({ body: { affectedRows: 2 } });
    // Only the queue sends it: it knows the time of the database.
    const claiming = { command: 'ClaimTask', parameters: {}, serviceName: 'test' };
    expect(await call('POST', '/v1/commands', claiming)).toMatchObject({ body: { code: 'command.unknown' } });
  });
});
