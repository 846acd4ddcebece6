import type { Readable } from 'node:stream';

/** A file as it is stored. Its name is its content: nothing can be changed under a name. */
export interface StoredFile {
  /** The SHA-256 of its bytes, as 64 hexadecimal digits. */
  readonly sha256: string;
  readonly size: number;
}

export interface PutFile extends StoredFile {
  /** What its first bytes say that it is, such as `image/jpeg`; `application/octet-stream` if they say nothing. */
  readonly type: string;
}

export interface ListedFile extends StoredFile {
  /** When it was last put, in milliseconds since 1970, by the clock of the store. */
  readonly putAt: number;
}

export interface PutOptions {
  readonly maxBytes: number;
  /** The types that are taken; by default all. */
  readonly types?: readonly string[] | undefined;
  /** What the sender says that the digest is. */
  readonly sha256?: string | undefined;
  /** What the sender says that the size is. */
  readonly size?: number | undefined;
}

/** A part of a file, from its first byte to its last one, both included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/** A file that is open: it can be read although it is removed meanwhile. */
export interface OpenFile {
  readonly size: number;
  /**
   * Its bytes, or a part of them; once. The whole file is compared with its name on the way: of a damaged one the end is
   * withheld, and the stream fails with `file.damaged`. A part cannot be compared.
   */
  read(range?: ByteRange): Readable;
  /** For one that is not read. */
  close(): Promise<void>;
}

export interface Removal {
  /** Files that were put after this time stay, in milliseconds since 1970. */
  readonly putBefore: number;
  /** Which files are needed. It is asked once the files are out of sight: whoever has needed one until then has said so. */
  readonly needed: () => Promise<ReadonlySet<string>>;
}

/**
 * Where files are kept, each under the SHA-256 of its content. Every adapter passes the contract suite in
 * `testing/file-store.contract.ts`. Several processes can use one place at a time.
 *
 * Guarantees:
 * - A file is there whole or not at all, whatever is killed when. Once `put` has returned, it survives a loss of power.
 * - The same content is stored once.
 * - `put` leaves nothing behind that was refused or broke off, except what `tidy` removes.
 * - A process that puts a file, records that it is needed, and then finds it there has it for good: what `remove` takes
 *   out of sight it removes only when `needed`, asked after that, does not name it. No clock decides that, and no lock.
 */
export interface FileStore {
  /**
   * Stores what a source yields. Throws `file.empty`, `file.too-large`, `file.type-refused`, `file.other-digest` and
   * `file.cut-off`, and whatever the source throws.
   */
  put(source: AsyncIterable<Uint8Array>, options: PutOptions): Promise<PutFile>;
  /** undefined if there is no such file. Throws `file.bad-name`, as everything does that takes a name. */
  open(sha256: string): Promise<OpenFile | undefined>;
  stat(sha256: string): Promise<ListedFile | undefined>;
  /** All files, in no order. What is put or removed meanwhile may be among them. */
  list(): AsyncIterable<ListedFile>;
  /** Removes the files that are not needed, and returns their names. If it fails, those it did not get to are there. */
  remove(sha256s: readonly string[], removal: Removal): Promise<string[]>;
  /**
   * Removes unfinished files that nobody has written to since a time in milliseconds since 1970, and brings back what a
   * killed removal has left out of sight. Returns how many unfinished ones it has removed.
   */
  tidy(unfinishedSince: number): Promise<number>;
  /** A text that is kept beside the files. */
  note(): Promise<string | undefined>;
  writeNote(text: string): Promise<void>;
}

/** Whether a text is the name of a file. */
export const isSha256 = (text: unknown): text is string =>
  typeof text === 'string' && /^[0-9a-f]{64}$/.test(text);
