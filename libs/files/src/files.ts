import { missingFile, noFiles, otherSize, takenMeanwhile } from './errors.js';
import type { FileStore, OpenFile, PutFile, PutOptions } from './file-store.js';

/** The largest file that is taken, where nobody says otherwise. */
export const MAX_FILE_BYTES = 256_000_000;

/** The files of an application, for injection: what is put is also recorded, in this order. */
export class Files {
  readonly #store: FileStore | undefined;
  readonly #damaged = new Set<string>();

  /** Without a store, what needs files is refused. */
  constructor(
    store?: FileStore,
    readonly maxBytes = MAX_FILE_BYTES,
  ) {
    this.#store = store;
  }

  /** Whether there is a place for them. */
  get areKept(): boolean {
    return this.#store !== undefined;
  }

  /** How many files were found damaged when they were read. */
  get damaged(): number {
    return this.#damaged.size;
  }

  /** Throws `files.none`. */
  get store(): FileStore {
    if (!this.#store) throw noFiles();
    return this.#store;
  }

  /**
   * Stores a file and then records that it is needed, which `record` does with an event. Whoever gets an answer has its file
   * for good. Throws `file.taken-meanwhile`, for which the caller sends the file again, and as `put` does.
   */
  async keep<T>(
    source: AsyncIterable<Uint8Array>,
    { maxBytes = this.maxBytes, ...options }: Partial<PutOptions>,
    record: (file: PutFile) => Promise<T>,
  ): Promise<T> {
    const file = await this.store.put(source, { ...options, maxBytes: Math.min(maxBytes, this.maxBytes) });
    // What was damaged is whole again.
    this.#damaged.delete(file.sha256);
    const recorded = await record(file);
    // This process may have stood still since, for longer than files without a reference are kept. What is here now, no
    // collection takes: each asks for references after it has taken a file out of sight.
    if (!(await this.store.stat(file.sha256))) throw takenMeanwhile(file.sha256);
    return recorded;
  }

  /** One that an event names, with the size that it says. Throws `file.missing`, `file.damaged` and `file.not-read`. */
  async open(sha256: string, size: number): Promise<OpenFile> {
    const file = await this.store.open(sha256);
    if (!file) throw missingFile(sha256);
    if (file.size !== size) {
      await file.close();
      this.#damaged.add(sha256);
      throw otherSize(sha256, size, file.size);
    }
    const note = (error: Error & { readonly code?: string }) => {
      if (error.code === 'file.damaged') this.#damaged.add(sha256);
    };
    return {
      size: file.size,
      close: () => file.close(),
      read: (range) => file.read(range).once('error', note),
    };
  }
}
