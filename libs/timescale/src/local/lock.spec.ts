import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { withLock } from './lock.js';

describe('withLock', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('lets one caller at a time work, and leaves nothing behind', async () => {
    let inside = 0;
    let most = 0;
    const work = () =>
      withLock(join(folder, 'lock'), async () => {
        most = Math.max(most, ++inside);
        await sleep(5);
        inside--;
      });
    await Promise.all(Array.from({ length: 8 }, work));
    expect(most).toBe(1);
    expect(await readdir(folder)).toEqual([]);
  });

  it('takes over from a process that has died, even if another process has its pid by now', async () => {
    await writeFile(join(folder, 'lock.4194303999.17'), '');
    await writeFile(join(folder, `lock.${process.ppid}.1`), '');
    expect(await withLock(join(folder, 'lock'), () => Promise.resolve('done'), { timeoutMs: 1_000 })).toBe(
      'done',
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it('waits for a live process, reports it, and fails with an error that names it', async () => {
    await writeFile(join(folder, `lock.${process.ppid}.0`), '');
    const waited: number[] = [];
    const attempt = withLock(join(folder, 'lock'), () => Promise.resolve(), {
      timeoutMs: 100,
      onWait: (pid) => waited.push(pid),
    });
    await expect(attempt).rejects.toMatchObject({ code: 'database.locked' });
    expect(waited).toEqual([process.ppid]);
  });

  it('is free again after work that failed', async () => {
    const failing = withLock(join(folder, 'lock'), () => Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    expect(await withLock(join(folder, 'lock'), () => Promise.resolve(1), { timeoutMs: 1_000 })).toBe(1);
  });
});
