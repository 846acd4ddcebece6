import { createHash } from 'node:crypto';
import { chown, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join, relative, resolve } from 'node:path';

import { codeOf, DatabaseError } from './database-error.js';
import { makeFolder } from './files.js';

/** A database of a checkout. */
export interface Instance {
  /** The checkout's folder. */
  readonly root: string;
  /** `dev`, `test`, ...: letters, digits, `-` and `_`. */
  readonly instance: string;
}

/** The stored state of an instance, in `.waylog/<instance>/server.json` (mode 0600). */
export type InstanceRecord = DockerRecord | PrivateRecord;

interface Access {
  /** Of 127.0.0.1. */
  readonly port: number;
  /** Of the role `waylog`. */
  readonly password: string;
}

export interface DockerRecord extends Access {
  readonly source: 'docker';
}

export interface PrivateRecord extends Access {
  readonly source: 'private';
  /** Where data and log are. Not always the instance's own folder, see `dataPlace`. */
  readonly folder: string;
  /** The folder of its unix socket. */
  readonly socket: string;
  /** The unpacked PostgreSQL it runs on. */
  readonly tree: string;
  /** The postmaster, as of the last start. */
  readonly pid?: number;
}

/** `<root>/.waylog/<instance>`. */
export const instanceFolder = ({ root, instance }: Instance): string =>
  join(resolve(root), '.waylog', checkedName(instance));

/** Short and stable, so that two checkouts with instances of the same name never meet. */
export const hashOf = (root: string): string =>
  createHash('sha256').update(resolve(root)).digest('hex').slice(0, 10);

/** @returns undefined if the instance has never been started, or was reset */
export async function readRecord(of: Instance): Promise<InstanceRecord | undefined> {
  const file = recordFile(of);
  try {
    const record = JSON.parse(await readFile(file, 'utf8')) as InstanceRecord;
    if (record.source === 'docker') return record;
    return {
      ...record,
      folder: resolve(instanceFolder(of), record.folder),
      socket: resolve(instanceFolder(of), record.socket),
    };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new DatabaseError(
      'database.instance',
      codeOf(error) === 'EACCES'
        ? {
            what: `The database instance '${of.instance}' of ${of.root} is another user's.`,
            why: `${userInfo().username} may not read ${file}.`,
            todo: `Run this as the user who made it, or use an instance of another name, or remove ${instanceFolder(of)}.`,
          }
        : {
            what: `The record of the database instance '${of.instance}' cannot be read.`,
            why: `${file}: ${String(error)}`,
            todo: `Remove ${instanceFolder(of)} (this gives up its data) and run this again.`,
          },
      { cause: error },
    );
  }
}

/** Replaces the record as a whole: a reader sees the old one or the new one. */
export async function writeRecord(of: Instance, record: InstanceRecord): Promise<void> {
  await makeFolder(instanceFolder(of));
  const stored =
    record.source === 'docker'
      ? record
      : { ...record, folder: within(of, record.folder), socket: within(of, record.socket) };
  const next = `${recordFile(of)}.${process.pid}`;
  await writeFile(next, `${JSON.stringify(stored, null, 2)}\n`, { mode: 0o600 });
  // Root working in another user's checkout must not lock that user out of the instance.
  const { uid, gid } = await stat(instanceFolder(of));
  if (process.getuid?.() === 0) await chown(next, uid, gid);
  await rename(next, recordFile(of));
}

export const lockOf = (of: Instance): string => join(instanceFolder(of), 'lock');

export const dataOf = (record: PrivateRecord): string => join(record.folder, 'data');
export const logOf = (record: PrivateRecord): string => join(record.folder, 'server.log');

export const urlOf = (record: Access, database = 'waylog'): string =>
  `postgres://waylog:${encodeURIComponent(record.password)}@127.0.0.1:${record.port}/${database}`;

/** Relative if it is in the instance's folder, so that a checkout can be moved or copied. */
function within(of: Instance, path: string): string {
  const steps = relative(instanceFolder(of), path);
  return steps.startsWith('..') ? path : steps || '.';
}

const recordFile = (of: Instance): string => join(instanceFolder(of), 'server.json');

function checkedName(instance: string): string {
  if (/^[a-z0-9][a-z0-9_-]{0,40}$/.test(instance)) return instance;
  throw new DatabaseError('database.instance', {
    what: `'${instance}' cannot be the name of a database instance.`,
    why: 'It becomes a folder and a Docker project name.',
    todo: 'Use up to 41 lower-case letters, digits, - and _, starting with a letter or a digit.',
  });
}
