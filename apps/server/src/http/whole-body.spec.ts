import { once } from 'node:events';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fastify, { type FastifyInstance } from 'fastify';
import { readJsonBodies } from './body.js';
import { eventually } from '../../../../test/support/eventually.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const LIMIT = 1024 * 1024;

describe('a body', () => {
  let server: FastifyInstance;
  let client: Socket;
  let atServer: Socket;

  beforeEach(async () => {
    server = fastify({ forceCloseConnections: true });
    readJsonBodies(server, LIMIT);
    server.post('/', ({ body }) => ({ length: JSON.stringify(body).length }));
    await server.listen({ port: 0, host: '127.0.0.1' });
    const accepted = once(server.server, 'connection') as Promise<[Socket]>;
    client = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
    [atServer] = await accepted;
  });
  afterEach(async () => {
    client.destroy();
    await server.close();
  });

  const head = (length: string) =>
    `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n${length}\r\n\r\n`;
  const inChunks = (text: string, size: number) =>
    (text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [])
      .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
      .join('');
  async function answer(): Promise<string> {
    let text = '';
    for await (const data of client) text += String(data);
    return text;
  }

  it('uses as much memory as it is long, however it is split', async () => {
    const text = `"${'x'.repeat(300_000)}"`;
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    const sent = head('transfer-encoding: chunked') + inChunks(text, 1);
    client.write(sent);
    await eventually(() => atServer.bytesRead >= sent.length);
    collectGarbage();
    // This includes what the test itself creates; a Buffer for each byte would be 30 MB and more.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(10e6);
    client.write('0\r\n\r\n');
    expect(await answer()).toContain(`{"length":${text.length}}`);
  });

  it.each([1, 7, 1_000, 65_536, LIMIT])('arrives complete in pieces of %d bytes', async (size) => {
    const text = JSON.stringify(Array.from({ length: 12_345 }, (_, n) => n));
    client.write(`${head('transfer-encoding: chunked')}${inChunks(text, size)}0\r\n\r\n`);
    expect(await answer()).toContain(`{"length":${text.length}}`);
  });

  it('can be as long as the limit and no longer, with and without a stated length', async () => {
    client.write(`${head(`content-length: ${LIMIT}`)}"${'x'.repeat(LIMIT - 2)}"`);
    expect(await answer()).toContain(`{"length":${LIMIT}}`);
  });

  it.each([
    ['said', `content-length: ${LIMIT + 1}`, ''],
    ['not said', 'transfer-encoding: chunked', inChunks(`"${'x'.repeat(LIMIT)}`, 4_096)],
  ])('that is too long is refused, its length %s', async (_how, length, body) => {
    client.write(head(length) + body);
    expect(await answer()).toMatch(/^HTTP\/1\.1 413 /);
  });
});
