import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import pg from 'pg';
import { testServerUrl } from './support/database.js';
import { eventually } from './support/eventually.js';
import { OpenIdProvider } from './support/openid-provider.js';
import { aFlight } from './support/samples.js';
import { Statistics } from '../apps/server/src/operations/statistics.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { bearer, newKey, until, useServer } from './support/server.js';

const QUIET = { WAYLOG_VERIFY_SHARE: '0' };

describe('the request limit', () => {
  const server = useServer({ ...QUIET, WAYLOG_RATE_LIMIT: '5' });

  it('is separate for each caller, and is answered with 429 and when to try again', async () => {
    const key = await newKey(server, 'reader');
    const read = () => server.call('GET', '/v1/flights', undefined, bearer(key));
    // A slow machine may not send more than allowed at once: then it sends again.
    let answers: Awaited<ReturnType<typeof read>>[] = [];
    const refusedOf = () => answers.filter(({ status }) => status === 429);
    await eventually(async () => {
      answers = await Promise.all(Array.from({ length: 100 }, read));
      return refusedOf().length > 0;
    });
    const refused = refusedOf();
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    for (const { headers, body } of refused) {
      expect(headers.get('retry-after')).toBe('1');
      expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
      expect(body).toMatchObject({ status: 429, code: 'access.too-many-requests' });
    }
    // Another caller is not limited, nor are the probes.
    expect((await server.call('GET', '/v1/flights')).status).toBe(200);
    expect((await server.call('GET', '/health/live')).status).toBe(200);
    await until(read, ({ status }) => status === 200);
  });
});

describe('wrong keys', () => {
  const server = useServer(QUIET);

  it('are answered with 429 if they come too fast, with the right one among them, but known callers are not', async () => {
    const guesses = Array.from({ length: 60 }, (_, n) => `wlk_00000000000a_${String(n).padStart(43, 'x')}`);
    const read = (key: string) => server.call('GET', '/v1/flights', undefined, bearer(key));
    let right = '';
    const codes = new Set<string>();
    // Ten a second are checked, and the right one may be among them: so a new one, as the right one is known now.
    const refused = await until(
      async () => {
        right = await newKey(server, 'reader');
        const others = guesses.map(read);
        const answer = await read(right);
        for (const { body } of await Promise.all(others)) codes.add(body.code as string);
        return answer;
      },
      ({ status }) => status !== 200,
    );
    expect(codes).toEqual(new Set(['access.refused', 'access.too-many-wrong']));
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([
      429,
      expect.stringMatching(/^\d+$/),
    ]);
    expect((await read(ADMIN_KEY)).status).toBe(200);
    await until(
      () => read(right),
      (answer) => answer.status === 200,
    );
  });
});

