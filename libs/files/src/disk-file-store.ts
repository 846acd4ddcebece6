import { randomUUID } from 'node:crypto';
import {
  constants,
  link,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  rename,
  rmdir,
  stat,
  unlink,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { badName, noFolder, noRoom, noteNotWritten, notRead, unfinishedGone } from './errors.js';
import {
  isSha256,
  type FileStore,
  type ListedFile,
  type OpenFile,
  type PutFile,
  type PutOptions,
  type Removal,
} from './file-store.js';
import { receive } from './receive.js';
import { wholeFile } from './whole-file.js';

/** Files that are being received, each under a name of its own. */
const UNFINISHED = '.unfinished';
/** Files that a removal has taken out of sight, in a folder for each removal. */
const REMOVED = '.removed';
const NOTE = '.note.json';

/** What a disk says that takes or gives no more, and a folder that is not ours, or not what it was. */
const BROKEN: ReadonlySet<unknown> = new Set([
  ...['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EIO', 'EMFILE', 'ENFILE'],
  ...['ENOTDIR', 'EISDIR', 'ELOOP', 'ESTALE', 'EHOSTDOWN', 'ETIMEDOUT'],
]);

/** Others need not read them; the group can, for backups. */
const MODE = 0o640;

/**
 * Files in a folder, at `ab/cd/abcd...`. A file is written beside, flushed to the disk, and renamed to its place, which is
 * one step for everybody who looks; then its folders are flushed. Whoever puts what is there already replaces it by the same
 * bytes: that mends a file that the disk has changed, and makes it new for a removal that is under way.
 *
 * A removal renames files into a folder of its own before it asks whether they are needed. No other removal deletes there, so
 * one that stood still meanwhile, however long, deletes nothing that was put since.
 *
 * The folder itself is never made: what is put while its disk is not mounted would be out of sight once it is.
 */
export class DiskFileStore implements FileStore {
  constructor(private readonly folder: string) {}

  async put(source: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutFile> {
    const unfinished = join(this.folder, UNFINISHED, randomUUID());
    let handle: FileHandle | undefined;
    try {
      const file = await receive(source, options, async () => {
        await this.#make(UNFINISHED);
        const opened = (handle = await open(unfinished, 'wx', MODE));
        return { write: (bytes) => writeAll(opened, bytes) };
      });
      await handle?.sync();
      await handle?.close();
      handle = undefined;
      await this.#finish(unfinished, file.sha256);
      return file;
    } catch (error) {
      // What cannot be removed now, `tidy` removes.
      await handle?.close().catch(() => undefined);
      await unlink(unfinished).catch(() => undefined);
      throw BROKEN.has(codeOf(error)) ? noRoom(String(codeOf(error)), error) : error;
    }
  }

  async open(sha256: string): Promise<OpenFile | undefined> {
    const path = this.#pathOf(sha256);
    // A link could lead to any other file of the machine.
    const opened = await this.#look(sha256, () => open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
    if (!opened) return undefined;
    const found = await opened.stat().catch(async (error: unknown) => {
      await opened.close();
      throw error;
    });
    const { size } = found;
    if (!found.isFile()) {
      await opened.close();
      throw notRead(sha256, 'EISDIR', undefined);
    }
    return {
      size,
      close: () => opened.close(),
      read: (range) => {
        if (range) return opened.createReadStream({ start: range.first, end: range.last });
        const pieces = opened.createReadStream();
        const whole = Readable.from(wholeFile(sha256, pieces), { objectMode: false });
        // One that nobody has begun to read does not end by itself.
        whole.once('close', () => pieces.destroy());
        return whole;
      },
    };
  }

  async stat(sha256: string): Promise<ListedFile | undefined> {
    const path = this.#pathOf(sha256);
    const found = await this.#look(sha256, () => stat(path));
    return found && { sha256, size: found.size, putAt: found.mtimeMs };
  }

  async *list(): AsyncIterable<ListedFile> {
    await this.#refuseWithoutFolder();
    for (const upper of await namesIn(this.folder, /^[0-9a-f]{2}$/))
      for (const lower of await namesIn(join(this.folder, upper), /^[0-9a-f]{2}$/)) {
        const folder = join(this.folder, upper, lower);
        for await (const { name } of await opendir(folder)) {
          if (!isSha256(name) || !name.startsWith(upper + lower)) continue;
          const found = await ifThere(stat(join(folder, name)));
          if (found) yield { sha256: name, size: found.size, putAt: found.mtimeMs };
        }
      }
  }

  async remove(sha256s: readonly string[], { putBefore, needed }: Removal): Promise<string[]> {
    const folder = await this.#make(REMOVED, randomUUID());
    const taken: string[] = [];
    try {
      for (const sha256 of sha256s) if (await this.#takeAway(sha256, folder, putBefore)) taken.push(sha256);
      // Only now: who was told by then that its file is there has recorded before that it is needed.
      const stay = taken.length > 0 ? await needed() : new Set<string>();
      const removed: string[] = [];
      for (const sha256 of taken) {
        if (stay.has(sha256)) continue;
        // It may have been brought back meanwhile, by one who has asked for it.
        if ((await ifThere(unlink(join(folder, sha256)).then(() => true))) === true) removed.push(sha256);
      }
      return removed;
    } finally {
      await this.#bringBackAll(folder);
    }
  }

  async tidy(unfinishedSince: number): Promise<number> {
    const unfinished = join(this.folder, UNFINISHED);
    let removed = 0;
    for (const name of await namesIn(unfinished, /./)) {
      const path = join(unfinished, name);
      const found = await ifThere(stat(path));
      if (found && found.mtimeMs < unfinishedSince && (await ifThere(unlink(path).then(() => true))))
        removed++;
    }
    // A removal that is under way loses nothing by this: it removes the less.
    for (const run of await namesIn(join(this.folder, REMOVED), /./))
      await this.#bringBackAll(join(this.folder, REMOVED, run));
    return removed;
  }

  note(): Promise<string | undefined> {
    return ifThere(readFile(join(this.folder, NOTE), 'utf8'));
  }

  async writeNote(text: string): Promise<void> {
    const written = join(this.folder, UNFINISHED, randomUUID());
    try {
      await this.#make(UNFINISHED);
      const handle = await open(written, 'wx', MODE);
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(written, join(this.folder, NOTE));
      await flush(this.folder);
    } catch (error) {
      // What cannot be removed now, `tidy` removes.
      await unlink(written).catch(() => undefined);
      throw BROKEN.has(codeOf(error)) ? noteNotWritten(String(codeOf(error)), error) : error;
    }
  }

  #pathOf(sha256: string): string {
    if (!isSha256(sha256)) throw badName(String(sha256));
    return join(this.#folderOf(sha256), sha256);
  }

  #folderOf(sha256: string): string {
    return join(this.folder, sha256.slice(0, 2), sha256.slice(2, 4));
  }

  async #finish(unfinished: string, sha256: string): Promise<void> {
    const folder = await this.#make(sha256.slice(0, 2), sha256.slice(2, 4));
    const renamed = await ifThere(rename(unfinished, join(folder, sha256)).then(() => true));
    if (renamed === undefined) throw unfinishedGone(undefined);
    // All of them, made by whomever: another process that made one may not have come to it.
    for (const changed of [folder, join(folder, '..'), this.folder]) await flush(changed);
  }

  /** A folder within the folder. */
  async #make(...names: readonly string[]): Promise<string> {
    let path = this.folder;
    for (const name of names) {
      path = join(path, name);
      try {
        await mkdir(path);
      } catch (error) {
        if (codeOf(error) === 'ENOENT') throw noFolder(this.folder, error);
        if (codeOf(error) !== 'EEXIST') throw error;
      }
    }
    return path;
  }

  async #refuseWithoutFolder(): Promise<void> {
    if (!(await isFolder(this.folder))) throw noFolder(this.folder, undefined);
  }

  /** What is there by a name, or what a removal has taken from there without being through with it. */
  async #look<T>(sha256: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      const found = await ifThere(look());
      if (found !== undefined) return found;
      for (const run of await namesIn(join(this.folder, REMOVED), /./))
        await this.#bringBack(join(this.folder, REMOVED, run), sha256);
      return await ifThere(look());
    } catch (error) {
      throw BROKEN.has(codeOf(error)) ? notRead(sha256, String(codeOf(error)), error) : error;
    }
  }

  /** Whether it was taken; one that was put too late is not. */
  async #takeAway(sha256: string, folder: string, putBefore: number): Promise<boolean> {
    const [path, away] = [this.#pathOf(sha256), join(folder, sha256)];
    const isOld = async (at: string) => ((await ifThere(stat(at)))?.mtimeMs ?? Infinity) <= putBefore;
    if (!(await isOld(path))) return false;
    if ((await ifThere(rename(path, away).then(() => true))) === undefined) return false;
    // It may have been put between the look and the renaming.
    if (await isOld(away)) return true;
    await this.#bringBack(folder, sha256);
    return false;
  }

  async #bringBackAll(folder: string): Promise<void> {
    for (const sha256 of await namesIn(folder, /^[0-9a-f]{64}$/)) await this.#bringBack(folder, sha256);
    // Another one may have removed it, or have just begun to use it.
    await rmdir(folder).catch(() => undefined);
  }

  /** One that was put anew meanwhile stays, and is the newer one. */
  async #bringBack(folder: string, sha256: string): Promise<void> {
    const [away, path] = [join(folder, sha256), this.#pathOf(sha256)];
    try {
      await link(away, path);
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT') return;
      if (code !== 'EEXIST') {
        // A file system without links.
        await ifThere(rename(away, path));
        return;
      }
    }
    await ifThere(unlink(away));
  }
}

/** Whether a folder for files is there, which nobody makes but the operator. */
export const isFolder = async (path: string): Promise<boolean> =>
  (await ifThere(stat(path)))?.isDirectory() ?? false;

/** A write can be short. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;)
    written += (await handle.write(bytes, written, bytes.length - written)).bytesWritten;
}

async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown } | undefined)?.code;

/** undefined for what is not there. */
async function ifThere<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

const namesIn = async (folder: string, pattern: RegExp): Promise<string[]> =>
  ((await ifThere(readdir(folder))) ?? []).filter((name) => pattern.test(name));
