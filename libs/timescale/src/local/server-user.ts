import { chown, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';

import { DatabaseError, reasonOf } from './database-error.js';
import { type Identity, run, succeeds } from './run.js';

/** The user that the private server runs as, and whether it is another user than that of this process. */
export interface ServerUser {
  readonly name: string;
  /** Set if this process is root: PostgreSQL refuses to run as uid 0, so it runs as this user. */
  readonly as?: Identity;
}

const MADE_USER = 'waylog-postgres';

/**
 * An ordinary user runs the server. For root it is the owner of the data, else `postgres`, else a system user created
 * for it if the machine has none.
 *
 * @param data the data folder, if it exists
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

/** Whether that user can pass through every folder down to this one (/root, for one, admits no other user). */
export const canReach = (user: ServerUser, folder: string): Promise<boolean> =>
  user.as ? succeeds('test', ['-x', folder], { as: user.as }) : Promise.resolve(true);

/** Gives a file or folder to the server's user. */
export const give = (path: string, user: ServerUser): Promise<void> =>
  user.as ? chown(path, user.as.uid, user.as.gid) : Promise.resolve();

/** Writes a file that only the server can read. */
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
