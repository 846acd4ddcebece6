import { createHash } from 'node:crypto';
import { damaged } from './errors.js';

/**
 * The bytes of a whole file, of which the last piece is withheld until all of them are known to be those of its name. Throws
 * `file.damaged`.
 */
export async function* wholeFile(
  sha256: string,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  let withheld: Uint8Array | undefined;
  for await (const piece of pieces) {
    if (withheld) yield withheld;
    hash.update(piece);
    withheld = piece;
  }
  const is = hash.digest('hex');
  if (is !== sha256) throw damaged(sha256, is);
  if (withheld) yield withheld;
}
