import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform } from 'node:stream';

/** Passes bytes on and counts and hashes them. */
export class Meter extends Transform {
  bytes = 0;
  readonly #hash: Hash = createHash('sha256');

  constructor(private readonly onBytes: (bytes: number) => void = () => undefined) {
    super();
  }

  override _transform(data: Buffer, _encoding: string, done: (error: null, data: Buffer) => void): void {
    this.bytes += data.length;
    this.#hash.update(data);
    this.onBytes(this.bytes);
    done(null, data);
  }

  /** Of all that passed. */
  sha256(): string {
    return this.#hash.copy().digest('hex');
  }
}

/** Size and SHA-256 of a file, in constant memory. */
export async function measure(
  path: string,
  signal?: AbortSignal,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const data of createReadStream(path, {
    highWaterMark: 1 << 20,
    ...(signal && { signal }),
  }) as AsyncIterable<Buffer>) {
    hash.update(data);
    bytes += data.length;
    onBytes(bytes);
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** Sees to it that a file, and that its name, are on the disk. */
export async function sync(path: string): Promise<void> {
  for (const each of [path, dirname(path)]) {
    const handle = await open(each, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
