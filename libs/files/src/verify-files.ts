import { createHash } from 'node:crypto';
import type { FileReferences } from './collect-garbage.js';
import type { FileStore } from './file-store.js';

export interface DamagedFile {
  readonly sha256: string;
  /** The SHA-256 of its bytes; undefined if they cannot be read. */
  readonly is?: string;
  readonly error?: string;
}

export interface FilesVerification {
  readonly files: number;
  readonly bytes: number;
  readonly referenced: number;
  readonly damaged: readonly DamagedFile[];
  /** Needed, and not there. */
  readonly missing: readonly string[];
}

export interface VerifyFilesOptions {
  readonly signal?: AbortSignal;
  /** Bytes that were read, and bytes in all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Looks only whether what is needed is there, and reads no file. */
  readonly withoutReading?: boolean;
}

/** Reads every byte of every file, compares each with its name, and looks whether what is needed is there. */
export async function verifyFiles(
  store: FileStore,
  references: FileReferences,
  { signal, onProgress, withoutReading = false }: VerifyFilesOptions = {},
): Promise<FilesVerification> {
  const needed = await references.upToNow();
  let [files, bytes, read] = [0, 0, 0];
  for await (const { size } of store.list()) {
    files++;
    bytes += size;
  }
  const damaged: DamagedFile[] = [];
  if (!withoutReading)
    for await (const { sha256, size } of store.list()) {
      signal?.throwIfAborted();
      const found = await damageOf(store, sha256, signal);
      if (found) damaged.push(found);
      onProgress?.((read += size), Math.max(bytes, read));
    }
  const missing: string[] = [];
  for (const sha256 of needed) {
    signal?.throwIfAborted();
    if (!(await store.stat(sha256))) missing.push(sha256);
  }
  return { files, bytes, referenced: needed.size, damaged, missing };
}

async function damageOf(
  store: FileStore,
  sha256: string,
  signal: AbortSignal | undefined,
): Promise<DamagedFile | undefined> {
  try {
    const file = await store.open(sha256);
    // It was removed meanwhile.
    if (!file) return undefined;
    if (file.size === 0) {
      await file.close();
      return { sha256, is: createHash('sha256').digest('hex') };
    }
    const hash = createHash('sha256');
    // As a part: what is wrong is to be told, and not thrown.
    for await (const piece of file.read({ first: 0, last: file.size - 1 })) {
      signal?.throwIfAborted();
      hash.update(piece as Uint8Array);
    }
    const is = hash.digest('hex');
    return is === sha256 ? undefined : { sha256, is };
  } catch (error) {
    signal?.throwIfAborted();
    return { sha256, error: error instanceof Error ? error.message : String(error) };
  }
}
