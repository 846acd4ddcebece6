import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance } from 'fastify';
import { namedQueries } from '../gateway/queries.js';
import { weightOfRead } from './read-weights.js';
import { beginWork, endWork, RequestWork } from './request-work.js';
import { WorkInTurn } from './work-in-turn.js';

const MIB = 1024 * 1024;
const FRAMES = '/v1/flights/f1/frames?limit=60000';

const routes = new Map(
  Object.entries({
    '/v1/flights': 'ListFlights',
    '/v1/flights/:id/frames': 'GetFrameResults',
    '/v1/flights/:id/headings': 'GetHeadingHistory',
    '/v1/flights/:id/waypoints': 'GetWaypoints',
    '/v1/flights/:id/chunks': 'GetChunkStates',
    '/v1/flights/:id': 'GetFlight',
    '/v1/events': 'GetEvents',
  }).map(([url, name]) => [url, namedQueries.get(name)]),
);

describe('heavy requests', () => {
  let server: FastifyInstance;
  let begun: string[];
  let ends: Map<string, () => void>;
  let made: EventEmitter;
  let sent: Promise<number>[];
  beforeEach(async () => {
    [begun, ends, made, sent] = [[], new Map(), new EventEmitter(), []];
    server = fastify({ forceCloseConnections: true, bodyLimit: 8 * MIB });
    server.decorateRequest('actor');
    server.addHook('onRequest', (request, _reply, done) => {
      request.actor = String(request.headers['x-name']).charAt(0);
      done();
    });
    server.addHook('preValidation', (request, _reply, done) => {
      made.emit(`arrived ${String(request.headers['x-name'])}`);
      done();
    });
    server.addHook('preValidation', new WorkInTurn(undefined, weightOfRead(namedQueries)).preValidation);
    server.addHook('preHandler', beginWork);
    server.addHook('onSend', endWork);
    server.addHook('onSend', (_request, _reply, payload, done) => {
      made.emit('answer');
      done(null, payload);
    });
    server.server.on('connection', (socket) => {
      socket.once('close', () => made.emit('closed'));
    });
    const work = (name: string) => {
      begun.push(name);
      made.emit('begun');
      return new Promise<void>((resolve) => ends.set(name, resolve));
    };
    for (const [url, reads] of [['/v1/command', undefined] as const, ...routes])
      server.route({
        url,
        config: { waylog: { reads } },
        method: ['GET', 'POST'],
        handler: async ({ headers }) => {
          await work(String(headers['x-name']));
          return 'done';
        },
      });
    server.post('/v1/timeout', (request, reply) => {
      RequestWork.of(request, reply).goesOnUntil(work(String(request.headers['x-name'])));
      return 'no answer in time';
    });
    server.setErrorHandler((error: { code: string }, _request, reply) => {
      void reply.status(error.code === 'requests.too-many' ? 429 : 500).send(error.code);
    });
    await server.listen({ port: 0, host: '127.0.0.1' });
  });
  afterEach(async () => {
    for (const end of ends.values()) end();
    await server.close();
    await Promise.allSettled(sent);
  });

  interface Sent {
    readonly bytes?: number;
    readonly path?: string;
    readonly signal?: AbortSignal;
  }

  /** Sends a request named by its caller, such as a1, and waits until its body has arrived. */
  async function start(name: string, { bytes, path = '/v1/command', signal }: Sent = {}): Promise<void> {
    const arrived = once(made, `arrived ${name}`);
    const answer = fetch(`http://127.0.0.1:${(server.server.address() as AddressInfo).port}${path}`, {
      ...(bytes !== undefined && { method: 'POST', body: JSON.stringify('x'.repeat(bytes)) }),
      headers: { 'x-name': name, 'content-type': 'application/json' },
      ...(signal && { signal }),
    }).then(({ status }) => status);
    answer.catch(() => undefined);
    sent.push(answer);
    await arrived;
  }
  const command = (name: string, bytes = MIB, signal?: AbortSignal) =>
    start(name, { bytes, ...(signal && { signal }) });
  const read = (name: string, path = FRAMES, signal?: AbortSignal) =>
    start(name, { path, ...(signal && { signal }) });

  async function end(name: string): Promise<void> {
    const answered = once(made, 'answer');
    ends.get(name)?.();
    await answered;
  }

  async function cut(caller: AbortController): Promise<void> {
    const closed = once(made, 'closed');
    caller.abort();
    await closed;
  }

  it('of one caller wait for each other, and no light one and no other caller waits for them', async () => {
    for (const name of ['a1', 'a2', 'a3']) await command(name);
    await command('a4', 100);
    await command('b1');
    expect(begun).toEqual(['a1', 'a2', 'a4', 'b1']);
    await end('a1');
    expect(begun.at(-1)).toBe('a3');
  });

  it('have turns for reads and for commands', async () => {
    for (const name of ['a1', 'a2', 'a3']) await read(name);
    await read('a4', '/v1/flights/f1/frames?limit=100');
    await command('a5');
    expect(begun).toEqual(['a1', 'a2', 'a4', 'a5']);
    await end('a2');
    expect(begun.at(-1)).toBe('a3');
  });

  it('leave a place for the short lists of others, however many of one caller wait', async () => {
    const list = '/v1/flights?limit=10';
    for (let n = 1; n <= 70; n++) await read(`a${n}`, list);
    await read('b1', list);
    await read('c1', list);
    expect(begun).toEqual(['a1', 'a2', 'a3', 'b1']);
    await end('a1');
    expect(begun.at(-1)).toBe('c1');
    await end('b1');
    expect(begun.at(-1)).toBe('a4');
  });

  it('are not begun for a caller that has gone meanwhile, and hold up none behind them', async () => {
    const gone = new AbortController();
    for (const name of ['a1', 'a2']) await command(name);
    await command('a3', MIB, gone.signal);
    await command('a4');
    await cut(gone);
    await end('a1');
    expect(begun).toEqual(['a1', 'a2', 'a4']);
  });

  it('keep their turn until their work has ended, although their caller has gone', async () => {
    const gone = new AbortController();
    const goneReading = new AbortController();
    await command('a1', MIB, gone.signal);
    await command('a2');
    await command('a3');
    await read('b1', FRAMES, goneReading.signal);
    await read('b2');
    await read('b3');
    await cut(gone);
    await cut(goneReading);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'b2']);
    await end('a1');
    await end('b1');
    expect(begun.slice(4)).toEqual(['a3', 'b3']);
  });

  it('keep their turn until their work has ended, although they were answered before', async () => {
    for (const name of ['a1', 'a2']) await start(name, { bytes: MIB, path: '/v1/timeout' });
    await Promise.all(sent);
    await command('a3');
    expect(begun).toEqual(['a1', 'a2']);
    const next = once(made, 'begun');
    ends.get('a2')?.();
    await next;
    expect(begun.at(-1)).toBe('a3');
  });

  it('of route chunks are as much as one caller can have', async () => {
    for (const name of ['a1', 'a2', 'b1']) await read(name, '/v1/flights/f1/chunks');
    expect(begun).toEqual(['a1', 'b1']);
  });

  it('of one caller are refused when too many wait, and those of others are not', async () => {
    for (let n = 1; n <= 62; n++) await read(`a${n}`);
    await read('a63');
    expect(await sent.at(-1)).toBe(429);
    await read('b1');
    expect(begun).toEqual(['a1', 'a2', 'b1']);
  });
});

