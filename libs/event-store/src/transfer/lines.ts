import { createReadStream } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { compress, init } from '@bokuweb/zstd-wasm';
import { Decompress } from 'fzstd';
import { messageOf } from '#lib/platform';
import { damaged } from './format.js';

/** Each block of lines becomes its own frame: a file of frames is a zstd file, and memory stays constant. */
const BLOCK_BYTES = 1 << 20;
const LEVEL = 3;
/** An event with 16 KiB per field is far below this; a file without newlines must not fill the memory. */
const MAX_LINE = 16 << 20;
/**
 * How much of a compressed file is decoded at a time. The decoder returns everything in a piece at once, and a
 * malicious file can hold 128 KiB in every four bytes.
 */
const PIECE_BYTES = 512;
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

let ready: Promise<void> | undefined;

/** Lines as zstd, block by block. */
export async function* compressLines(lines: AsyncIterable<string>): AsyncGenerator<Buffer> {
  await (ready ??= init());
  let block: Buffer[] = [];
  let bytes = 0;
  const frame = () => {
    const compressed = Buffer.from(compress(Buffer.concat(block), LEVEL));
    [block, bytes] = [[], 0];
    return compressed;
  };
  for await (const line of lines) {
    const data = Buffer.from(`${line}\n`);
    block.push(data);
    bytes += data.length;
    if (bytes >= BLOCK_BYTES) yield frame();
  }
  if (bytes > 0) yield frame();
}

/** A line with its number, from 1. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

/**
 * The lines of a file, compressed with zstd by any program, or plain. A last line without its newline is incomplete.
 *
 * @throws WaylogError `log-file.damaged` if the file ends in the middle, or is not zstd after all
 */
export async function* linesOf(path: string, onBytes: (bytes: number) => void): AsyncGenerator<Line> {
  const utf8 = new StringDecoder('utf8');
  let number = 0;
  // Kept in parts: concatenating a long line with each of them would take quadratic time.
  let rest: string[] = [];
  let length = 0;
  for await (const data of plainBytes(path, onBytes, () => number + 1)) {
    for (const [i, part] of utf8.write(data).split('\n').entries()) {
      if (i > 0) {
        yield { number: ++number, text: rest.join('') };
        [rest, length] = [[], 0];
      }
      rest.push(part);
      length += part.length;
    }
    if (length > MAX_LINE) {
      throw damaged(
        number + 1,
        `is longer than ${MAX_LINE >> 20} MiB, which no event is: this is no exported log`,
      );
    }
  }
  if (length > 0) throw damaged(number + 1, 'is cut off: the file ends in the middle of it');
}

async function* plainBytes(
  path: string,
  onBytes: (bytes: number) => void,
  line: () => number,
): AsyncGenerator<Buffer> {
  let read = 0;
  let decoder: Decompress | undefined;
  let pieces: Buffer[] = [];
  const decode = (data: Uint8Array, isLast: boolean) => {
    try {
      decoder?.push(data, isLast);
    } catch (error) {
      const what = isLast
        ? 'is where the compressed file ends, in the middle'
        : 'or one soon after is damaged';
      throw damaged(line(), `${what} (zstd: ${messageOf(error)})`, error);
    }
    const decoded = pieces;
    pieces = [];
    return decoded;
  };
  for await (const data of createReadStream(path) as AsyncIterable<Buffer>) {
    if (read === 0 && data.subarray(0, 4).equals(ZSTD_MAGIC)) {
      // The decoder reuses its buffer, so its output is copied.
      decoder = new Decompress((piece) => pieces.push(Buffer.from(piece)));
    }
    read += data.length;
    onBytes(read);
    if (!decoder) {
      yield data;
      continue;
    }
    for (let from = 0; from < data.length; from += PIECE_BYTES)
      yield* decode(data.subarray(from, from + PIECE_BYTES), false);
  }
  if (decoder) yield* decode(new Uint8Array(0), true);
}
