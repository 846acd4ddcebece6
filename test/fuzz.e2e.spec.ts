import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { schemaOf, type Schema } from '#lib/platform';
import { namedCommands } from '../apps/server/src/gateway/commands.js';
import { namedQueries } from '../apps/server/src/gateway/queries.js';
import { endlessTexts } from './support/endless-texts.js';
import {
  requestsTo,
  type Limits,
  type OpenApiDocument,
  type RawRequest,
} from './support/hostile-requests.js';
import { aChunk, aFlight, aFrame } from './support/samples.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { useServer } from './support/server.js';

/** `WAYLOG_FUZZ_SEED` and `WAYLOG_FUZZ_RUNS` (requests per route) extend the search. */
const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 15);

/** These would end the run by design, so their input never allows it. */
const RESTRICTED: Readonly<Record<string, Partial<Limits>>> = {
  // Drops data.
  'DELETE /v1/admin/hypertables/{table}/chunks': { knownPath: false, query: false },
  // Moves the schema under the server, down as well as up.
  'POST /v1/admin/migrations': { validBody: false },
  // Change tables, or keep the machine busy for as long as they like.
  'POST /v1/admin/models': { validBody: false },
  'POST /v1/admin/hypertables': { validBody: false },
  'PATCH /v1/admin/hypertables/{table}': { knownPath: false },
  'POST /v1/admin/archives': { validBody: false },
  'POST /v1/admin/verifications': { validBody: false },
  'POST /v1/admin/projections/{projection}/rebuild': { knownPath: false },
  // Stops what every read waits for.
  'POST /v1/admin/projectors/{projector}/pause': { knownPath: false },
};
/** Used in every path once, not left to chance: what PostgreSQL does not accept as text. */
const ALWAYS = ['%00', 'a%00b', '%ed%a0%80', '%', '__proto__', 'a'.repeat(129)];
/** Needs no input, and starts a backup. */
const LEFT_OUT = ['POST /v1/admin/backups'];

/** The 503s for features that are unavailable now. */
const STATED = new Set([
  'command.timeout',
  'commands.overloaded',
  'database.unavailable',
  'projection.behind',
  'projection.parked',
  'query.timeout',
  'reads.overloaded',
  'sql.busy',
  'sql.unavailable',
  'transactions.too-many',
]);

const STACK = /\bat (async )?[\w.<>]+ \(|\.(ts|js):\d+|node_modules|node:internal/;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

const server = useServer();
const agent = new Agent({ keepAlive: true });
afterAll(() => agent.destroy());

function send({ method, path, headers, body }: RawRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const sent = request(
      {
        agent,
        hostname,
        port,
        method,
        path,
        headers: { authorization: `Bearer ${ADMIN_KEY}`, ...headers, ...length },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers['content-type'] ?? '',
            text: Buffer.concat(parts).toString(),
          }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Sends raw bytes, and reads until the server closes the connection. */
function sendBytes(bytes: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    const parts: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.on('data', (part) => parts.push(part));
    socket.on('error', reject);
    socket.on('close', () => {
      const [headers = '', text = ''] = Buffer.concat(parts).toString().split('\r\n\r\n');
      resolve({
        status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(headers)?.[1] ?? 0),
        type: /^content-type: (.*)$/im.exec(headers)?.[1] ?? '',
        text,
      });
    });
  });
}

/** The position of the last event and the number of events. */
async function head(): Promise<string> {
  const { rows } = await server.store.pool.query<{ head: string }>(
    `select coalesce(max(position), 0) || ' of ' || count(*) as head from log.events`,
  );
  return rows[0]?.head ?? '';
}

function mustBeClean(of: RawRequest, { status, type, text }: Answer): void {
  const said = `${of.method} ${of.path.slice(0, 300)} answered ${status} ${type}: ${text.slice(0, 500)}`;
  if (status < 200 || status === 304) throw new Error(`${said}\nwhich is no answer of this API`);
  if (STACK.test(text) && status >= 400) throw new Error(`${said}\nwhich shows the inside of the server`);
  if (status < 400) return;
  if (!type.startsWith('application/problem+json')) throw new Error(`${said}\nwhich is no problem+json`);
  const problem = JSON.parse(text) as { status?: unknown; code?: unknown; title?: unknown; detail?: unknown };
  const isWhole =
    problem.status === status &&
    [problem.code, problem.title, problem.detail].every((field) => typeof field === 'string' && field !== '');
  if (!isWhole) throw new Error(`${said}\nwhich lacks a code, a title or a detail`);
  if (status >= 500 && !(status === 503 && STATED.has(problem.code as string)))
    throw new Error(`${said}\nwhich is a failure of the server`);
}

async function makeFixture(): Promise<void> {
  for (const id of ['fixture', 'other', 'w0']) {
    const path = `/v1/flights/${id}`;
    // Not by a read: the tables may not have it yet, or still have it.
    const { status } = await server.call('POST', '/v1/flights', aFlight(id, 2));
    // It exists already, or was erased.
    if (status === 409) continue;
    expect(status).toBe(201);
    for (const n of [0, 1]) {
      await server.call('PUT', `${path}/frames/${n}`, aFrame(n));
      await server.call('PUT', `${path}/images/${n}`, { filePath: `image ${n}` });
      await server.call('PUT', `${path}/chunks/c${n}`, aChunk(`c${n}`));
    }
  }
}

