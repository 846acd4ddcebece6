import { randomBytes } from 'node:crypto';
import { open, readFile, rm, stat } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ensureTree, type Tree, treeAt } from './binaries.js';
import { dataPlace, isMade, makeCluster, serverEnv, socketPlace, writeSettings } from './cluster.js';
import { ensureDatabase } from './connect.js';
import { DatabaseError, reasonOf } from './database-error.js';
import { isThere } from './files.js';
import { dataOf, type Instance, logOf, type PrivateRecord, urlOf, writeRecord } from './instance.js';
import { freePort, isFree } from './ports.js';
import { clearLeftovers, runningPid } from './postmaster.js';
import { type Progress, seconds, step } from './progress.js';
import { run } from './run.js';
import { canReach, give, serverUser, type ServerUser } from './server-user.js';

/** `fast` writes a checkpoint and ends connections; `immediate` just ends, so that the next start recovers. */
export type StopMode = 'fast' | 'immediate';

/**
 * Makes sure that the private server of an instance runs, and creates whatever is missing: the unpacked PostgreSQL, the
 * cluster, the process, the database. The caller holds the instance's lock.
 */
export async function startPrivate(
  of: Instance,
  known: PrivateRecord | undefined,
  { env, progress, signal }: { env: NodeJS.ProcessEnv; progress: Progress; signal?: AbortSignal | undefined },
): Promise<PrivateRecord> {
  if (known && (await runningPid(known)) !== undefined) {
    await ready(known, signal);
    return known;
  }
  const since = performance.now();
  const user = await serverUser(known && dataOf(known));
  const tree = (await knownTree(known, user)) ?? (await ensureTree(user, env, progress, signal));
  const folder = known && (await isMade(known)) ? known.folder : await dataPlace(of, user, progress);
  const record: PrivateRecord = {
    source: 'private',
    port: known?.port ?? (await freePort()),
    password: known?.password ?? randomBytes(18).toString('base64url'),
    folder,
    socket: await socketPlace(folder, known?.socket, user),
    tree: tree.path,
  };
  await writeRecord(of, record);
  if (!(await isMade(record))) {
    await step(progress, `making a new database cluster in ${dataOf(record)}`, () =>
      makeCluster(record, user, tree),
    );
  }
  signal?.throwIfAborted();
  const started = await start(of, record, user, tree, progress);
  await ready(started, signal);
  progress(
    `[db] PostgreSQL runs at 127.0.0.1:${started.port} (${of.instance}), up in ${seconds(performance.now() - since)}`,
  );
  return started;
}

/**
 * Stops exactly the server that runs on the recorded data folder; returns when it has ended.
 *
 * @returns false if it did not run
 */
export async function stopPrivate(record: PrivateRecord, mode: StopMode): Promise<boolean> {
  const pid = await runningPid(record);
  if (pid === undefined) return false;
  const user = await serverUser(dataOf(record));
  try {
    await pgCtl(['stop', '-m', mode, '-t', '120'], record, user, treeAt(record.tree));
  } catch (error) {
    if ((await runningPid(record)) === undefined) return true;
    throw new DatabaseError(
      'database.stop',
      {
        what: `PostgreSQL (process ${pid}) did not stop.`,
        why: reasonOf(error),
        todo: `See ${logOf(record)}; end process ${pid} with SIGQUIT if it hangs.`,
      },
      { cause: error },
    );
  }
  return true;
}

/** Deletes the data, the log and the socket folder of a server that does not run. */
export async function deletePrivate(record: PrivateRecord): Promise<void> {
  for (const path of [dataOf(record), `${dataOf(record)}.new`, logOf(record), record.socket]) {
    await rm(path, { recursive: true, force: true });
  }
}

/** The tree that the instance ran on, as long as it exists. */
async function knownTree(known: PrivateRecord | undefined, user: ServerUser): Promise<Tree | undefined> {
  if (!known) return undefined;
  const tree = treeAt(known.tree);
  return (await isThere(join(tree.bin, 'postgres'))) && (await canReach(user, tree.bin)) ? tree : undefined;
}

