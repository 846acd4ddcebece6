import { once } from 'node:events';
import { conflict, unavailable } from '#lib/platform';
import type { InHand, TaskInHand, TaskQueue } from './task-queue.api.js';
import { TaskRefused, TaskWorker, type DoTask } from './task-worker.api.js';

const task: TaskInHand = {
  videoRequestId: 'v1',
  taskId: 't1',
  taskType: 'render',
  payload: {},
  attempt: 1,
  leaseUntil: '2026-05-01T12:00:30.000Z',
  endsBy: null,
};

/** A queue with one task, and what was said of it. */
function queueOfOne(report: () => { isCancelling: boolean } = () => ({ isCancelling: false })) {
  const said: unknown[] = [];
  let tell: () => void = () => undefined;
  const isSaid = new Promise<void>((resolve) => (tell = resolve));
  let left = 1;
  const say =
    (what: string) =>
    (_: InHand, with_?: unknown): Promise<unknown> => {
      said.push([what, with_]);
      tell();
      return Promise.resolve({});
    };
  const queue = {
    claim: async (_claim: unknown, _sender: unknown, signal: AbortSignal) => {
      if (left-- > 0) return task;
      if (!signal.aborted) await once(signal, 'abort');
      return undefined;
    },
    report: () =>
      new Promise((resolve) => {
        resolve({ leaseUntil: task.leaseUntil, ...report() });
      }),
    complete: say('complete'),
    fail: say('fail'),
    release: say('release'),
  };
  return { queue: queue as unknown as TaskQueue, said, isSaid };
}

const begin = (queue: TaskQueue, doTask: DoTask) =>
  new TaskWorker(queue, { types: ['render'], worker: 'w1', leaseSeconds: 0.03 }, doTask);
const untilTold = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('told to stop')));
  });

describe('a worker in this process', () => {
  it('says what came of a task', async () => {
    const { queue, said, isSaid } = queueOfOne();
    const worker = begin(queue, () => Promise.resolve({ frames: 72 }));
    await isSaid;
    await worker.stop();
    expect(said).toEqual([['complete', { frames: 72 }]]);
  });

  it.each([
    ['is tried again', new Error('no light'), true],
    ['is not, if it would fail again', new TaskRefused('no light'), false],
  ])('says that it failed, and it %s', async (_, error, isRetryable) => {
    const { queue, said, isSaid } = queueOfOne();
    const worker = begin(queue, () => Promise.reject(error));
    await isSaid;
    await worker.stop();
    expect(said).toEqual([['fail', { errorMessage: 'no light', isRetryable }]]);
  });

  it('gives a task back whose request is cancelled', async () => {
    const { queue, said, isSaid } = queueOfOne(() => ({ isCancelling: true }));
    const worker = begin(queue, (_task, { signal }) => untilTold(signal));
    await isSaid;
    await worker.stop();
    expect(said).toEqual([['release', { actor: 'worker:w1' }]]);
  });

  it('stops working on a task that another worker has, and says nothing of it', async () => {
    let isLost: () => void = () => undefined;
    const lost = new Promise<void>((resolve) => (isLost = resolve));
    const { queue, said } = queueOfOne(() => {
      throw conflict('task.lease-lost', 'Another one has it.');
    });
    const worker = begin(queue, (_task, { signal }) => {
      signal.addEventListener('abort', isLost);
      return untilTold(signal);
    });
    await lost;
    await worker.stop();
    expect(said).toEqual([]);
  });

  it('goes on while nobody answers its reports', async () => {
    let reports = 0;
    let go: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (go = resolve));
    const { queue, said, isSaid } = queueOfOne(() => {
      if (++reports === 3) go();
      throw unavailable('database.unavailable', 'Nobody answers.');
    });
    const worker = begin(queue, async () => {
      await gone;
      return undefined;
    });
    await isSaid;
    await worker.stop();
    expect(said).toEqual([['complete', undefined]]);
  });

  it('gives back what it is doing when it is stopped', async () => {
    let begun: () => void = () => undefined;
    const isBegun = new Promise<void>((resolve) => (begun = resolve));
    const { queue, said } = queueOfOne();
    const worker = begin(queue, (_task, { signal }) => {
      begun();
      return untilTold(signal);
    });
    await isBegun;
    await worker.stop();
    expect(said).toEqual([['release', { actor: 'worker:w1' }]]);
  });
});
