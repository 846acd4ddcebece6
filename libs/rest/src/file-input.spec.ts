import { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { FastifyRequest } from 'fastify';
import { cutFile, fileIn } from './file-input.js';

const requestWith = (body: Readable): FastifyRequest => ({ headers: {}, body }) as unknown as FastifyRequest;

describe('a file that arrives', () => {
  it('is not kept in memory, however long it is', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const made: WeakRef<Buffer>[] = [];
    const body = Readable.from(
      (function* () {
        for (let n = 0; n < 200; n++) {
          const piece = Buffer.alloc(64 * 1024, n);
          made.push(new WeakRef(piece));
          yield piece;
        }
      })(),
      { objectMode: false },
    );
    let read = 0;
    for await (const { length } of fileIn(requestWith(body)).source) {
      read += length;
      if (made.length < 200) continue;
      // A turn of the event loop: until then weak references hold what they were asked for.
      await new Promise(setImmediate);
      collectGarbage();
      // What is still on the way is in the buffers of the stream.
      expect(made.slice(0, 100).filter((piece) => piece.deref())).toHaveLength(0);
      break;
    }
    expect(read).toBeGreaterThan(100 * 64 * 1024);
  });

  it('is refused while it waits for more', async () => {
    const body = new Readable({ read: () => undefined });
    const request = requestWith(body);
    const pieces = fileIn(request).source[Symbol.asyncIterator]();
    body.push('begun');
    expect(String((await pieces.next()).value)).toBe('begun');
    const next = pieces.next();
    cutFile(request);
    await expect(next).rejects.toMatchObject({ code: 'server.stopping', kind: 'unavailable' });
  });

  it('is refused also between two pieces', async () => {
    const body = new Readable({ read: () => undefined });
    const request = requestWith(body);
    const pieces = fileIn(request).source[Symbol.asyncIterator]();
    body.push('begun');
    await pieces.next();
    cutFile(request);
    await expect(pieces.next()).rejects.toMatchObject({ code: 'server.stopping' });
  });
});
