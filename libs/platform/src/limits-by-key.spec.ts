import { LimitsByKey } from './limits-by-key.js';

describe('limits by key', () => {
  /** Works that end when told to, and the names of those that have begun. */
  function works(limits: LimitsByKey) {
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const run = (key: string, name: string) =>
      limits.run(key, () => {
        begun.push(name);
        return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
      });
    return { begun, run, end: (name: string) => ends.get(name)?.() };
  }
  const turn = () => new Promise(setImmediate);

  it('let works of one key wait for each other, and not for those of others', async () => {
    const limits = new LimitsByKey(() => 2);
    const { begun, run, end } = works(limits);
    const all = [run('a', 'a1'), run('a', 'a2'), run('a', 'a3'), run('b', 'b1')];
    await turn();
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    expect([limits.waiting('a'), limits.waiting('b'), limits.waiting('c')]).toEqual([1, 0, 0]);
    end('a2');
    await turn();
    expect(begun.at(-1)).toBe('a3');
    for (const name of begun) end(name);
    expect(await Promise.all(all)).toEqual(['a1', 'a2', 'a3', 'b1']);
  });

  it('can change while works wait', async () => {
    let atOnce = 1;
    const limits = new LimitsByKey(() => atOnce);
    const { begun, run, end } = works(limits);
    const all = [run('a', 'a1'), run('a', 'a2')];
    await turn();
    expect(begun).toEqual(['a1']);
    atOnce = 2;
    limits.adjust('a');
    await turn();
    expect(begun).toEqual(['a1', 'a2']);
    for (const name of begun) end(name);
    await Promise.all(all);
  });

  it('go on after a work that failed', async () => {
    const limits = new LimitsByKey(() => 1);
    const failed = limits.run('a', () => Promise.reject(new Error('no')));
    const next = limits.run('a', () => Promise.resolve('yes'));
    await expect(failed).rejects.toThrow('no');
    expect(await next).toBe('yes');
  });
});
