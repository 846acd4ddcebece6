import { readdir, readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { dataOf, type PrivateRecord } from './instance.js';

/**
 * The postmaster of this data folder, if it runs. A pid in postmaster.pid that belongs to another process (left over
 * from a crash or a reboot) does not count.
 */
export async function runningPid(record: PrivateRecord): Promise<number | undefined> {
  const pid = pidIn(await pidFile(record));
  return pid !== undefined && (await whose(pid, dataOf(record))) === 'ours' ? pid : undefined;
}

/**
 * Removes what a crash left and what would keep PostgreSQL from starting. PostgreSQL takes any live process of its user
 * for another postmaster, even one that has got the pid by chance, or a dead one that has not been reaped yet
 * (containers without an init are full of those).
 *
 * postmaster.pid is not removed but gets a pid that no process has. PostgreSQL then still checks, by the shared memory
 * that the file names, that no process of the dead server uses the data.
 */
export async function clearLeftovers(record: PrivateRecord): Promise<void> {
  const content = await pidFile(record);
  const pid = pidIn(content);
  const owner = pid === undefined ? 'nobody' : await whose(pid, dataOf(record));
  if (owner === 'ours' || owner === 'unclear') return;
  if (owner === 'foreign') await writeFile(pidPath(record), content.replace(/^\d+/, NOBODY));
  const sockets = await readdir(record.socket).catch(() => []);
  for (const name of sockets.filter((s) => s.startsWith('.s.PGSQL.'))) await rm(join(record.socket, name));
}

/** Greater than any pid that Linux assigns (pid_max is at most 2^22). */
const NOBODY = '2147483647';

const pidPath = (record: PrivateRecord): string => join(dataOf(record), 'postmaster.pid');

const pidFile = (record: PrivateRecord): Promise<string> => readFile(pidPath(record), 'utf8').catch(() => '');

function pidIn(content: string): number | undefined {
  const pid = Number(/^\d+/.exec(content)?.[0]);
  return pid > 0 ? pid : undefined;
}

/**
 * The data folder of a process. A postmaster works in its data folder, even after the folder was moved. If that cannot
 * be read (root in a container, for one, has no rights on other users' processes), its command line says at least where
 * it was started. A dead process that has not been reaped has no command line.
 */
async function whose(pid: number, data: string): Promise<'nobody' | 'ours' | 'foreign' | 'unclear'> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  if (command === undefined) return 'nobody';
  const args = command.split('\0');
  if (basename(args[0] ?? '') !== 'postgres') return 'foreign';
  const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  if (cwd !== undefined) return cwd === (await realpath(data)) ? 'ours' : 'foreign';
  return args[args.indexOf('-D') + 1] === data ? 'ours' : 'unclear';
}