/** Starts the server on the recorded port, or on another one if that is in use, and records it. */
async function start(
  of: Instance,
  wanted: PrivateRecord,
  user: ServerUser,
  tree: Tree,
  progress: Progress,
): Promise<PrivateRecord> {
  const log = logOf(wanted);
  const patience = Date.now() + 15_000;
  await clearLeftovers(wanted);
  for (;;) {
    const record = { ...wanted, port: await freePort(wanted.port) };
    if (record.port !== wanted.port) progress(`[db] port ${wanted.port} is taken, using ${record.port}`);
    await writeRecord(of, record);
    await writeSettings(record, user, tree);
    await openedLog(log, user);
    const before = (await stat(log)).size;
    try {
      await pgCtl(['start', '-l', log, '-t', '600'], record, user, tree);
      const pid = await runningPid(record);
      if (pid === undefined) throw new Error('pg_ctl returned, but the server does not run');
      const started = { ...record, pid };
      await writeRecord(of, started);
      return started;
    } catch (error) {
      const said = await endOf(log, before);
      // Another process may have taken the port since the check; processes of a killed server may still be ending.
      const passes = said.includes('pre-existing shared memory block') || !(await isFree(record.port));
      if (passes && Date.now() < patience) {
        await sleep(100);
        continue;
      }
      throw new DatabaseError(
        'database.start',
        {
          what: `PostgreSQL did not start (${of.instance}, ${dataOf(record)}).`,
          why: said || reasonOf(error),
          todo: `See ${log}. If the data are of no use any more, \`waylog db reset --yes\` starts from scratch.`,
        },
        { cause: error },
      );
    }
  }
}

/**
 * The log shows statements, and so data: other users must not be able to read it, including a log that an earlier
 * version created with wider rights.
 */
async function openedLog(log: string, user: ServerUser): Promise<void> {
  const handle = await open(log, 'a', 0o600);
  try {
    await handle.chmod(0o600);
  } finally {
    await handle.close();
  }
  await give(log, user);
}

/**
 * pg_ctl gives the server its own session, so it outlives this process and the terminal. Each process of the server
 * gets a limit on its data, which PostgreSQL has no setting for. A statement that needs more fails by itself ("out of
 * memory"). Otherwise the operating system would kill a process, and PostgreSQL would then end all sessions. Shared
 * buffers do not count.
 */
const pgCtl = (
  args: readonly string[],
  record: PrivateRecord,
  user: ServerUser,
  tree: Tree,
): Promise<string> =>
  run(
    '/bin/sh',
    // If the system has no such limit, or a lower one, the server starts all the same.
    [
      '-c',
      `ulimit -d ${MAX_DATA_KB} 2> /dev/null; exec "$0" "$@"`,
      join(tree.bin, 'pg_ctl'),
      ...args,
      '-D',
      dataOf(record),
      '-w',
      '-s',
    ],
    { as: user.as, env: serverEnv(tree) },
  );

/** A sixteenth of the machine's memory for one process, and at least half a gigabyte. */
const MAX_DATA_KB = Math.max(512 * 1024, Math.floor(totalmem() / 16 / 1024));

async function ready(record: PrivateRecord, signal?: AbortSignal): Promise<void> {
  try {
    await ensureDatabase((database) => urlOf(record, database), { ms: 600_000, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new DatabaseError(
      'database.unreachable',
      {
        what: `PostgreSQL runs at 127.0.0.1:${record.port}, but does not let us in.`,
        why: reasonOf(error),
        todo: `See ${logOf(record)}. If the data are of no use any more, \`waylog db reset --yes\` starts from scratch.`,
      },
      { cause: error },
    );
  }
}

async function endOf(log: string, from: number): Promise<string> {
  const text = await readFile(log).catch(() => Buffer.alloc(0));
  return text.subarray(from).toString('utf8').trim().split('\n').slice(-15).join('\n');
}
