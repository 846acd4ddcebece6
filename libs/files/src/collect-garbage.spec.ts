import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collectGarbage } from './collect-garbage.js';
import { DiskFileStore } from './disk-file-store.js';
import { Files } from './files.js';
import { InMemoryFileStore } from './in-memory-file-store.js';
import { all, digestOf, inPieces, picture } from './testing/file-store.contract.js';
import { verifyFiles } from './verify-files.js';

const DAY = 86_400_000;
/** For a collection of the day after tomorrow. */
const later = () => ({ graceMs: DAY, now: Date.now() + 2 * DAY });
const referring = (...needed: string[]) => ({ upToNow: () => Promise.resolve(new Set(needed)) });

describe('the collection of files that nobody needs', () => {
  const store = () => new InMemoryFileStore();
  const put = async (into: InMemoryFileStore, bytes = picture()) =>
    (await into.put(inPieces(bytes), { maxBytes: 10_000 })).sha256;
  const names = async (of: InMemoryFileStore) => (await all(of.list())).map(({ sha256 }) => sha256).sort();

  it('removes them, and nothing that is needed', async () => {
    const files = store();
    const [needed, other] = [await put(files), await put(files)];
    const found = await collectGarbage(files, referring(needed), later());
    expect(found).toMatchObject({ files: 2, removed: [other], unneeded: { files: 1, bytes: 1_000 } });
    expect(await names(files)).toEqual([needed]);
  });

  it('leaves them for the time that their sender may take to record that they are needed', async () => {
    const files = store();
    await put(files);
    const found = await collectGarbage(files, referring(), { graceMs: DAY });
    expect(found).toMatchObject({ removed: [], young: { files: 1, bytes: 1_000 }, unneeded: { files: 0 } });
  });

  it('says what it would remove, and does not', async () => {
    const files = store();
    await put(files);
    const found = await collectGarbage(files, referring(), { ...later(), isDryRun: true });
    expect(found).toMatchObject({ removed: [], unneeded: { files: 1 } });
    expect(await names(files)).toHaveLength(1);
  });

  it('takes no file that is put again and recorded after it has looked', async () => {
    const files = store();
    const bytes = picture();
    await put(files, bytes);
    const recorded = new Set<string>();
    let looks = 0;
    const references = {
      upToNow: async () => {
        // Right after it has made out what is garbage.
        if (++looks === 1) {
          const before = new Set(recorded);
          await new Files(files, 10_000).keep(inPieces(bytes), {}, ({ sha256 }) =>
            Promise.resolve(recorded.add(sha256)),
          );
          return before;
        }
        return new Set(recorded);
      },
    };
    expect(await collectGarbage(files, references, later())).toMatchObject({ removed: [] });
    expect(await names(files)).toEqual([digestOf(bytes)]);
  });

  it('refuses a file that a collection has removed while its sender stood still', async () => {
    const files = store();
    const keeping = new Files(files, 10_000).keep(inPieces(picture()), {}, async () => {
      await collectGarbage(files, referring(), later());
      return 'recorded';
    });
    await expect(keeping).rejects.toMatchObject({ code: 'file.taken-meanwhile' });
  });
});

describe('the verification of files', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'waylog-files-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  it('reads every byte, and names what is damaged and what is missing', async () => {
    const store = new DiskFileStore(root);
    const put = async () => (await store.put(inPieces(picture()), { maxBytes: 10_000 })).sha256;
    const [sound, rotten, empty] = [await put(), await put(), await put()];
    const write = (sha256: string, text: string) =>
      writeFile(join(root, sha256.slice(0, 2), sha256.slice(2, 4), sha256), text);
    await write(rotten, 'rot');
    await write(empty, '');
    const lost = digestOf(Buffer.from('lost'));
    const found = await verifyFiles(store, referring(sound, lost));
    expect(found).toMatchObject({ files: 3, bytes: 1_003, referenced: 2, missing: [lost] });
    expect([...found.damaged].sort((a, b) => (a.is! < b.is! ? -1 : 1))).toEqual(
      [
        { sha256: rotten, is: digestOf(Buffer.from('rot')) },
        { sha256: empty, is: digestOf(Buffer.alloc(0)) },
      ].sort((a, b) => (a.is < b.is ? -1 : 1)),
    );
  });
});
