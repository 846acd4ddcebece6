import { execFile } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '#lib/platform';
import {
  databaseDown,
  databaseKill,
  databaseStatus,
  databaseUp,
  toolCommand,
  type DatabaseOptions,
} from '#lib/timescale';

// Special places for the database server of a scenario.

const run = promisify(execFile);

/** A database server for a scenario; `leave` puts everything back. */
export interface Place {
  readonly instance: DatabaseOptions;
  readonly leave: () => Promise<void>;
}

/** Room for an empty cluster, its log of changes, and some minutes of load. */
const DISK_MB = 320;

export const diskFolder = (instance: DatabaseOptions): string =>
  join(instance.root, '.waylog', instance.instance);

/** Why there can be no file system of a limited size here; undefined if there can. */
export async function whyNoSmallDisk(instance: DatabaseOptions): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'only root on Linux may mount a file system of a limited size';
  if ((await sourceOf(instance)) !== 'private') return 'the data of the database server are in a container';
  const folder = join(instance.root, '.waylog', 'mount-trial');
  mkdirSync(folder, { recursive: true });
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
    await run('umount', [folder]);
    return undefined;
  } catch (error) {
    return `mounting is not allowed here: ${messageOf(error).trim()}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A database server whose data folder is on a separate file system in memory that can be filled. */
export async function onSmallDisk(base: DatabaseOptions): Promise<Place> {
  const instance = { ...base, instance: `${base.instance}-disk` };
  const folder = diskFolder(instance);
  mkdirSync(folder, { recursive: true });
  // Left by a run that was killed.
  await databaseKill(instance, 'immediate').catch(() => false);
  await run('umount', [folder]).catch(() => undefined);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MB}m,mode=755`, 'tmpfs', folder]);
  return {
    instance,
    leave: async () => {
      await databaseKill(instance, 'immediate');
      await run('umount', [folder]);
      rmSync(folder, { recursive: true });
    },
  };
}

/** Uses all the space that is left; the returned function frees it. */
export function fillDisk(folder: string): () => void {
  const ballast = join(folder, 'ballast');
  const file = openSync(ballast, 'w');
  const zeros = Buffer.alloc(64 * 1024);
  try {
    // The last few bytes, too.
    for (let size = zeros.length; size > 0;) {
      try {
        writeSync(file, zeros, 0, size);
      } catch (error) {
        if (codeOf(error) !== 'ENOSPC') throw error;
        size = size >> 1;
      }
    }
    fsyncSync(file);
  } catch (error) {
    rmSync(ballast);
    throw error;
  } finally {
    closeSync(file);
  }
  return () => rmSync(ballast);
}

/** Why PostgreSQL's clock cannot be set wrong here; undefined if it can. */
export async function whyNoDatabaseClock(instance: DatabaseOptions): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'the clock of a process can be set wrong on Linux only';
  if ((await sourceOf(instance)) !== 'private') return 'the database server runs in a container';
  return run('cc', ['--version']).then(
    () => undefined,
    () => 'there is no C compiler (cc) for the library that sets the clock wrong',
  );
}

export interface ClockedPlace extends Place {
  /** Sets the clock of the database server off by so many milliseconds from now on. */
  readonly setClock: (offsetMs: number) => void;
}

/** The database server, started again with a clock that can be set. */
export async function withDatabaseClock(instance: DatabaseOptions): Promise<ClockedPlace> {
  const status = await databaseUp(instance).then(() => databaseStatus(instance));
  const { dataFolder, log } = status;
  if (dataFolder === undefined || log === undefined)
    throw new Error('Only a private server has a data folder.');
  // The user who runs the server must be able to read both.
  const folder = join(dataFolder, '..');
  const library = join(folder, 'database-clock.so');
  const clock = join(folder, 'clock');
  await run('cc', [
    '-shared',
    '-fPIC',
    '-O1',
    '-o',
    library,
    join(instance.root, 'test/faults/preload/database-clock.c'),
    '-ldl',
  ]);
  const setClock = (offsetMs: number) => {
    const micros = Buffer.alloc(8);
    micros.writeBigInt64LE(BigInt(Math.round(offsetMs)) * 1_000n);
    // In place: the server has this very file mapped.
    const file = openSync(clock, 'r+');
    writeSync(file, micros, 0, 8, 0);
    closeSync(file);
  };
  writeFileSync(clock, Buffer.alloc(8));
  for (const path of [library, clock]) chmodSync(path, 0o755);
  await databaseDown(instance);
  const { program, args, env } = await toolCommand(instance, 'pg_ctl', [
    ...['start', '-w', '-s', '-t', '120', '-D', dataFolder, '-l', log],
  ]);
  const { uid, gid } = statSync(dataFolder);
  await run(program, args, {
    cwd: '/',
    env: { ...env, LD_PRELOAD: library, FAULTS_CLOCK_FILE: clock },
    ...(process.getuid?.() === 0 && { uid, gid }),
  });
  return {
    instance,
    setClock,
    leave: async () => {
      await databaseDown(instance);
      await databaseUp(instance);
    },
  };
}

export const sourceOf = async (instance: DatabaseOptions): Promise<string> =>
  (await databaseUp(instance)).source;

// Not by `instanceof`: in jest an error of Node's own is of another realm.
const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;
