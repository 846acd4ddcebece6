import { CutSessions } from './cut-sessions.js';

const fail = (error: unknown) => {
  throw error;
};

describe('sessions that were cut', () => {
  it('are checked together until the database no longer has them, and never if there are none', async () => {
    const running = new Set([7, 8]);
    const asked: (readonly number[])[] = [];
    let looked: () => void = () => undefined;
    const cut = new CutSessions((pids) => {
      asked.push(pids);
      looked();
      return Promise.resolve(pids.filter((pid) => running.has(pid)));
    });
    const next = () => new Promise<void>((resolve) => (looked = resolve));
    const gone: number[] = [];
    for (const pid of [7, 8, 9]) cut.gone(pid).then(() => gone.push(pid), fail);
    expect(asked).toEqual([]);
    await next();
    expect(asked).toEqual([[7, 8, 9]]);
    running.delete(8);
    await next();
    await next();
    expect(gone).toEqual([9, 8]);
    running.clear();
    await next();
    const looks = asked.length;
    await cut.gone(10);
    expect(gone).toEqual([9, 8, 7]);
    expect(asked.slice(looks)).toEqual([[10]]);
  });

  it('stay while the database does not answer, and are given up when the checks stop', async () => {
    let looks = 0;
    let looked: () => void = () => undefined;
    const cut = new CutSessions(() => {
      looks++;
      looked();
      return Promise.reject(new Error('refused'));
    });
    let isGone = false;
    const gone = cut.gone(7).then(() => (isGone = true));
    while (looks < 3) await new Promise<void>((resolve) => (looked = resolve));
    expect(isGone).toBe(false);
    cut.close();
    await gone;
    await cut.gone(8);
    expect(looks).toBe(3);
  });
});