describe('hostile requests', () => {
  let document: OpenApiDocument;
  const tried = { requests: 0, done: 0, refused: 0, unavailable: 0 };
  beforeAll(async () => {
    document = (await server.call('GET', '/openapi.json')).body as OpenApiDocument;
  });

  /** Sends a request, and checks that a refusal recorded nothing. */
  async function attempt(of: RawRequest): Promise<Answer> {
    const before = await head();
    const answer = await send(of);
    mustBeClean(of, answer);
    tried.requests++;
    if (answer.status < 400) tried.done++;
    else tried[answer.status < 500 ? 'refused' : 'unavailable']++;
    if (answer.status >= 400 && answer.status < 500 && (await head()) !== before)
      throw new Error(
        `${of.method} ${of.path} answered ${answer.status}, and recorded something all the same`,
      );
    return answer;
  }

  it('to every route get an answer or a problem, and a refusal records nothing', async () => {
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
    );
    expect(routes.length).toBeGreaterThan(60);
    // Separate seeds: otherwise all routes get the same input.
    for (const [at, { method, path }] of routes.entries()) {
      const name = `${method} ${path}`;
      if (LEFT_OUT.includes(name)) continue;
      await makeFixture();
      const limits = { knownPath: true, validBody: true, query: true, ...RESTRICTED[name] };
      await fc.assert(
        fc.asyncProperty(requestsTo(method, path, document, limits), async (of) => {
          await attempt(of);
        }),
        { seed: seed + at, numRuns },
      );
      if (!path.includes('{')) continue;
      for (const step of ALWAYS)
        await attempt({ method, path: path.replaceAll(/\{\w+\}/g, step), headers: {} });
    }
    for (const name of [...LEFT_OUT, ...Object.keys(RESTRICTED)])
      expect(routes.map(({ method, path }) => `${method} ${path}`)).toContain(name);
    // Both kinds occurred: refused and accepted requests.
    expect(tried.done).toBeGreaterThan(tried.requests / 10);
    expect(tried.refused).toBeGreaterThan(tried.requests / 10);
    await expectReady();
  });

  it('with a body beyond the limit are refused, and the next one is served', async () => {
    const large = Buffer.alloc(9 * 1024 * 1024, 'a');
    for (const contentType of ['application/json', 'text/plain']) {
      const answer = await attempt({
        method: 'POST',
        path: '/v1/flights',
        headers: { 'content-type': contentType },
        body: large,
      }).catch((error: unknown) => error as Error);
      // The server may close the connection before all of it was sent.
      if (answer instanceof Error) expect(answer.message).toMatch(/EPIPE|ECONNRESET|socket hang up/);
      else expect([413, 415]).toContain(answer.status);
      await expectReady();
    }
  });

  it('to unknown routes, or with another method, get a problem', async () => {
    const paths = [
      '/',
      '/v1',
      '/v1/nothing',
      '/v1/flights/x/y/z',
      '/%',
      '/%ff',
      '//v1//flights',
      `/${'a'.repeat(9_000)}`,
    ];
    for (const path of paths)
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND'])
        expect((await attempt({ method, path, headers: {} })).status).toBeGreaterThanOrEqual(400);
    for (const path of Object.keys(document.paths).filter((p) => !p.includes('{')))
      for (const method of ['TRACE', 'PROPFIND'])
        expect((await attempt({ method, path, headers: {} })).status).toBe(404);
  });

  it('that are not HTTP get a problem too, and the connection is closed', async () => {
    const long = 'x'.repeat(100_000);
    const all = {
      'nonsense\r\n\r\n': 400,
      'GET / HTTP/9.9\r\n\r\n': 400,
      'GET /\u0000 HTTP/1.1\r\nhost: x\r\n\r\n': 400,
      [`GET / HTTP/1.1\r\nhost: x\r\nlong: ${long}\r\n\r\n`]: 431,
      'POST /v1/flights HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n': 400,
      'POST /v1/flights HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n': 400,
    };
    for (const [sent, status] of Object.entries(all)) {
      const before = await head();
      const answer = await sendBytes(sent);
      expect({ sent: sent.slice(0, 60), answer: answer.status }).toEqual({
        sent: sent.slice(0, 60),
        answer: status,
      });
      mustBeClean({ method: 'bytes', path: sent, headers: {} }, answer);
      expect(await head()).toBe(before);
    }
    await expectReady();
  });

  // A field without a limit could fill an 8 MB body: split at its commas, such a text held the process for seconds.
  it('cannot contain text of unlimited length, neither by route nor by name', () => {
    const component = (reference: string) =>
      document.components.schemas[reference.split('/').at(-1) as string] as Schema;
    const none = () => ({});
    const byRoute = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, { parameters = [], requestBody }]) => {
        const body = requestBody?.content['application/json']?.schema;
        return [
          ...(body ? endlessTexts(body as Schema, `${method} ${path}`, component) : []),
          ...parameters
            // Headers and addresses have 16 KiB, all together.
            .filter((parameter) => parameter.in === 'query')
            .flatMap(({ name, schema }) =>
              endlessTexts(schema as Schema, `${method} ${path}?${name}`, component),
            ),
        ];
      }),
    );
    const byName = [
      ...[...namedQueries].map(([name, { parameters }]) => [name, schemaOf(parameters)] as const),
      ...[...namedCommands].map(([name, { command }]) => [name, schemaOf(command)] as const),
    ].flatMap(([name, schema]) => endlessTexts(schema, name, none));
    expect([...byRoute, ...byName]).toEqual([]);
  });

  async function expectReady(): Promise<void> {
    expect((await send({ method: 'GET', path: '/health/ready', headers: {} })).status).toBe(200);
  }
});
