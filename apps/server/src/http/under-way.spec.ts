import { EventEmitter, once } from 'node:events';
import { connect, type AddressInfo, type Socket } from 'node:net';
import fastify, { type FastifyInstance } from 'fastify';
import { beginWork, endWork } from './request-work.js';
import { AnswersUnderWay, BodiesUnderWay, boundPipelining, RequestsUnderWay } from './under-way.js';

const MIB = 1024 * 1024;
const GET_NEVER = 'GET /never HTTP/1.1\r\nhost: x\r\nx-caller: a\r\n\r\n';
/** More than a connection on loopback buffers by itself. */
const LARGE = 24 * MIB;

describe('the limits of requests in progress', () => {
  let server: FastifyInstance;
  let made: EventEmitter;
  const sockets: Socket[] = [];

  async function serve({
    notTakenMs = 600_000,
    ...some
  }: {
    bytesOfOne?: number;
    bytes?: number;
    notTakenMs?: number;
  }) {
    const bounds = { bytesOfOne: 1_000 * MIB, bytes: 1_000 * MIB, ...some };
    made = new EventEmitter();
    server = fastify({ forceCloseConnections: true, bodyLimit: LARGE });
    server.decorateRequest('actor');
    server.addHook('onRequest', boundPipelining);
    server.addHook('onRequest', (request, _reply, done) => {
      request.actor = String(request.headers['x-caller']);
      done();
    });
    server.addHook('onRequest', new RequestsUnderWay().onRequest);
    server.addHook('onRequest', new BodiesUnderWay(LARGE, bounds).onRequest);
    server.addHook('onRequest', (_request, _reply, done) => {
      made.emit('request');
      done();
    });
    server.addHook('preHandler', beginWork);
    server.addHook('onSend', endWork);
    server.addHook('onSend', new AnswersUnderWay(bounds, notTakenMs).onSend);
    server.addHook('onSend', (_request, reply, payload, done) => {
      made.emit('answer', reply.statusCode);
      done(null, payload);
    });
    server.get('/large', () => Buffer.alloc(LARGE, 'x'));
    server.get('/small', () => 'small');
    server.post('/body', () => 'read');
    server.get('/never', () => new Promise(() => undefined));
    const held = () => new Promise((resolve) => made.emit('held', resolve));
    server.get('/held', held);
    server.post('/held', held);
    server.get('/late', async () => {
      await new Promise((resolve) => setTimeout(resolve, 5 * notTakenMs));
      return 'late';
    });
    server.setErrorHandler((error: { code: string }, _request, reply) => {
      void reply.status(error.code.endsWith('.too-many') ? 429 : 503).send(error.code);
    });
    server.server.on('request', (_request, response) => {
      response.once('close', () => made.emit('taken'));
    });
    await server.listen({ port: 0, host: '127.0.0.1' });
  }
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await server.close();
  });

  const allTaken = (count: number) =>
    new Promise<void>((resolve) => {
      let left = count;
      made.on('taken', () => {
        if (--left === 0) resolve();
      });
    });

  /** A connection that reads nothing by itself. */
  async function connection() {
    const accepted = once(server.server, 'connection') as Promise<[Socket]>;
    const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1').pause();
    socket.on('error', () => undefined);
    sockets.push(socket);
    const [served] = await accepted;
    return {
      socket,
      served,
      /** The statuses of answers that are ready now, read or not, to requests sent at once. */
      ask: async (path: string, { caller = 'a', times = 1 } = {}) => {
        const statuses: number[] = [];
        const answered = new Promise<void>((resolve) => {
          made.on('answer', (status: number) => {
            if (statuses.push(status) === times) resolve();
          });
        });
        socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nx-caller: ${caller}\r\n\r\n`.repeat(times));
        await answered;
        made.removeAllListeners('answer');
        return statuses;
      },
    };
  }

  /**
   * Sends the headers of a body and one byte of it; returns whether the server waits for the rest, or how it refused.
   */
  async function send(socket: Socket, headers: string) {
    const came = once(made, 'request').then(() => 'read');
    const answered = once(made, 'answer').then(([status]) => status as number);
    socket.write(
      `POST /body HTTP/1.1\r\nhost: x\r\nx-caller: a\r\ncontent-type: application/json\r\n${headers}\r\n\r\n${headers.includes('chunked') ? '1\r\n{\r\n' : '{'}`,
    );
    return Promise.race([came, answered]);
  }

  it('count short bodies too: there can be thousands of them', async () => {
    await serve({ bytesOfOne: 100_000 });
    const statuses: unknown[] = [];
    for (let n = 0; n < 5; n++)
      statuses.push(await send((await connection()).socket, 'content-length: 25000'));
    expect(statuses).toEqual(['read', 'read', 'read', 'read', 429]);
  });

  it('apply to the requests of one connection, even if sent at once; an answered request makes room', async () => {
    await serve({ notTakenMs: 100 });
    let begun = 0;
    made.on('request', () => begun++);
    const { ask, socket } = await connection();
    const statuses = await ask('/late', { times: 100 });
    expect(statuses.filter((status) => status === 200)).toHaveLength(64);
    expect(statuses.filter((status) => status === 429)).toHaveLength(36);
    expect(begun).toBe(64);
    socket.destroy();
    const { ask: askAgain, socket: taking } = await connection();
    taking.resume();
    for (let n = 0; n < 70; n++) expect(await askAgain('/small')).toEqual([200]);
  });

  it('apply to the requests of one caller, over all its connections', async () => {
    await serve({});
    const statuses: number[] = [];
    for (let n = 0; n < 9; n++) statuses.push(...(await (await connection()).ask('/small', { times: 60 })));
    expect(statuses).toEqual(Array(540).fill(200));
    let begun = 0;
    made.on('request', () => begun++);
    const refused = new Promise<void>((resolve) => {
      let count = 0;
      made.on('answer', (status: number) => {
        if (status === 429 && ++count === 40) resolve();
      });
    });
    for (let n = 0; n < 9; n++) (await connection()).socket.write(GET_NEVER.repeat(60));
    await refused;
    expect(begun).toBe(500);
    expect(await (await connection()).ask('/small', { caller: 'b' })).toEqual([200]);
  });

  it('apply to the bodies of one caller, before they arrive; a closed connection makes room', async () => {
    await serve({ bytesOfOne: 2 * LARGE });
    const whole = `content-length: ${LARGE}`;
    const first = await connection();
    expect(await send(first.socket, whole)).toBe('read');
    expect(await send((await connection()).socket, 'transfer-encoding: chunked')).toBe('read');
    expect(await send((await connection()).socket, whole)).toBe(429);
    const closed = new Promise((resolve) => first.served.once('close', resolve));
    first.socket.destroy();
    await closed;
    expect(await send((await connection()).socket, whole)).toBe('read');
    expect(await send((await connection()).socket, 'transfer-encoding: chunked')).toBe(429);
  });

  it('count a body until its command has ended, although nobody waits for the answer', async () => {
    await serve({ bytesOfOne: LARGE });
    const { socket, served } = await connection();
    const held = once(made, 'held') as Promise<[(answer: string) => void]>;
    socket.write(
      'POST /held HTTP/1.1\r\nhost: x\r\nx-caller: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
    );
    const [end] = await held;
    const closed = new Promise((resolve) => served.once('close', resolve));
    socket.destroy();
    await closed;
    const whole = `content-length: ${LARGE}`;
    expect(await send((await connection()).socket, whole)).toBe(429);
    const answered = once(made, 'answer');
    end('done');
    await answered;
    expect(await send((await connection()).socket, whole)).toBe('read');
  });

  it('count a request until its work has ended, although its connection is closed', async () => {
    await serve({});
    const ends: ((answer: string) => void)[] = [];
    const all = new Promise<void>((resolve) => {
      made.on('held', (end: (answer: string) => void) => {
        if (ends.push(end) === 500) resolve();
      });
    });
    const cut: Promise<unknown>[] = [];
    const cutting: Socket[] = [];
    for (let n = 0; n < 10; n++) {
      const { socket, served } = await connection();
      socket.write(GET_NEVER.replace('never', 'held').repeat(50));
      cut.push(new Promise((resolve) => served.once('close', resolve)));
      cutting.push(socket);
    }
    await all;
    for (const socket of cutting) socket.destroy();
    await Promise.all(cut);
    expect(await (await connection()).ask('/small')).toEqual([429]);
    const answered = once(made, 'answer');
    ends[0]?.('done');
    await answered;
    made.removeAllListeners('answer');
    expect(await (await connection()).ask('/small')).toEqual([200]);
  });

  it('apply to the answers of one caller, over all its connections; an answer that is read makes room', async () => {
    await serve({ bytesOfOne: 2 * LARGE });
    const first = await connection();
    const second = await connection();
    expect([await first.ask('/large'), await second.ask('/large')]).toEqual([[200], [200]]);
    expect(await (await connection()).ask('/large')).toEqual([429]);
    expect(await (await connection()).ask('/large', { caller: 'b' })).toEqual([200]);
    const taken = allTaken(2);
    first.socket.resume();
    second.socket.resume();
    await taken;
    expect(await (await connection()).ask('/large', { times: 3 })).toEqual([200, 200, 429]);
  });

  it('apply to all callers together', async () => {
    await serve({ bytes: 2 * LARGE });
    const statuses: number[] = [];
    for (const caller of ['a', 'b', 'c'])
      statuses.push(...(await (await connection()).ask('/large', { caller })));
    expect(statuses).toEqual([200, 200, 503]);
  });

  it('stop counting when a connection closes, also for an answer that waits behind others', async () => {
    await serve({ bytesOfOne: 3 * LARGE });
    const { ask, socket, served } = await connection();
    expect(await ask('/large', { times: 4 })).toEqual([200, 200, 200, 429]);
    const closed = new Promise((resolve) => served.once('close', resolve));
    socket.destroy();
    await closed;
    expect(await (await connection()).ask('/large', { times: 4 })).toEqual([200, 200, 200, 429]);
  });

  it('close the connection of a caller that reads nothing of its answer', async () => {
    await serve({ notTakenMs: 50 });
    const { ask, served } = await connection();
    const closed = new Promise((resolve) => served.once('close', resolve));
    await ask('/large');
    await closed;
  });

  it('do not close a connection while there is no answer yet', async () => {
    await serve({ notTakenMs: 50 });
    const { socket } = await connection();
    let read = '';
    const closed = new Promise((resolve) =>
      socket.on('data', (part) => (read += String(part))).on('close', resolve),
    );
    socket.resume();
    // The second waits behind the first, on the same connection.
    const of = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;
    socket.write(of('/small') + of('/late', 'connection: close\r\n'));
    await closed;
    expect(read).toMatch(/small.*late$/s);
  });
});