describe('other origins', () => {
  const named = 'https://app.example';
  const server = useServer({ ...QUIET, WAYLOG_CORS_ORIGINS: `${named},http://127.0.0.1:8080` });
  const preflight = (origin: string) =>
    server.call('OPTIONS', '/v1/flights', undefined, {
      authorization: '',
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    });

  it('can call if they are named', async () => {
    const { status, headers } = await preflight(named);
    expect(status).toBe(204);
    expect(headers.get('access-control-allow-origin')).toBe(named);
    expect(headers.get('access-control-allow-headers')).toContain('authorization');
    expect(headers.get('access-control-allow-credentials')).toBeNull();
    const answer = await server.call('GET', '/v1/flights', undefined, {
      ...bearer(ADMIN_KEY),
      origin: named,
    });
    expect(answer.headers.get('access-control-allow-origin')).toBe(named);
    expect(answer.headers.get('access-control-expose-headers')).toContain('waylog-position');
    // Allowed origins can also read a refusal.
    const refusal = await server.call('GET', '/v1/flights', undefined, { authorization: '', origin: named });
    expect(refusal.status).toBe(401);
    expect(refusal.headers.get('access-control-allow-origin')).toBe(named);
  });

  it('need a key for any request that is not a preflight', async () => {
    for (const origin of [{ origin: named }, undefined]) {
      const { status } = await server.call('OPTIONS', '/v1/flights', undefined, {
        authorization: '',
        ...origin,
      });
      expect(status).toBe(401);
    }
  });

  it('cannot call if they are not named', async () => {
    for (const origin of [
      'https://evil.example',
      'https://app.example.evil.example',
      'http://app.example',
      'null',
    ]) {
      const refused = await preflight(origin);
      expect(refused.status).toBe(401);
      expect([...refused.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
      const answer = await server.call('GET', '/v1/flights', undefined, { ...bearer(ADMIN_KEY), origin });
      expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    }
  });
});

describe('a token that cannot be checked', () => {
  // Nothing listens there.
  const server = useServer({
    ...QUIET,
    WAYLOG_JWT_ISSUER: 'http://127.0.0.1:9/realm',
    WAYLOG_JWT_AUDIENCE: 'waylog',
  });

  it('is 503, and not a failure of the service, since anyone can cause it', async () => {
    const head = Buffer.from(JSON.stringify({ alg: 'RS256', kid: 'unknown' })).toString('base64url');
    for (let n = 0; n < 25; n++) {
      const { status, body } = await server.call(
        'GET',
        '/v1/flights',
        undefined,
        bearer(`${head}.e30.AAA${n}`),
      );
      expect({ status, body }).toMatchObject({ status: 503, body: { code: 'access.unavailable' } });
    }
    const { body } = await server.call('GET', '/metrics');
    expect(body).toMatch(/http_request_seconds_count\{method="GET",route="turned away",status="503"\} 25/);
    expect(body).not.toMatch(/route="\/v1\/flights",status="503"/);
    expect(server.app.get(Statistics).lastRequests.get().failedShare).toBe(0);
  });
});

describe('a request to the server as a whole', () => {
  const withPages = useServer({ ...QUIET, WAYLOG_CORS_ORIGINS: 'https://app.example' });
  const without = useServer(QUIET);

  it('needs a key like any other', async () => {
    for (const server of [withPages, without]) {
      const { hostname, port } = new URL(server.url);
      const socket = connect(Number(port), hostname);
      socket.end('OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      const parts: Buffer[] = [];
      for await (const part of socket) parts.push(part as Buffer);
      const answer = Buffer.concat(parts).toString();
      expect(answer).toMatch(/^HTTP\/1\.1 401 /);
      expect(answer).toContain('access.missing');
    }
  });
});

describe('an unavailable provider', () => {
  const provider = new OpenIdProvider();
  const env: Record<string, string> = { ...QUIET, WAYLOG_JWT_AUDIENCE: 'waylog' };
  beforeAll(async () => {
    await provider.start();
    env['WAYLOG_JWT_ISSUER'] = provider.issuer;
  });
  const server = useServer(env);

  it('is not blamed on the token: 503, and keys are still checked', async () => {
    const token = await provider.token();
    await provider.stop();
    const answer = await server.call('GET', '/v1/flights', undefined, bearer(token));
    expect(answer).toMatchObject({ status: 503, body: { code: 'access.unavailable' } });
    expect(answer.headers.get('retry-after')).toBe('1');
    expect((await server.call('GET', '/v1/flights')).status).toBe(200);
  });
});

describe('an unavailable database', () => {
  const server = useServer(QUIET);

  it('lets known callers in, and does not call a right key wrong', async () => {
    const [known, unknown] = [await newKey(server, 'operator'), await newKey(server, 'operator')];
    const live = (key: string) => server.call('GET', '/v1/admin/connection', undefined, bearer(key));
    expect((await live(known)).status).toBe(200);
    const name = new URL(server.store.url).pathname.slice(1);
    const admin = new pg.Client({ connectionString: testServerUrl() });
    await admin.connect();
    try {
      await admin.query(`alter database ${name} allow_connections false`);
      await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [name]);
      const { status, body } = await live(unknown);
      expect([status, body.code]).toEqual([503, 'access.unavailable']);
      // An unknown caller is not told where the database is, nor its error.
      expect(body.detail).not.toMatch(/127\.0\.0\.1|ECONN|database|connect/i);
      // Until long after the next check was due.
      for (let n = 0; n < 70; n++) {
        expect((await live(known)).status).toBe(200);
        await sleep(100);
      }
    } finally {
      await admin.query(`alter database ${name} allow_connections true`);
      await admin.end();
    }
    await until(
      () => live(unknown),
      ({ status }) => status === 200,
    );
  });
});

describe('a request', () => {
  const server = useServer(QUIET);
  const partOfAPost = `POST /v1/flights HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{`;

  it('that is too large is refused by its announced length', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /v1/flights HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-type: application/json\r\ncontent-length: 8388609\r\n\r\n`,
    );
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  it.each([
    ['head', 'POST /v1/flights HTTP/1.1\r\nhost: x\r\n'],
    ['body', partOfAPost],
  ])('whose %s does not arrive in time is refused, and the connection closed', async (_of, sent) => {
    const http = server.app.getHttpServer();
    expect([http.headersTimeout, http.requestTimeout]).toEqual([30_000, 3_600_000]);
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    try {
      http.headersTimeout = http.requestTimeout = 100;
      socket.write(sent);
      let answer = '';
      for await (const data of socket) answer += String(data);
      expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n[^]*"code":"http.too-slow"/);
    } finally {
      http.headersTimeout = 30_000;
      http.requestTimeout = 3_600_000;
      socket.destroy();
    }
  });

  it('that breaks off is not a failure of the server', async () => {
    const errors = jest.spyOn(Logger.prototype, 'error');
    try {
      const http = server.app.getHttpServer();
      const arrived = once(http, 'request') as Promise<[IncomingMessage]>;
      const { hostname, port } = new URL(server.url);
      const socket = connect(Number(port), hostname);
      socket.write(partOfAPost);
      const [request] = await arrived;
      const closed = new Promise((resolve) => request.once('close', resolve));
      socket.destroy();
      await closed;
      // By then the outcome of the other one is known.
      expect((await server.call('GET', '/health/live')).status).toBe(200);
      expect(errors).not.toHaveBeenCalled();
    } finally {
      errors.mockRestore();
    }
  });

  it('takes lists of at most 5,000', async () => {
    await server.call('POST', '/v1/flights', aFlight('lists', 0));
    const headings = (count: number) =>
      Array.from({ length: count }, (_, n) => ({
        frameId: n,
        heading: 1,
        timestamp: '2026-05-01T12:00:00Z',
      }));
    const post = (count: number) => server.call('POST', '/v1/flights/lists/headings', headings(count));
    expect((await post(5_001)).status).toBe(400);
    expect((await post(5_000)).status).toBe(200);
  });
});
