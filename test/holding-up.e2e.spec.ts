import { Agent, request } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OpenApiDocument, Schema } from './support/hostile-requests.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';

/** The longest body of a refusal. */
const MAX_REFUSAL_BYTES = 128 * 1024;
/**
 * How many measurements must be too slow before a request counts as blocking others: on a busy machine anything is slow
 * at times.
 */
const TRIES = 5;

interface Held {
  readonly status: number;
  readonly bytes: number;
  /** The longest wait of a second client meanwhile, in milliseconds. */
  readonly held: number;
}

/**
 * Large and hostile bodies, each of which once held the process for seconds or ended it. The wait of a second client
 * while one is parsed and refused is compared with its wait while the largest possible list is recorded, in the same
 * process and minute: a slow machine is slow with both.
 */
describe('no request blocks the others', () => {
  let database: TestDatabase;
  let server: ServerProcess;
  let document: OpenApiDocument;
  let folder: string;
  const agent = new Agent({ keepAlive: true });
  beforeAll(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    server = await serverProcess(database, { WAYLOG_VERIFY_SHARE: '0', WAYLOG_FILES_DIR: folder });
    document = (await server.call('GET', '/openapi.json')).body as OpenApiDocument;
  });
  afterAll(async () => {
    agent.destroy();
    await server.end('SIGTERM');
    await database.drop();
    await rm(folder, { recursive: true });
  });

  function send(method: string, path: string, body?: Buffer): Promise<{ status: number; bytes: number }> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.url);
      const headers = {
        authorization: `Bearer ${ADMIN_KEY}`,
        ...(body && { 'content-type': 'application/json', 'content-length': body.length }),
      };
      const sent = request({ agent, hostname, port, method, path, headers }, (response) => {
        let bytes = 0;
        response.on('data', (part: Buffer) => (bytes += part.length));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, bytes }));
        response.on('error', reject);
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** The longest wait of a client that sends one request after another until it is told to stop. */
  async function waitsUntil(done: AbortSignal): Promise<number> {
    let longest = 0;
    while (!done.aborted) {
      const began = performance.now();
      await send('GET', '/health/live');
      longest = Math.max(longest, performance.now() - began);
    }
    return longest;
  }

  async function hold(method: string, path: string, body: Buffer): Promise<Held> {
    const done = new AbortController();
    const second = waitsUntil(done.signal);
    const answer = await send(method, path, body);
    done.abort();
    return { ...answer, held: await second };
  }

  const lists = (schema: Schema | undefined): string[] =>
    Object.keys((schema?.$ref ? named(schema.$ref) : schema)?.properties ?? {});
  const named = (reference: string) => document.components.schemas[reference.split('/').at(-1) as string];
  const many = (howMany: number, item = '{}') => `[${Array(howMany).fill(item).join()}]`;
  const object = (fields: readonly string[], value: string) =>
    `{${fields.map((field) => `${JSON.stringify(field)}:${value}`).join()}}`;

  /** As many names as a body can have, none twice: an object with a thousand of them takes 8 ms for each copy. */
  const wide = () =>
    `[${Array.from({ length: 74 }, (_, i) =>
      object(
        Array.from({ length: 999 }, (__, j) => `${'k'.repeat(80)}${i}_${j}`),
        '0',
      ),
    ).join()}]`;

  /** Bodies for a route: in fields that it accepts, in lists that it accepts, and in fields that it does not. */
  function bodies(schema: Schema | undefined): Record<string, string> {
    const fields = lists(schema);
    const share = Math.floor(90_000 / Math.max(1, fields.length));
    const parameters = ['values', 'frames', 'waypoints', 'headings', 'chunk', 'commands', 'types'];
    return {
      'millions of empty objects': many(2_600_000),
      'as many empty objects as are parsed': many(99_000),
      'a list of empty objects that is not too long': many(5_000),
      // Some routes need no body at all.
      ...(fields.length > 0 && {
        'empty objects in every field': object(fields, many(share)),
        'one long text in every field': object(
          fields,
          JSON.stringify('x'.repeat(Math.floor(8e6 / fields.length))),
        ),
      }),
      'empty objects in every field of parameters': `{"query":"select 1","command":"SaveFrameResults","serviceName":"x","parameters":${object(parameters, many(12_000))}}`,
      'half a million unknown fields': object(
        Array.from({ length: 500_000 }, (_, i) => `x${i}`),
        '1',
      ),
      'as many unknown fields as are parsed': object(
        Array.from({ length: 70_000 }, (_, i) => `x${i}`),
        '1',
      ),
      'as many unknown fields as are parsed of parameters': `{"query":"GetWaypoints","command":"UpdateWaypoint","serviceName":"x","parameters":${object(
        Array.from({ length: 70_000 }, (_, i) => `x${i}`),
        '1',
      )}}`,
      'as many fields as are parsed of an object': `{"cameraParams":${object(
        Array.from({ length: 70_000 }, (_, i) => `x${i}`),
        '1',
      )}}`,
      'wide objects, each with names of its own': `{"command":"Transact","serviceName":"x","parameters":{"flightId":"fixture","commands":${wide()}}}`,
      'wide objects in a transaction': `{"commands":${wide()}}`,
      'a list of wide objects': wide(),
      'a long text that is split at its commas': `{"query":"GetEvents","serviceName":"x","parameters":{"types":${JSON.stringify(','.repeat(8_000_000))}}}`,
      'a long text in place of an id': `{"command":"SaveFrameResults","serviceName":"x","transactionId":${JSON.stringify(transactionId)},"parameters":{"flightId":{"a":${JSON.stringify('x'.repeat(8_000_000))}}}}`,
      'a long name of a field': object(['x'.repeat(8_000_000)], '1'),
      'a deep list': '['.repeat(4_000_000),
    };
  }

  /** The longest that other requests can wait, in milliseconds. */
  let bound: number;
  let transactionId: string;
  beforeAll(async () => {
    expect((await server.call('POST', '/v1/flights', aFlight('fixture', 2))).status).toBe(201);
    const frames = (n: number) =>
      Buffer.from(JSON.stringify(Array.from({ length: 5_000 }, (_, i) => ({ ...aFrame(i), altitude: n }))));
    const largest: number[] = [];
    for (let n = 0; n < TRIES; n++) {
      const { status, held } = await hold('POST', '/v1/flights/fixture/frames', frames(n));
      expect(status).toBe(200);
      largest.push(held);
    }
    bound = 3 * Math.max(...largest);
    transactionId = await open('fixture');
  });

  async function open(flightId: string): Promise<string> {
    const { body } = await server.call('POST', '/v1/transactions', {
      flightId,
      serviceName: 'x',
      timeLimit: 300,
    });
    return (body as { transactionId: string }).transactionId;
  }

  /** Tries until one is within the limit. */
  async function expectWithin(said: string, look: () => Promise<number>): Promise<void> {
    let least = Infinity;
    for (let n = 0; n < TRIES && least > bound; n++) least = Math.min(least, await look());
    expect({ said, held: least, bound, isWithin: least <= bound }).toMatchObject({ said, isWithin: true });
  }

  it('whatever is sent to any route, and no refusal is long', async () => {
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => ['post', 'put', 'patch'].includes(method))
        .map(([method, operation]) => ({
          method: method.toUpperCase(),
          path: path.replace('{id}', 'fixture').replaceAll(/\{\w+\}/g, '1'),
          schema: operation.requestBody?.content['application/json']?.schema,
        })),
    );
    expect(routes.length).toBeGreaterThan(25);
    for (const { method, path, schema } of routes) {
      for (const [what, text] of Object.entries(bodies(schema))) {
        const body = Buffer.from(text);
        expect(body.length).toBeLessThan(8 * 1024 * 1024);
        const said = `${method} ${path} with ${what}`;
        await expectWithin(said, async () => {
          const { status, bytes, held } = await hold(method, path, body);
          expect({
            said,
            isRefused: status >= 400 && status < 500,
            isShort: bytes <= MAX_REFUSAL_BYTES,
          }).toEqual({ said, isRefused: true, isShort: true });
          return held;
        });
      }
    }
  });

  it('whatever is read, and no answer exceeds the limit', async () => {
    const text = 'x'.repeat(14_000);
    const lists = Array(490).fill([]);
    const inTurns = async (count: number, one: (n: number) => ReturnType<typeof server.call>) => {
      for (let n = 0; n < count; n += 50) {
        const turn = await Promise.all(Array.from({ length: 50 }, (_, i) => one(n + i)));
        expect(turn.filter(({ status }) => status > 201)).toEqual([]);
      }
    };
    const { position } = (await server.call('POST', '/v1/flights', aFlight('pictures', 2))).body as {
      position: string;
    };
    await inTurns(1_200, (n) =>
      server.call('PUT', `/v1/flights/pictures/images/${n}`, {
        filePath: `${n}.jpg`,
        metadata: { text, lists },
      }),
    );
    await inTurns(800, (n) =>
      server.call('POST', '/v1/flights', {
        ...aFlight(`camera-${n}`, 2),
        description: 'x'.repeat(9_000),
        cameraParams: { text, lists },
      }),
    );
    for (const [path, expected] of [
      ['/v1/flights/pictures/events?limit=5000', 400],
      [`/v1/events?limit=5000&after=${position}`, 400],
      ['/v1/flights?limit=10000', 400],
      ['/v1/flights/pictures/events?limit=500', 200],
      ['/v1/flights/fixture/events?limit=5000', 200],
      ['/v1/flights?limit=200', 200],
      ['/v1/flights/fixture/frames?limit=5000', 200],
    ] as const) {
      await expectWithin(path, async () => {
        const { status, bytes, held } = await hold('GET', path, Buffer.alloc(0));
        expect({ path, status, isShort: bytes < 17 * 2 ** 20 }).toEqual({
          path,
          status: expected,
          isShort: true,
        });
        return held;
      });
    }
  });

  it('while a transaction of the largest size is recorded', async () => {
    let flights = 0;
    await expectWithin('the commit', async () => {
      const flightId = `together-${flights++}`;
      expect((await server.call('POST', '/v1/flights', aFlight(flightId))).status).toBe(201);
      const held = await open(flightId);
      const add = (n: number) =>
        server.call('POST', '/v1/commands', {
          command: 'SaveFrameResults',
          serviceName: 'x',
          transactionId: held,
          parameters: { frames: Array.from({ length: 1_000 }, (_, i) => aFrame(n * 1_000 + i)) },
        });
      for (let n = 0; (await add(n)).status === 200; n++);
      const committed = await hold('POST', `/v1/transactions/${held}/commit`, Buffer.alloc(0));
      expect(committed.status).toBe(200);
      return committed.held;
    });
  });

  it('while answers are kept and not read, however often they are requested', async () => {
    const query = `select string_agg('${'b'.repeat(64)}', '') as b from generate_series(1, 100000)`;
    const body = JSON.stringify({ query, serviceName: 'x', useCache: true });
    expect((await send('POST', '/v1/queries', Buffer.from(body))).bytes).toBeGreaterThan(6_000_000);
    const { hostname, port } = new URL(server.url);
    await expectWithin('60 at once on one connection', async () => {
      const done = new AbortController();
      const second = waitsUntil(done.signal);
      const socket = connect(Number(port), hostname).pause();
      socket.write(
        `POST /v1/queries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`.repeat(
          60,
        ),
      );
      // Requests after them are answered once they have been.
      for (let n = 0; n < 3; n++) await send('POST', '/v1/queries', Buffer.from(body));
      done.abort();
      const held = await second;
      socket.destroy();
      return held;
    });
  });
});
