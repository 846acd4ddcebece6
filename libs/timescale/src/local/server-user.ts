import { chown, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';

import { DatabaseError, reasonOf } from './database-error.js';
import { type Identity, run, succeeds } from './run.js';

/** The user that the private server runs as, and whether that is somebody else than we are. */
export interface ServerUser {
  readonly name: string;
  /** Set when we are root: PostgreSQL refuses to run as uid 0, so it runs as this one. */
  readonly as?: Identity;
}

const MADE_USER = 'waylog-postgres';

/**
 * An ordinary user runs the server; for root it is the one whose data they are, else `postgres`, else a system
 * user made for it when the machine has none.
 *
 * @param data the data folder, if it has been made
 */
export async function serverUser(data?: string): Promise<ServerUser> {
  if (process.getuid?.() !== 0) return { name: userInfo().username };
  const owner = data === undefined ? undefined : await stat(data).catch(() => undefined);
  if (owner && owner.uid !== 0) return { name: `user ${owner.uid}`, as: { uid: owner.uid, gid: owner.gid } };
  for (const name of ['postgres', MADE_USER]) {
    const as = await identityOf(name);
    if (as) return { name, as };
  }
  try {
    await run('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', MADE_USER]);
    const as = await identityOf(MADE_USER);
    if (as) return { name: MADE_USER, as };
    throw new Error('useradd returned, but the user is not there');
  } catch (error) {
    throw new DatabaseError(
      'database.install',
      {
        what: 'There is no user to run PostgreSQL as.',
        why: `PostgreSQL does not run as root, and making the user ${MADE_USER} failed: ${reasonOf(error)}`,
        todo: 'Run this as an ordinary user, or make a system user named postgres.',
      },
      { cause: error },
    );
  }
}

/** Whether that user can pass through every folder down to this one (/root, for one, lets nobody else in). */
export const canReach = (user: ServerUser, folder: string): Promise<boolean> =>
  user.as ? succeeds('test', ['-x', folder], { as: user.as }) : Promise.resolve(true);

/** Makes a file or folder of ours the server's. */
export const give = (path: string, user: ServerUser): Promise<void> =>
  user.as ? chown(path, user.as.uid, user.as.gid) : Promise.resolve();

/** Writes a file that only the server may read. */
export async function writeFor(user: ServerUser, path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  await give(path, user);
}

async function identityOf(name: string): Promise<Identity | undefined> {
  const id = async (flag: string) => Number(await run('id', [flag, name]));
  try {
    return { uid: await id('-u'), gid: await id('-g') };
  } catch {
    return undefined;
  }
}
