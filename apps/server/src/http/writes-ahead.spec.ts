import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance } from 'fastify';
import { unavailable } from '#lib/platform';
import { beginWork, endWork } from './request-work.js';
import { WritesAhead, type Tables } from './writes-ahead.js';

const KIB = 1024;

/** Tables that have come as far as the test says. */
class FakeTables implements Tables {
  isKept = true;
  /** The positions that somebody has waited for. */
  readonly asked: string[] = [];
  readonly #moved = new EventEmitter();
  #reached = 0;

  async waitFor(position: string): Promise<void> {
    this.asked.push(position);
    this.#moved.emit('asked');
    while (this.#reached < Number(position)) {
      const [isLate] = (await once(this.#moved, 'moved')) as [boolean];
      if (isLate) throw unavailable('projection.behind', 'Not in time');
    }
  }

  compare(a: string, b: string): number {
    return Number(a) - Number(b);
  }

  areKept(): Promise<boolean> {
    return Promise.resolve(this.isKept);
  }

  reach(position: number): void {
    this.#reached = position;
    this.#moved.emit('moved', false);
  }

  runOut(): void {
    this.#moved.emit('moved', true);
  }

  nextAsked(): Promise<unknown> {
    return once(this.#moved, 'asked');
  }
}

describe('what a caller writes before the tables have followed', () => {
  let server: FastifyInstance;
  let tables: FakeTables;
  let made: EventEmitter;
  let begun: string[];
  let position: number;
  beforeEach(async () => {
    [tables, made, begun, position] = [new FakeTables(), new EventEmitter(), [], 0];
    server = fastify({ forceCloseConnections: true, bodyLimit: 8 * KIB * KIB });
    server.decorateRequest('actor');
    server.addHook('onRequest', (request, _reply, done) => {
      request.actor = String(request.headers['x-name']).charAt(0);
      done();
    });
    server.addHook('preValidation', new WritesAhead(tables).preValidation);
    server.addHook('preHandler', beginWork);
    server.addHook('onSend', endWork);
    server.server.on('connection', (socket) => {
      socket.once('close', () => made.emit('closed'));
    });
    server.post('/v1/command', ({ headers }, reply) => {
      begun.push(String(headers['x-name']));
      void reply.header('waylog-position', String(++position));
      return 'done';
    });
    server.post('/v1/refused', (_request, reply) => {
      void reply.status(400);
      return 'refused';
    });
    await server.listen({ port: 0, host: '127.0.0.1' });
  });
  afterEach(() => server.close());

  const send = async (
    name: string,
    kib: number,
    path = '/v1/command',
    signal?: AbortSignal,
  ): Promise<void> => {
    const answer = await fetch(`http://127.0.0.1:${(server.server.address() as AddressInfo).port}${path}`, {
      method: 'POST',
      headers: { 'x-name': name, 'content-type': 'application/json' },
      body: JSON.stringify('x'.repeat(kib * KIB - 2)),
      ...(signal && { signal }),
    });
    await answer.text();
  };

  it('is bounded: it waits for them, and no other caller does', async () => {
    for (const name of ['a1', 'a2']) await send(name, 250);
    const asked = tables.nextAsked();
    const third = send('a3', 250);
    await asked;
    await send('b1', 250);
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    expect(tables.asked).toEqual(['1']);
    tables.reach(1);
    await third;
    expect(begun.at(-1)).toBe('a3');
  });

  it('is counted however short the bodies are', async () => {
    for (let n = 0; n < 32; n++) await send('a1', 16);
    const asked = tables.nextAsked();
    const next = send('a2', 16);
    await asked;
    // Those of 64 KiB together.
    expect(tables.asked).toEqual(['4']);
    tables.reach(4);
    await next;
  });

  it('asks nothing of the tables while it is little, and of what was refused there is nothing', async () => {
    for (let n = 0; n < 8; n++) await send('a1', 250, '/v1/refused');
    await send('a2', 500);
    expect(tables.asked).toEqual([]);
  });

  it('can be one large body, whatever the bound', async () => {
    await send('a1', 3_000);
    expect(begun).toEqual(['a1']);
  });

  it('is not bounded while nobody keeps the tables', async () => {
    tables.isKept = false;
    for (const name of ['a1', 'a2', 'a3']) await send(name, 900);
    expect(begun).toEqual(['a1', 'a2', 'a3']);
    expect(tables.asked).toEqual([]);
  });

  it('waits no longer when nobody keeps them any more', async () => {
    await send('a1', 900);
    const asked = tables.nextAsked();
    const second = send('a2', 900);
    await asked;
    tables.isKept = false;
    tables.runOut();
    await second;
    expect(begun).toEqual(['a1', 'a2']);
  });

  it('is not recorded at all for a caller that has gone while it waited', async () => {
    await send('a1', 900);
    const gone = new AbortController();
    const asked = tables.nextAsked();
    const second = expect(send('a2', 900, '/v1/command', gone.signal)).rejects.toThrow();
    await asked;
    const closed = once(made, 'closed');
    gone.abort();
    await Promise.all([closed, second]);
    tables.reach(1);
    await send('a3', 900);
    expect(begun).toEqual(['a1', 'a3']);
  });
});
