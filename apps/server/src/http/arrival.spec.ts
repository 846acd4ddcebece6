import { once } from 'node:events';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import fastify, { type FastifyInstance } from 'fastify';
import { boundArrival } from './arrival.js';

describe('a request that does not arrive', () => {
  let server: FastifyInstance;
  let socket: Socket;
  beforeAll(async () => {
    server = fastify({ requestTimeout: 3_600_000 });
    server.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    server.addHook('onRequest', boundArrival(100));
    const config = { waylog: { role: 'everybody', reads: undefined, files: ['image/png'] } };
    const takes = async ({ body }: { body: unknown }) => ({
      bytes: (await text(body as AsyncIterable<Buffer> as never)).length,
    });
    server.post('/json', takes);
    server.put('/file', { config }, takes);
    await server.listen({ port: 0, host: '127.0.0.1' });
  });
  afterAll(() => server.close());
  beforeEach(async () => {
    socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
  });
  afterEach(() => socket.destroy());

  it.each(['POST /json', 'PUT /file'])('is refused, and its connection closed: %s', async (route) => {
    socket.write(`${route} HTTP/1.1\r\nhost: x\r\ncontent-type: a/b\r\ncontent-length: 100\r\n\r\nhalf`);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 408 [^]*"code":"http.too-slow"/);
  });

  it('is refused although some of it arrives all the time, unless it is a file', async () => {
    const trickle = async (route: string) => {
      const drop = setInterval(() => socket.writable && socket.write('x'), 10);
      // The connection may be closed under it.
      socket.on('error', () => undefined);
      socket.write(
        `${route} HTTP/1.1\r\nhost: x\r\ncontent-type: a/b\r\ncontent-length: 60\r\nconnection: close\r\n\r\n`,
      );
      try {
        let answer = '';
        for await (const piece of socket) answer += String(piece);
        return answer;
      } finally {
        clearInterval(drop);
      }
    };
    expect(await trickle('PUT /file')).toMatch(/"bytes":60/);
    socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
    expect(await trickle('POST /json')).toMatch(/^HTTP\/1\.1 408 /);
  });
});
