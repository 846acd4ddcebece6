import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import type { FileStore } from '../file-store.js';

export const JPEG = Buffer.from('ffd8ffe000104a46494600010100', 'hex');
export const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');

/** A picture of a number of bytes that no other one has. */
export const picture = (bytes = 1_000): Buffer =>
  Buffer.concat([JPEG, randomBytes(Math.max(0, bytes - JPEG.length))]);

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A source of bytes in pieces. */
// eslint-disable-next-line @typescript-eslint/require-await -- a source is asynchronous
export async function* inPieces(bytes: Uint8Array, length = 100): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

const ROOM = { maxBytes: 10_000_000 };
const NOTHING: ReadonlySet<string> = new Set();

/** What every place for files must do. */
export function fileStoreContract(make: () => Promise<FileStore>): void {
  let store: FileStore;
  beforeEach(async () => {
    store = await make();
  });

  const put = async (bytes: Uint8Array) => (await store.put(inPieces(bytes), ROOM)).sha256;
  const read = async (sha256: string, range?: { first: number; last: number }) => {
    const file = await store.open(sha256);
    return file && buffer(file.read(range));
  };
  const names = async () => (await all(store.list())).map(({ sha256 }) => sha256).sort();
  const remove = (sha256s: readonly string[], needed = NOTHING, putBefore = Date.now() + 60_000) =>
    store.remove(sha256s, { putBefore, needed: () => Promise.resolve(needed) });

  describe('putting', () => {
    it('calls a file by its SHA-256, and says how large it is and of what type', async () => {
      const bytes = picture(200_000);
      const sha256 = digestOf(bytes);
      const file = await store.put(inPieces(bytes, 7_000), { ...ROOM, types: ['image/jpeg'] });
      expect(file).toEqual({ sha256, size: 200_000, type: 'image/jpeg' });
      expect(await read(sha256)).toEqual(bytes);
      expect(await store.stat(sha256)).toEqual({
        sha256,
        size: 200_000,
        putAt: expect.any(Number) as number,
      });
    });

    it('tells the type however short the pieces are, and of a file that is shorter than what tells it', async () => {
      expect(await store.put(inPieces(PNG, 1), ROOM)).toMatchObject({ type: 'image/png' });
      expect(await store.put(inPieces(JPEG.subarray(0, 4)), ROOM)).toMatchObject({ type: 'image/jpeg' });
      expect(await store.put(inPieces(Buffer.from('x')), ROOM)).toMatchObject({
        type: 'application/octet-stream',
        size: 1,
      });
    });

    it('stores the same content once, and knows when it was put last', async () => {
      const bytes = picture();
      const sha256 = await put(bytes);
      const before = (await store.stat(sha256))?.putAt ?? 0;
      // The clock of the store may be coarse.
      while (Date.now() <= before + 20) await new Promise(setImmediate);
      expect(await put(bytes)).toBe(sha256);
      expect(await names()).toEqual([sha256]);
      expect((await store.stat(sha256))?.putAt).toBeGreaterThan(before);
    });

    it('stores what many put at a time', async () => {
      const [one, other] = [picture(50_000), picture(50_000)];
      await Promise.all([one, other, one, one, other].map(put));
      expect(await names()).toEqual([digestOf(one), digestOf(other)].sort());
      expect(await read(digestOf(one))).toEqual(one);
    });

    it.each([
      ['nothing', 'file.empty', Buffer.alloc(0), {}],
      ['more than is allowed', 'file.too-large', picture(5_000), { maxBytes: 4_999 }],
      ['what is announced to be more', 'file.too-large', picture(5_000), { maxBytes: 100, size: 5_000 }],
      ['less than was announced', 'file.cut-off', picture(5_000), { size: 5_001 }],
      ['another type', 'file.type-refused', Buffer.from('#!/bin/sh'), { types: ['image/jpeg'] }],
      ['other bytes than announced', 'file.other-digest', picture(5_000), { sha256: digestOf(PNG) }],
    ])('refuses %s, and keeps nothing of it', async (_, code, bytes, options) => {
      await expect(store.put(inPieces(bytes), { ...ROOM, ...options })).rejects.toMatchObject({ code });
      expect(await names()).toEqual([]);
    });

    it('keeps nothing of a source that breaks off', async () => {
      async function* broken() {
        yield* inPieces(picture(5_000));
        throw new Error('the line is dead');
      }
      await expect(store.put(broken(), ROOM)).rejects.toThrow('the line is dead');
      expect(await names()).toEqual([]);
    });

    it('takes from the source no faster than it writes', async () => {
      let [taken, most] = [0, 0];
      async function* source() {
        for (; taken < 50; taken++) {
          yield Buffer.concat([JPEG, Buffer.alloc(100_000, taken)]);
          most = Math.max(most, taken);
          await Promise.resolve();
        }
      }
      const reading = store.put(source(), { maxBytes: 2_000_000 });
      await expect(reading).rejects.toMatchObject({ code: 'file.too-large' });
      expect(most).toBeLessThan(20);
    });
  });

  describe('reading', () => {
    it('gives a part', async () => {
      const bytes = picture(100_000);
      const sha256 = await put(bytes);
      expect(await read(sha256, { first: 99_000, last: 99_999 })).toEqual(bytes.subarray(99_000));
      expect(await read(sha256, { first: 0, last: 0 })).toEqual(bytes.subarray(0, 1));
    });

    it('goes on with a file that is removed meanwhile', async () => {
      const bytes = picture(500_000);
      const sha256 = await put(bytes);
      const file = await store.open(sha256);
      await remove([sha256]);
      expect(file && (await buffer(file.read()))).toEqual(bytes);
      expect(await store.open(sha256)).toBeUndefined();
    });

    it('can be ended before it has begun, and in the middle', async () => {
      const sha256 = await put(picture(500_000));
      await (await store.open(sha256))?.close();
      const stream = (await store.open(sha256))?.read();
      if (!stream) throw new Error('It is not there.');
      await once(stream, 'readable');
      stream.destroy();
      await once(stream, 'close');
    });

    it('knows no file that is not there, and no name that is none', async () => {
      expect(await store.open(digestOf(PNG))).toBeUndefined();
      expect(await store.stat(digestOf(PNG))).toBeUndefined();
      for (const name of ['', '../../etc/passwd', digestOf(PNG).toUpperCase(), `${digestOf(PNG)}/..`]) {
        await expect(store.open(name)).rejects.toMatchObject({ code: 'file.bad-name' });
        await expect(store.stat(name)).rejects.toMatchObject({ code: 'file.bad-name' });
        await expect(remove([name])).rejects.toMatchObject({ code: 'file.bad-name' });
      }
    });
  });

  describe('removing', () => {
    it('removes what is not needed', async () => {
      const [one, other] = [await put(picture()), await put(picture())];
      expect(await remove([one, other, digestOf(PNG)], new Set([other]))).toEqual([one]);
      expect(await names()).toEqual([other]);
      expect(await read(other)).toBeDefined();
    });

    it('leaves what was put too late', async () => {
      const sha256 = await put(picture());
      expect(await remove([sha256], NOTHING, Date.now() - 60_000)).toEqual([]);
      expect(await names()).toEqual([sha256]);
    });

    it('asks whether a file is needed once nobody can find it any more: who found it has said so before', async () => {
      const bytes = picture();
      const sha256 = await put(bytes);
      let found: readonly string[] | undefined;
      const removed = await store.remove([sha256], {
        putBefore: Date.now() + 60_000,
        needed: async () => {
          found = await names();
          return new Set([sha256]);
        },
      });
      expect([found, removed]).toEqual([[], []]);
      expect(await read(sha256)).toEqual(bytes);
    });

    it('leaves a file that is put anew while it asks', async () => {
      const bytes = picture();
      const sha256 = await put(bytes);
      await store.remove([sha256], {
        putBefore: Date.now() + 60_000,
        needed: async () => {
          await put(bytes);
          return NOTHING;
        },
      });
      expect(await read(sha256)).toEqual(bytes);
    });

    it('brings back everything if it cannot be known what is needed', async () => {
      const sha256s = [await put(picture()), await put(picture())];
      const removal = store.remove(sha256s, {
        putBefore: Date.now() + 60_000,
        needed: () => Promise.reject(new Error('the log does not answer')),
      });
      await expect(removal).rejects.toThrow('the log does not answer');
      expect(await names()).toEqual([...sha256s].sort());
    });
  });

  it('keeps a note beside the files, which is none of them', async () => {
    expect(await store.note()).toBeUndefined();
    await store.writeNote('{"one":1}');
    await store.writeNote('{"two":2}');
    expect(await store.note()).toBe('{"two":2}');
    expect(await names()).toEqual([]);
  });
}
