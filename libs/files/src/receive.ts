import { createHash } from 'node:crypto';
import { cutOff, emptyFile, otherDigest, tooLarge, typeRefused } from './errors.js';
import type { PutFile, PutOptions } from './file-store.js';
import { TELLING_BYTES, typeOfFile } from './types-of-files.js';

/** Where the bytes of a file go while it is received. */
export interface Sink {
  write(bytes: Uint8Array): Promise<unknown>;
}

/**
 * Passes the bytes of a file on and computes what it is, piece by piece: it never holds more than a piece. Nothing is passed
 * on before the size and the type that are known by then are accepted; `open` is called only after that.
 */
export async function receive(
  source: AsyncIterable<Uint8Array>,
  { maxBytes, types, sha256: announced, size: announcedSize }: PutOptions,
  open: () => Promise<Sink>,
): Promise<PutFile> {
  if (announcedSize !== undefined && announcedSize > maxBytes) throw tooLarge(maxBytes);
  const hash = createHash('sha256');
  let size = 0;
  let type: string | undefined;
  let sink: Sink | undefined;
  let first: Uint8Array = new Uint8Array();
  const pass = async (bytes: Uint8Array) => {
    hash.update(bytes);
    sink ??= await open();
    await sink.write(bytes);
  };
  const know = (beginning: Uint8Array) => {
    type = typeOfFile(beginning);
    if (types && !types.includes(type)) throw typeRefused(type, types);
  };
  for await (const piece of source) {
    size += piece.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    if (type !== undefined) {
      await pass(piece);
      continue;
    }
    first = first.length === 0 ? piece : Buffer.concat([first, piece]);
    if (first.length < TELLING_BYTES) continue;
    know(first);
    await pass(first);
  }
  if (size === 0) throw emptyFile();
  if (announcedSize !== undefined && size !== announcedSize) throw cutOff(announcedSize, size);
  if (type === undefined) {
    know(first);
    await pass(first);
  }
  const sha256 = hash.digest('hex');
  if (announced !== undefined && announced !== sha256) throw otherDigest(announced, sha256);
  return { sha256, size, type: type as unknown as string };
}
