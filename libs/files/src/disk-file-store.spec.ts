import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { DiskFileStore } from './disk-file-store.js';
import { all, digestOf, fileStoreContract, inPieces, picture } from './testing/file-store.contract.js';

describe('files on a disk', () => {
  const folders: string[] = [];
  const folder = async () => {
    const made = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    folders.push(made);
    return made;
  };
  afterAll(async () => {
    for (const made of folders) await rm(made, { recursive: true });
  });

  fileStoreContract(async () => new DiskFileStore(await folder()));

  const placeOf = (root: string, sha256: string) =>
    join(root, sha256.slice(0, 2), sha256.slice(2, 4), sha256);
  const under = (root: string) => readdir(root, { recursive: true, withFileTypes: true });
  const filesUnder = async (root: string) =>
    (await under(root)).filter((entry) => entry.isFile()).map(({ name }) => name);
  const ROOM = { maxBytes: 1_000_000 };

  it('puts a file where its name says, and lets nobody but the group read it', async () => {
    const root = await folder();
    const bytes = picture();
    const { sha256 } = await new DiskFileStore(root).put(inPieces(bytes), ROOM);
    const place = placeOf(root, sha256);
    expect(await readFile(place)).toEqual(bytes);
    expect((await stat(place)).mode & 0o027).toBe(0);
    expect(await filesUnder(root)).toEqual([sha256]);
  });

  it('makes no folder of its own: the disk may not be mounted', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    const { sha256 } = await store.put(inPieces(picture()), ROOM);
    await rename(root, `${root}-away`);
    await expect(store.put(inPieces(picture()), ROOM)).rejects.toMatchObject({ code: 'files.no-folder' });
    await expect(store.writeNote('')).rejects.toMatchObject({ code: 'files.no-folder' });
    await expect(all(store.list())).rejects.toMatchObject({ code: 'files.no-folder' });
    expect(await store.open(sha256)).toBeUndefined();
    await rename(`${root}-away`, root);
    expect(await filesUnder(root)).toEqual([sha256]);
  });

  it('gives nothing but files', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    const { sha256 } = await store.put(inPieces(picture()), ROOM);
    const place = placeOf(root, sha256);
    await rename(place, `${place}.away`);
    await symlink('/etc/hostname', place);
    await expect(store.open(sha256)).rejects.toMatchObject({ code: 'file.not-read' });
    await rm(place);
    await mkdir(place);
    await expect(store.open(sha256)).rejects.toMatchObject({ code: 'file.not-read' });
  });

  it('leaves nothing of what it refuses or what breaks off', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    async function* broken() {
      yield* inPieces(picture(5_000));
      throw new Error('the line is dead');
    }
    await expect(store.put(broken(), ROOM)).rejects.toThrow('the line is dead');
    await expect(store.put(inPieces(picture(5_000)), { maxBytes: 4_000 })).rejects.toThrow('more than');
    const announced = { ...ROOM, sha256: digestOf(Buffer.from('other')) };
    await expect(store.put(inPieces(picture(5_000)), announced)).rejects.toThrow('announced');
    expect(await filesUnder(root)).toEqual([]);
  });

  it('shows nobody a file before it is whole', async () => {
    const root = await folder();
    const bytes = picture(50_000);
    const seen: (object | undefined)[] = [];
    const other = new DiskFileStore(root);
    async function* slow() {
      for await (const piece of inPieces(bytes, 10_000)) {
        yield piece;
        seen.push(await other.stat(digestOf(bytes)));
      }
    }
    await new DiskFileStore(root).put(slow(), ROOM);
    expect(seen).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect(await other.stat(digestOf(bytes))).toMatchObject({ size: 50_000 });
  });

  it('withholds the end of a damaged file, and takes the file anew', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    const bytes = picture(300_000);
    const { sha256 } = await store.put(inPieces(bytes), ROOM);
    const rotten = Buffer.from(bytes);
    rotten[150_000]! ^= 1;
    await writeFile(placeOf(root, sha256), rotten);
    let given = 0;
    const reading = (async () => {
      for await (const piece of (await store.open(sha256))!.read()) given += (piece as Buffer).length;
    })();
    await expect(reading).rejects.toMatchObject({ code: 'file.damaged' });
    expect(given).toBeLessThan(300_000);
    await store.put(inPieces(bytes), ROOM);
    expect(await buffer((await store.open(sha256))!.read())).toEqual(bytes);
  });

  it('removes unfinished files that nobody writes to, and none that somebody may', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    await store.put(inPieces(picture()), ROOM);
    const unfinished = join(root, '.unfinished');
    await writeFile(join(unfinished, 'old'), 'half');
    await utimes(join(unfinished, 'old'), 1, 1);
    await writeFile(join(unfinished, 'new'), 'half');
    expect(await store.tidy(Date.now() - 60_000)).toBe(1);
    expect(await readdir(unfinished)).toEqual(['new']);
  });

  it('says that an unfinished file was removed, instead of storing nothing', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    async function* source() {
      yield* inPieces(picture(5_000));
      await store.tidy(Date.now() + 60_000);
    }
    await expect(store.put(source(), ROOM)).rejects.toMatchObject({ code: 'file.not-finished' });
  });

  it('says that the disk takes nothing, and not where it is', async () => {
    const root = await folder();
    await mkdir(join(root, '.unfinished'));
    const full = new DiskFileStore(root);
    async function* source() {
      yield* inPieces(picture(5_000));
      throw Object.assign(new Error(`no space left on ${root}`), { code: 'ENOSPC' });
    }
    const refused = full.put(source(), ROOM);
    await expect(refused).rejects.toMatchObject({ code: 'files.not-written', kind: 'unavailable' });
    await expect(refused).rejects.not.toThrow(root);
  });

  it('leaves nothing of a note that the disk does not take', async () => {
    const root = await folder();
    // In its place, so that it cannot be renamed to it.
    await mkdir(join(root, '.note.json', 'x'), { recursive: true });
    await expect(new DiskFileStore(root).writeNote('{}')).rejects.toMatchObject({
      code: 'files.note-not-written',
      kind: 'unavailable',
    });
    expect(await readdir(join(root, '.unfinished'))).toEqual([]);
  });

  describe('when a removal was killed or stood still', () => {
    const away = async (root: string, sha256: string) => {
      await mkdir(join(root, '.removed', 'killed'), { recursive: true });
      await rename(placeOf(root, sha256), join(root, '.removed', 'killed', sha256));
    };

    it('finds what it has left out of sight', async () => {
      const root = await folder();
      const store = new DiskFileStore(root);
      const bytes = picture();
      const { sha256 } = await store.put(inPieces(bytes), ROOM);
      await away(root, sha256);
      expect(await store.stat(sha256)).toMatchObject({ size: bytes.length });
      await away(root, sha256);
      expect(await buffer((await store.open(sha256))!.read())).toEqual(bytes);
    });

    it('brings back what it has left, with the next look', async () => {
      const root = await folder();
      const store = new DiskFileStore(root);
      const { sha256 } = await store.put(inPieces(picture()), ROOM);
      await away(root, sha256);
      await store.tidy(0);
      expect(await filesUnder(root)).toEqual([sha256]);
      expect(await readdir(join(root, '.removed'))).toEqual([]);
    });

    it('removes nothing that was put since it has asked', async () => {
      const root = await folder();
      const store = new DiskFileStore(root);
      const bytes = picture();
      const { sha256 } = await store.put(inPieces(bytes), ROOM);
      const removed = await store.remove([sha256], {
        putBefore: Date.now() + 60_000,
        // Others bring back what this one has taken away, a file is put, and they take it away again, before it goes on.
        needed: async () => {
          await store.tidy(0);
          await store.put(inPieces(bytes), ROOM);
          await away(root, sha256);
          return new Set();
        },
      });
      expect(removed).toEqual([]);
      expect(await store.stat(sha256)).toMatchObject({ size: bytes.length });
    });
  });

  it('takes nothing for a file that is called like none', async () => {
    const root = await folder();
    const store = new DiskFileStore(root);
    await mkdir(join(root, 'ab', 'cd'), { recursive: true });
    await writeFile(join(root, 'ab', 'cd', 'README'), 'of somebody else');
    await writeFile(join(root, 'ab', 'cd', digestOf(Buffer.from('in the wrong place'))), '');
    for await (const file of store.list()) expect(file).toBeUndefined();
  });
});