describe('the weight of a read', () => {
  const weigh = (url: string, query: object = {}, body?: object) =>
    weightOfRead(namedQueries)({
      routeOptions: { url, config: { waylog: { reads: routes.get(url) } } },
      query,
      body,
    } as never).weight;
  const named = (query: string, parameters?: object) => weigh('/v1/queries', {}, { query, parameters });

  it('follows from the rows that it can return', () => {
    expect([
      weigh('/v1/flights/:id/frames'),
      weigh('/v1/flights/:id/frames', { limit: '1000' }),
      weigh('/v1/flights/:id/frames', { limit: '1001' }),
      weigh('/v1/flights/:id/frames', { from: '10', to: '1009' }),
      weigh('/v1/flights/:id/headings', { last: '1' }),
      weigh('/v1/flights/:id/waypoints'),
      weigh('/v1/flights', { limit: '5000' }),
      weigh('/v1/flights'),
      weigh('/v1/events', { limit: '1' }),
      weigh('/v1/flights/:id/chunks'),
      weigh('/v1/flights/:id'),
      weigh('/v1/flights/:id/frames', { limit: 'x' }),
    ]).toEqual([1, 0, 1, 0, 0, 1, 1, 0, 1, 2, 0, 1]);
  });

  it('counts a fold of the history', () => {
    expect([weigh('/v1/flights/:id', { asOf: '1' }), named('GetFlight', { asOf: '1' })]).toEqual([1, 1]);
  });

  it('is the same by name', () => {
    expect([
      named('GetFrameResults'),
      named('GetFrameResults', { limit: null }),
      named('GetFrameResults', { limit: 10 }),
      named('GetChunkStates', { asOf: '1' }),
      named('select 1'),
      named('__proto__'),
      weigh('/v1/queries', {}, 'nothing' as never),
    ]).toEqual([1, 1, 0, 2, 0, 0, 0]);
  });
});
