import { mkdir, mkdtemp, open, rename, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { hasLibrary, type Tree } from './binaries.js';
import { DatabaseError, reasonOf } from './database-error.js';
import { isThere, makeFolder } from './files.js';
import { dataOf, hashOf, type Instance, instanceFolder, type PrivateRecord } from './instance.js';
import type { Progress } from './progress.js';
import { run } from './run.js';
import { canReach, give, type ServerUser, writeFor } from './server-user.js';

/**
 * Of all connections together. Work on a whole hypertable locks every chunk of it with its indexes: half of these are
 * enough for 3,000 chunks of each hypertable. They use 40 MB of shared memory if all are taken.
 */
export const MAX_LOCKS = 512;

const SYSTEM_DATA = '/var/lib/waylog';

/** The instance's folder, or one in /var/lib if the server's user cannot pass through to the checkout. */
export async function dataPlace(of: Instance, user: ServerUser, progress: Progress): Promise<string> {
  const own = instanceFolder(of);
  await makeFolder(own);
  if (await canReach(user, own)) return own;
  const other = join(SYSTEM_DATA, hashOf(of.root), of.instance);
  progress(`[db] ${user.name}, who runs the server, cannot reach ${own}: the data goes to ${other}`);
  await makeFolder(other);
  return other;
}

/** In the instance's folder if the path of a socket in it fits into the 107 bytes of a socket's name. */
export async function socketPlace(
  folder: string,
  known: string | undefined,
  user: ServerUser,
): Promise<string> {
  const own = join(folder, 'socket');
  const fits = Buffer.byteLength(join(own, '.s.PGSQL.65535.lock')) <= 107;
  if (!fits && known !== undefined && (await isThere(known))) return known;
  const path = fits ? own : await mkdtemp(join(tmpdir(), 'waylog-'));
  await mkdir(path, { recursive: true, mode: 0o700 });
  await give(path, user);
  return path;
}

export const isMade = (record: PrivateRecord): Promise<boolean> =>
  isThere(join(dataOf(record), 'PG_VERSION'));

/** Creates the cluster beside its place and moves it there when complete. */
export async function makeCluster(record: PrivateRecord, user: ServerUser, tree: Tree): Promise<void> {
  const data = dataOf(record);
  const fresh = `${data}.new`;
  const passwordFile = join(record.folder, 'initial-password');
  try {
    for (const left of [fresh, data]) await rm(left, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    await give(fresh, user);
    await writeFor(user, passwordFile, `${record.password}\n`);
    await run(
      join(tree.bin, 'initdb'),
      [
        ...['-D', fresh, '-U', 'waylog', `--pwfile=${passwordFile}`],
        ...['--locale=C.UTF-8', '-E', 'UTF8', '--data-checksums', '-A', 'scram-sha-256'],
      ],
      { as: user.as, env: serverEnv(tree) },
    );
    const conf = await open(join(fresh, 'postgresql.conf'), 'a');
    await conf.appendFile(
      "\n# Waylog's settings, rewritten at each start. Yours go below this line and win.\ninclude 'waylog.conf'\n",
    );
    await conf.close();
    await rename(fresh, data);
  } catch (error) {
    throw new DatabaseError(
      'database.start',
      {
        what: `Making a database cluster in ${data} failed.`,
        why: reasonOf(error),
        todo: 'Put the reason right and run this again, or set DATABASE_URL.',
      },
      { cause: error },
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** Writes the settings for the next start. Durability is PostgreSQL's default: full. */
export async function writeSettings(record: PrivateRecord, user: ServerUser, tree: Tree): Promise<void> {
  const preload = (await hasLibrary(tree, 'pg_stat_statements'))
    ? 'timescaledb,pg_stat_statements'
    : 'timescaledb';
  // Debian's PostgreSQL has no zone files of its own; without the host's, GMT is the only zone it knows.
  const zone = (await isThere('/usr/share/zoneinfo/UTC')) ? 'UTC' : 'GMT';
  await writeFor(
    user,
    join(dataOf(record), 'waylog.conf'),
    `# Written by waylog at each start: changes here are lost.
listen_addresses = '127.0.0.1'
port = ${record.port}
unix_socket_directories = '${record.socket.replaceAll("'", "''")}'
max_connections = 200
max_locks_per_transaction = ${MAX_LOCKS}
shared_preload_libraries = '${preload}'
timescaledb.telemetry_level = off
shared_buffers = 256MB
max_wal_size = 4GB
dynamic_shared_memory_type = ${await sharedMemory()}
jit = off
timezone = '${zone}'
log_timezone = '${zone}'
log_min_messages = warning
log_line_prefix = '%m [%p] '
`,
  );
}

/** Only the path of the caller's environment: PGPORT and others would affect the server. */
export const serverEnv = (tree: Tree): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  LOCPATH: tree.locales,
});

/** Containers often have only 64 MB of POSIX shared memory, on which parallel queries fail; System V's is separate. */
async function sharedMemory(): Promise<'posix' | 'sysv'> {
  const shm = await statfs('/dev/shm').catch(() => undefined);
  return shm && shm.bsize * shm.blocks >= 512 * 1024 * 1024 ? 'posix' : 'sysv';
}
