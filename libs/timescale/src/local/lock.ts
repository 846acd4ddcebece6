import { open, readdir, readFile, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { codeOf, DatabaseError } from './database-error.js';
import { makeFolder } from './files.js';

export interface LockOptions {
  /** Called once, with the pid of the holder, if this process has to wait. */
  readonly onWait?: (pid: number) => void;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `work` while no other process (and no other call in this one) runs work under the same `path`.
 *
 * A claim is an empty file `<path>.<pid>.<start time of the process>`, so it identifies its process, and a reused pid
 * is not mistaken for the holder. A process first writes its claim and then looks for others: of two that do so at the
 * same time at least one sees the other and steps back. Any process removes the claims of dead ones. Their names never
 * occur again, so no live claim can be removed by mistake (the weakness of a single shared lock file that is replaced
 * when stale).
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  await makeFolder(dirname(path));
  const mine = `${path}.${process.pid}.${(await startOf(process.pid)) ?? '0'}`;
  const patience = Date.now() + (options.timeoutMs ?? 15 * 60_000);
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    let holder = await holderOf(path);
    if (holder === undefined) {
      if (await claim(mine)) {
        holder = await holderOf(path, mine);
        if (holder === undefined) break;
        await unlink(mine);
      } else holder = process.pid;
    }
    if (!told) options.onWait?.(holder);
    told = true;
    if (Date.now() > patience) {
      throw new DatabaseError('database.locked', {
        what: `Waited too long for ${path}.`,
        why: `Process ${holder} holds it and is alive.`,
        todo: `See what process ${holder} does; end it if it hangs, then run this again.`,
      });
    }
    await sleep(40 + Math.random() * 120);
  }
  try {
    return await work();
  } finally {
    await unlink(mine).catch(() => undefined);
  }
}

async function claim(file: string): Promise<boolean> {
  try {
    await (await open(file, 'wx')).close();
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** The pid of a live claim other than `mine`; dead claims are removed on the way. */
async function holderOf(path: string, mine?: string): Promise<number | undefined> {
  const prefix = `${basename(path)}.`;
  for (const name of await readdir(dirname(path))) {
    const file = join(dirname(path), name);
    const [, pid, start] = name.startsWith(prefix)
      ? (/^(\d+)\.(\d+)$/.exec(name.slice(prefix.length)) ?? [])
      : [];
    if (pid === undefined || file === mine) continue;
    if (await isAlive(Number(pid), start)) return Number(pid);
    await unlink(file).catch(() => undefined);
  }
  return undefined;
}

async function isAlive(pid: number, start: string | undefined): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false;
  }
  const now = await startOf(pid);
  return now === undefined || start === '0' || now === start;
}

/** When a process started, in clock ticks since boot (proc(5), field 22); undefined without /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}
