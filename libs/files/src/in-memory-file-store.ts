import { Readable } from 'node:stream';
import { badName } from './errors.js';
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

/** Files in the memory of this process, for tests. */
export class InMemoryFileStore implements FileStore {
  readonly #files = new Map<string, { readonly bytes: Buffer; readonly putAt: number }>();
  #note: string | undefined;

  async put(source: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutFile> {
    const pieces: Buffer[] = [];
    const write = (bytes: Uint8Array) => Promise.resolve(pieces.push(Buffer.from(bytes)));
    const file = await receive(source, options, () => Promise.resolve({ write }));
    this.#files.set(file.sha256, { bytes: Buffer.concat(pieces), putAt: Date.now() });
    return file;
  }

  async open(sha256: string): Promise<OpenFile | undefined> {
    const found = this.#files.get(named(sha256));
    if (!found) return Promise.resolve(undefined);
    const { bytes } = found;
    return Promise.resolve({
      size: bytes.length,
      close: () => Promise.resolve(),
      read: (range) =>
        range
          ? Readable.from([bytes.subarray(range.first, range.last + 1)], { objectMode: false })
          : Readable.from(wholeFile(sha256, Readable.from([bytes], { objectMode: false })), {
              objectMode: false,
            }),
    });
  }

  async stat(sha256: string): Promise<ListedFile | undefined> {
    const found = this.#files.get(named(sha256));
    return Promise.resolve(found && { sha256, size: found.bytes.length, putAt: found.putAt });
  }

  async *list(): AsyncIterable<ListedFile> {
    for (const [sha256, { bytes, putAt }] of [...this.#files])
      yield await Promise.resolve({ sha256, size: bytes.length, putAt });
  }

  async remove(sha256s: readonly string[], { putBefore, needed }: Removal): Promise<string[]> {
    const taken = sha256s.flatMap((sha256) => {
      const file = this.#files.get(named(sha256));
      if (!file || file.putAt > putBefore) return [];
      this.#files.delete(sha256);
      return [[sha256, file] as const];
    });
    const bringBack = (sha256: string, file: (typeof taken)[number][1]) => {
      if (!this.#files.has(sha256)) this.#files.set(sha256, file);
    };
    try {
      const stay = taken.length > 0 ? await needed() : new Set<string>();
      for (const [sha256, file] of taken) if (stay.has(sha256)) bringBack(sha256, file);
      return taken.flatMap(([sha256]) => (stay.has(sha256) ? [] : [sha256]));
    } catch (error) {
      for (const [sha256, file] of taken) bringBack(sha256, file);
      throw error;
    }
  }

  tidy(): Promise<number> {
    return Promise.resolve(0);
  }

  note(): Promise<string | undefined> {
    return Promise.resolve(this.#note);
  }

  writeNote(text: string): Promise<void> {
    this.#note = text;
    return Promise.resolve();
  }
}

function named(sha256: string): string {
  if (!isSha256(sha256)) throw badName(String(sha256));
  return sha256;
}
