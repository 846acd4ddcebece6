import { request, type IncomingMessage } from 'node:http';
import crypto, { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { ACCESS_ROLES, includesRole, type AccessRole } from '#lib/access';
import { routesOf, type RouteWithRole } from '#lib/rest';
import { apiControllers, operationsControllers } from '../apps/server/src/controllers.js';
import { OpenIdProvider } from './support/openid-provider.js';
import { aFlight, aFrame, aWaypoint } from './support/samples.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { bearer, httpClient, until, useServer } from './support/server.js';

const provider = new OpenIdProvider();
const env: Record<string, string> = { WAYLOG_VERIFY_SHARE: '0', WAYLOG_JWT_AUDIENCE: 'waylog' };
beforeAll(async () => {
  await provider.start();
  env['WAYLOG_JWT_ISSUER'] = provider.issuer;
});
afterAll(() => provider.stop());
const server = useServer(env);
const anonymous = httpClient(() => server.url);
const basic = (password: string) => ({
  authorization: `Basic ${Buffer.from(`me:${password}`).toString('base64')}`,
});
/** Requests without credentials. */
const NOBODY = { authorization: '' };

const newKey = async (role: AccessRole, more: object = {}) => {
  const { status, body } = await server.call('POST', '/v1/admin/keys', {
    name: `${role} of a test`,
    role,
    ...more,
  });
  expect(status).toBe(201);
  return body as { key: string; id: string };
};

/** Which role can do what, written independently: the table of the server is compared with it. */
function expectedRole(method: string, path: string): 'everybody' | AccessRole {
  if (path.startsWith('/health/')) return 'everybody';
  if (/^\/v1\/admin\/(keys|webhooks)|\/erase$/.test(path)) return 'admin';
  if (path.startsWith('/v1/admin/')) return method === 'GET' ? 'operator' : 'admin';
  if (path.startsWith('/v1/transactions')) return 'operator';
  if (path === '/v1/queries') return 'reader';
  return method === 'GET' ? 'reader' : 'operator';
}

describe('every route', () => {
  let routes: { method: string; path: string }[];
  const keys = new Map<AccessRole, string>();
  beforeAll(async () => {
    const { paths } = (await server.call('GET', '/openapi.json')).body as {
      paths: Record<string, Record<string, object>>;
    };
    routes = [
      ...Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
      ),
      ...['/metrics', '/openapi.json', '/docs', '/docs/', '/docs-yaml', '/docs/swagger-ui.css'].map(
        (path) => ({
          method: 'GET',
          path,
        }),
      ),
    ];
    for (const role of ACCESS_ROLES) keys.set(role, (await newKey(role)).key);
  });
  const filled = (path: string) => path.replaceAll(/\{\w+\}/g, '7');

  it('except health needs a key', async () => {
    expect(routes.length).toBeGreaterThan(70);
    for (const { method, path } of routes) {
      const { status, headers, body } = await anonymous.call(method, filled(path), undefined, NOBODY);
      const said = `${method} ${path}: ${status}`;
      if (expectedRole(method, path) === 'everybody') {
        expect(said).toBe(`${method} ${path}: 200`);
        continue;
      }
      expect(said).toBe(`${method} ${path}: 401`);
      expect(body).toMatchObject({ code: 'access.missing', status: 401 });
      const isDocument = /^\/(docs|openapi)/.test(path);
      expect(headers.get('www-authenticate')).toMatch(isDocument ? /^Basic / : /^Bearer /);
    }
  });

  it('needs the intended role, and no higher one', async () => {
    for (const { method, path } of routes) {
      const needed = expectedRole(method, path);
      if (needed === 'everybody') continue;
      for (const [role, key] of keys) {
        const { status, body } = await anonymous.call(method, filled(path), undefined, bearer(key));
        const said = `${method} ${path} with the key of a ${role}: `;
        if (includesRole(role, needed))
          expect(said + String([401, 403].includes(status))).toBe(`${said}false`);
        else {
          expect(said + status).toBe(`${said}403`);
          expect(body).toMatchObject({ code: 'access.role-too-small' });
        }
      }
    }
  });

  it('is listed with its role, for the command line', () => {
    const listed = routesOf([...operationsControllers, ...apiControllers]);
    const asInDocument = ({ method, path, role }: RouteWithRole) =>
      `${role} ${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`;
    expect(listed.map(asInDocument).sort()).toEqual(
      routes
        .filter(({ path }) => !/^\/(docs|openapi)/.test(path))
        .map(({ method, path }) => `${expectedRole(method, path)} ${method} ${path}`)
        .sort(),
    );
  });

  it('states its role in the OpenAPI document', async () => {
    const { body } = await server.call('GET', '/openapi.json');
    expect(body.components.securitySchemes).toMatchObject({ key: { type: 'http', scheme: 'bearer' } });
    expect(body.security).toEqual([{ key: [] }]);
    for (const [path, methods] of Object.entries(
      body.paths as Record<string, Record<string, Record<string, unknown>>>,
    ))
      for (const [method, operation] of Object.entries(methods)) {
        const role = expectedRole(method.toUpperCase(), path);
        expect({ path, role: operation['x-role'] }).toEqual({ path, role });
        expect(operation['security']).toEqual(role === 'everybody' ? [] : undefined);
      }
  });

  it('that does not exist needs a key too, and is reported missing only to a caller with one', async () => {
    for (const path of ['/', '/nothing', '/v1/nothing', '/docs/nothing.js']) {
      expect((await anonymous.call('GET', path, undefined, NOBODY)).status).toBe(401);
      expect((await anonymous.call('GET', path, undefined, bearer(keys.get('reader')!))).status).toBe(404);
    }
    expect((await anonymous.call('PUT', '/v1/flights', {}, bearer(keys.get('reader')!))).status).toBe(404);
  });

  it.each([
    ['a percent-encoding that is none', 'GET /v1/%zz HTTP/1.1\r\nhost: x\r\n', '400'],
    ['a parameter that is too long', `GET /v1/flights/${'a'.repeat(2_500)} HTTP/1.1\r\nhost: x\r\n`, '414'],
    ['an expectation that nobody knows', 'GET /v1/flights HTTP/1.1\r\nhost: x\r\nexpect: foo\r\n', '200'],
    [
      'a body that waits to be asked for',
      'POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 2\r\n',
      '404',
    ],
    [
      'a broken body for no route',
      'POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n',
      '404',
    ],
    ['OPTIONS of no page', 'OPTIONS /v1/flights HTTP/1.1\r\nhost: x\r\n', '404'],
  ])('needs a key before it reports anything about %s', async (_, head, status) => {
    const { hostname, port } = new URL(server.url);
    const answer = async (more: string) => {
      const socket = connect(Number(port), hostname);
      socket.write(
        `${head}connection: close\r\n${more}\r\n${head.includes('content-length') && !head.includes('expect') ? '{]' : ''}`,
      );
      let all = '';
      for await (const data of socket) all += String(data);
      return all;
    };
    expect(await answer('')).toMatch(/^HTTP\/1\.1 401 /);
    expect(await answer(`authorization: Bearer ${keys.get('reader')!}\r\n`)).toMatch(
      new RegExp(`^HTTP/1\\.1 ${status} `),
    );
  });

  it('invites a body that waits to be asked for only when its sender may send it', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    const body = JSON.stringify({ query: 'ListFlights', serviceName: 'test' });
    const head = `POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ${body.length}\r\n`;
    socket.write(`${head}authorization: Bearer ${keys.get('reader')!}\r\nconnection: close\r\n\r\n`);
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(body);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /);
    socket.destroy();
  });

  it('refuses before it reads the body', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    // A body is announced and never sent: a server that waits for it does not answer.
    socket.write(
      'POST /v1/flights HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n',
    );
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 401 /);
    socket.destroy();
    const broken = await anonymous.call('POST', '/v1/flights', '{ broken', NOBODY);
    expect(broken.status).toBe(401);
    expect((await anonymous.call('POST', '/v1/flights', '{ broken')).status).toBe(400);
  });
});

describe('an API key', () => {
  const read = (key: string) =>
    until(
      () => anonymous.call('GET', '/v1/flights', undefined, bearer(key)),
      ({ status }) => status !== 429,
    );

  it('is shown once, and stored as a hash', async () => {
    const { key, id } = await newKey('reader');
    expect(key).toMatch(/^wlk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/);
    const secret = key.slice('wlk_'.length + id.length + 1);
    const { rows } = await server.store.pool.query<{ all: string; hash: Buffer }>(
      `select k::text as all, hash from access.api_keys k where id = $1`,
      [id],
    );
    expect(rows[0]?.hash).toEqual(createHash('sha256').update(secret).digest());
    expect(rows[0]?.all).not.toContain(secret);
    const list = await server.call('GET', '/v1/admin/keys');
    const origin = { by: 'admin-key', address: '127.0.0.1', agent: expect.any(String) as string };
    expect(list.body[0]).toMatchObject({ id, role: 'reader', state: 'valid', created: origin });
    expect(list.body[0]).not.toHaveProperty('revoked');
    expect(JSON.stringify(list.body)).not.toContain(secret);
    expect((await read(key)).status).toBe(200);
  });

  it('is refused if one character is wrong, without saying which', async () => {
    const { key, id } = await newKey('admin');
    const other = key.endsWith('A') ? 'B' : 'A';
    const wrong = [`${key.slice(0, -1)}${other}`, key.replace(id, '000000000000')];
    const answers = await Promise.all(wrong.map(read));
    expect(answers).toHaveLength(2);
    for (const { status, headers, body } of answers) {
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toBe('Bearer realm="Waylog", error="invalid_token"');
      expect(body).toEqual(answers[0]?.body);
    }
    for (const part of [key.slice(0, -1), id, `${key}x`, 'wlk_', 'wlk'])
      expect((await read(part)).status).toBe(401);
    for (const authorization of [
      key,
      `Basic ${key}`,
      `Bearer: ${key}`,
      `Bearer ${key} x`,
      'Bearer',
      'Bearer  ',
    ])
      expect((await anonymous.call('GET', '/v1/flights', undefined, { authorization })).status).toBe(401);
    expect((await anonymous.call('GET', `/v1/flights?key=${key}`, undefined, NOBODY)).status).toBe(401);
    expect(
      (await anonymous.call('GET', '/v1/flights', undefined, { authorization: `bEARER ${key}` })).status,
    ).toBe(200);
  });

  // A test cannot measure the time that it takes; but it can show that only this function compares, and always whole
  // hashes.
  it('is compared in constant time, whether right, wrong, unknown or configured', async () => {
    const { key, id } = await newKey('reader');
    const wrong = `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`;
    const cases: [credential: string, status: number, compared: boolean[]][] = [
      // With the configured key first, and then with the one that it names.
      [key, 200, [false, true]],
      [wrong, 401, [false, false]],
      [key.replace(id, '000000000000'), 401, [false, false]],
      [ADMIN_KEY.slice(0, -1), 401, [false]],
    ];
    for (const [credential, status, compared] of cases) {
      const compare = jest.spyOn(crypto, 'timingSafeEqual');
      try {
        expect((await read(credential)).status).toBe(status);
        expect(compare.mock.results.map(({ value }) => value as boolean)).toEqual(compared);
        for (const of of compare.mock.calls.flat()) expect(of.byteLength).toBe(32);
      } finally {
        compare.mockRestore();
      }
    }
  });

  it('is refused at once after it was revoked', async () => {
    const { key, id } = await newKey('reader');
    expect((await read(key)).status).toBe(200);
    expect((await server.call('DELETE', `/v1/admin/keys/${id}`)).body).toMatchObject({
      id,
      state: 'revoked',
      revoked: { by: 'admin-key', address: '127.0.0.1' },
    });
    expect(await read(key)).toMatchObject({ status: 401, body: { code: 'access.refused' } });
    const again = await server.call('DELETE', `/v1/admin/keys/${id}`);
    expect(again).toMatchObject({ status: 200, body: { state: 'revoked' } });
    expect(await server.call('DELETE', '/v1/admin/keys/000000000000')).toMatchObject({
      status: 404,
      body: { code: 'key.not-found' },
    });
  });

  it('is refused soon after it was revoked elsewhere', async () => {
    const { key, id } = await newKey('reader');
    expect((await read(key)).status).toBe(200);
    await server.store.pool.query(`update access.api_keys set revoked_at = now() where id = $1`, [id]);
    await until(
      () => read(key),
      ({ status }) => status === 401,
    );
  });

  it('is refused once it has expired', async () => {
    const { key } = await newKey('reader', { expiresAt: new Date(Date.now() + 1_500).toISOString() });
    expect((await read(key)).status).toBe(200);
    const { body } = await until(
      () => read(key),
      ({ status }) => status === 401,
    );
    expect(body.detail).toMatch(/expired/);
    const late = { name: 'x', role: 'reader', expiresAt: '2020-01-01T00:00:00Z' };
    expect((await server.call('POST', '/v1/admin/keys', late)).body.errors).toEqual([
      { field: 'expiresAt', message: 'is 2020-01-01T00:00:00Z, which has passed' },
    ]);
  });

  it('must have a name and a valid role', async () => {
    const wrong = [
      {},
      { name: 'x', role: 'root' },
      { name: 'a'.repeat(65), role: 'reader' },
      { name: '', role: 'reader' },
    ];
    for (const request of wrong)
      expect((await server.call('POST', '/v1/admin/keys', request)).status).toBe(400);
  });

  it('has the time of its last use, to the minute', async () => {
    const { key, id } = await newKey('reader');
    const lastUse = async () =>
      (await server.call('GET', '/v1/admin/keys')).body.find((k: { id: string }) => k.id === id).lastUsedAt;
    expect(await lastUse()).toBeUndefined();
    await read(key);
    const { body } = await until(
      () => server.call('GET', '/v1/admin/keys'),
      ({ body: all }) => all.find((k: { id: string }) => k.id === id).lastUsedAt !== undefined,
    );
    const first = body.find((k: { id: string }) => k.id === id).lastUsedAt;
    for (let n = 0; n < 20; n++) await read(key);
    expect(await lastUse()).toBe(first);
  });

  it('cannot be read by ad-hoc SQL', async () => {
    const { key } = await newKey('reader');
    const sql = { query: 'select hash from access.api_keys', serviceName: 'x' };
    expect(await anonymous.call('POST', '/v1/queries', sql, bearer(key))).toMatchObject({ status: 403 });
  });

  it('from the configuration is not stored', async () => {
    const { rows } = await server.store.pool.query(
      `select 1 from access.api_keys where name like '%admin-key%'`,
    );
    expect(rows).toEqual([]);
    expect((await read(ADMIN_KEY)).status).toBe(200);
  });
});

describe('the actor of an event', () => {
  const actorsOf = async (flightId: string) =>
    (
      (await server.call('GET', `/v1/flights/${flightId}/events`)).body as {
        metadata: Record<string, string>;
      }[]
    ).map(({ metadata }) => metadata);

  it('is the owner of the key, whatever the request says', async () => {
    const { key, id } = await newKey('operator');
    const headers = { ...bearer(key), actor: 'root', 'x-actor': 'root', 'x-forwarded-user': 'root' };
    expect((await anonymous.call('POST', '/v1/flights', aFlight('actor', 1), headers)).status).toBe(201);
    const frame = { ...aFrame(1), actor: 'root' };
    expect((await anonymous.call('PUT', '/v1/flights/actor/frames/1', frame, headers)).status).toBe(400);
    for (const metadata of await actorsOf('actor')) {
      expect(metadata).toMatchObject({ actor: `key:operator of a test#${id}` });
      expect(metadata).not.toHaveProperty('onBehalfOf');
    }
  });

  it('is recorded with the origin of the request, which the caller cannot set', async () => {
    const { key } = await newKey('operator');
    const from = {
      ...bearer(key),
      'user-agent': `tracker/1.0 ${'x'.repeat(300)}`,
      'x-forwarded-for': '10.1.1.1',
    };
    expect((await anonymous.call('POST', '/v1/flights', aFlight('origin', 1), from)).status).toBe(201);
    const origin = { address: '127.0.0.1', agent: `tracker/1.0 ${'x'.repeat(244)}` };
    for (const metadata of await actorsOf('origin')) expect(metadata).toMatchObject({ origin });

    const command = (parameters: object) =>
      anonymous.call(
        'POST',
        '/v1/commands',
        {
          command: 'SaveFrameResult',
          parameters: { flightId: 'origin', ...parameters },
          serviceName: 'planner',
        },
        bearer(key),
      );
    expect(
      (await command({ frame: aFrame(1), origin: { address: '10.1.1.1' } })).body.errors[0],
    ).toMatchObject({
      field: 'parameters.origin',
    });
    expect((await command({ frame: aFrame(1) })).status).toBe(200);
    // Sent again from elsewhere it is the same command.
    const again = { ...bearer(key), 'idempotency-key': 'from two places' };
    const put = (agent: string) =>
      anonymous.call('PUT', '/v1/flights/origin/frames/2', aFrame(2), { ...again, 'user-agent': agent });
    expect((await put('one')).body).toEqual((await put('two')).body);
    expect((await actorsOf('origin')).at(-1)).toMatchObject({
      origin: { address: '127.0.0.1', agent: 'one' },
    });
  });

  it('is separate from the one on whose behalf a service acts', async () => {
    const { key, id } = await newKey('operator');
    const flight = aFlight('on-behalf', 1);
    const command = (parameters: object) =>
      anonymous.call(
        'POST',
        '/v1/commands',
        { command: 'CreateFlight', parameters, serviceName: 'planner' },
        bearer(key),
      );
    expect((await command({ flight, actor: 'root' })).body.errors[0].message).toMatch(/whose key/);
    expect((await command({ flight, onBehalfOf: 'root' })).status).toBe(400);
    expect((await command({ flight })).status).toBe(200);
    const open = await anonymous.call(
      'POST',
      '/v1/transactions',
      { flightId: 'on-behalf', serviceName: 'planner' },
      bearer(key),
    );
    const { transactionId } = open.body;
    await anonymous.call(
      'POST',
      '/v1/commands',
      { command: 'SaveFrameResult', parameters: { frame: aFrame(1) }, transactionId, serviceName: 'another' },
      bearer(key),
    );
    const commit = `/v1/transactions/${transactionId as string}/commit`;
    expect((await anonymous.call('POST', commit, undefined, bearer(key))).status).toBe(200);
    const all = await actorsOf('on-behalf');
    expect(all.length).toBeGreaterThan(2);
    for (const metadata of all)
      expect(metadata).toMatchObject({
        actor: `key:operator of a test#${id}`,
        onBehalfOf: 'planner',
        origin: { address: '127.0.0.1' },
      });
  });

  it('stays the first one, and so does the answer, when another caller repeats the command', async () => {
    const [one, two] = [await newKey('operator'), await newKey('operator')];
    const send = (key: string) =>
      anonymous.call('POST', '/v1/flights/repeat/waypoints', aWaypoint(1), {
        ...bearer(key),
        'idempotency-key': 'waypoint-of-repeat',
      });
    await anonymous.call('POST', '/v1/flights', { ...aFlight('repeat', 0) });
    const first = await send(one.key);
    const second = await send(two.key);
    expect(first.status).toBe(201);
    expect(second).toMatchObject({ status: 201, body: first.body });
    const all = await actorsOf('repeat');
    expect(all.filter(({ actor }) => actor?.includes(one.id))).toHaveLength(1);
    expect(all.filter(({ actor }) => actor?.includes(two.id))).toHaveLength(0);
  });

  it('is one per transaction: another caller can neither read nor end it', async () => {
    const [one, two] = [await newKey('operator'), await newKey('admin')];
    await anonymous.call('POST', '/v1/flights', aFlight('of-one', 1));
    const request = { flightId: 'of-one', serviceName: 'x' };
    const { transactionId } = (await anonymous.call('POST', '/v1/transactions', request, bearer(one.key)))
      .body;
    const path = `/v1/transactions/${transactionId as string}`;
    const command = {
      command: 'SaveFrameResult',
      parameters: { frame: aFrame(1) },
      transactionId,
      serviceName: 'x',
    };
    for (const [method, to, body] of [
      ['GET', path, undefined],
      ['POST', '/v1/commands', command],
      ['POST', `${path}/commit`, undefined],
      ['DELETE', path, undefined],
    ] as const)
      expect(await anonymous.call(method, to, body, bearer(two.key))).toMatchObject({
        status: 403,
        body: { code: 'transaction.of-another' },
      });
    expect((await anonymous.call('GET', path, undefined, bearer(one.key))).body).toMatchObject({
      commandsExecuted: 0,
      isActive: true,
    });
  });
});

describe('a browser', () => {
  it('opens the documents with a key as the password, and nothing else', async () => {
    const { key } = await newKey('reader');
    for (const path of [
      '/docs',
      '/docs/swagger-ui.css',
      '/docs/swagger-ui-init.js',
      '/docs-yaml',
      '/openapi.json',
    ])
      expect((await anonymous.call('GET', path, undefined, basic(key))).status).toBe(200);
    for (const path of ['/v1/flights', '/metrics', '/v1/admin/keys', '/docsx']) {
      const { status, headers } = await anonymous.call('GET', path, undefined, basic(ADMIN_KEY));
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toMatch(/^Bearer /);
    }
    for (const password of ['', 'wrong', `${key}x`]) {
      const { status, headers } = await anonymous.call('GET', '/docs', undefined, basic(password));
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toMatch(/^Basic /);
    }
  });

  it('asks for the key once: requests of the documents, and pages that a person opens, use the same', async () => {
    const { key } = await newKey('reader');
    // As a browser states where a request is from; fetch does not let its caller set it.
    const ask = (path: string, headers: Record<string, string>, method = 'GET') =>
      new Promise<IncomingMessage>((resolve, reject) => {
        request(`${server.url}${path}`, { method, headers }, (answer) => resolve(answer.resume()))
          .on('error', reject)
          .end();
      });
    const ownPage = { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' };
    const typed = { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' };
    for (const from of [ownPage, typed]) {
      expect((await ask('/v1/flights', { ...from, ...basic(key) })).statusCode).toBe(200);
      const unknown = await ask('/v1/flights', from);
      expect([unknown.statusCode, unknown.headers['www-authenticate']]).toEqual([
        401,
        expect.stringMatching(/^Basic /),
      ]);
    }
    // What a browser adds to requests of other pages opens nothing, nor does a missing header.
    for (const from of [
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
      { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' },
      { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'cors' },
      {},
    ] as Record<string, string>[]) {
      const { statusCode, headers } = await ask('/v1/flights', { ...from, ...basic(ADMIN_KEY) });
      expect([statusCode, headers['www-authenticate']]).toEqual([401, expect.stringMatching(/^Bearer /)]);
    }
    expect((await ask('/v1/flights', { ...typed, ...basic(ADMIN_KEY) }, 'POST')).statusCode).toBe(401);
  });

  it('is told not to guess the type of answers, and to store none', async () => {
    const answers = await Promise.all([
      anonymous.call('GET', '/v1/flights'),
      anonymous.call('GET', '/v1/flights', undefined, NOBODY),
      anonymous.call('GET', '/nothing'),
      anonymous.call('GET', '/%ff'),
      anonymous.call('POST', '/v1/flights', '{ broken'),
      anonymous.call('GET', '/health/live', undefined, NOBODY),
      anonymous.call('GET', '/metrics'),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 401, 404, 400, 400, 200, 200]);
    for (const { headers } of answers)
      expect(Object.fromEntries(headers)).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      });
  });

  it('can run the scripts of the documents, and nothing else', async () => {
    const { headers, body } = await anonymous.call('GET', '/docs');
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toContain("script-src 'self';");
    expect(headers.get('x-frame-options')).toBe('DENY');
    // The policy allows scripts and styles of the server, and no inline script.
    const page = body as string;
    const scripts = [...page.matchAll(/<script([^>]*)>([^<]*)<\/script>/g)];
    expect(scripts.length).toBeGreaterThan(2);
    for (const [, attributes = '', text = ''] of scripts) {
      expect(attributes).toMatch(/src="\.\/docs\/[\w.-]+"/);
      expect(text.trim()).toBe('');
    }
    expect(page).not.toMatch(/ on\w+="/);
    for (const [, source = ''] of page.matchAll(/(?:src|href)="(\.\/[^"]+)"/g))
      expect((await anonymous.call('GET', source.slice(1))).status).toBe(200);
  });

  it('lets no page of another origin call', async () => {
    const origin = 'https://app.example';
    const { headers, status } = await anonymous.call('GET', '/v1/flights', undefined, {
      ...bearer(ADMIN_KEY),
      origin,
    });
    expect(status).toBe(200);
    expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    const preflight = await anonymous.call('OPTIONS', '/v1/flights', undefined, {
      ...NOBODY,
      origin,
      'access-control-request-method': 'POST',
    });
    expect(preflight.status).toBe(401);
    expect([...preflight.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});

describe('a JWT', () => {
  /** Tries again after too many wrong ones: these tests send more of them than allowed. */
  const read = async (token: string | Promise<string>, path = '/v1/flights') => {
    const headers = bearer(await token);
    return until(
      () => anonymous.call('GET', path, undefined, headers),
      ({ status }) => status !== 429,
    );
  };

  it('of the provider is accepted, and its subject is the actor', async () => {
    const headers = bearer(await provider.token());
    expect((await anonymous.call('POST', '/v1/flights', aFlight('by-jwt', 1), headers)).status).toBe(201);
    const { body } = await anonymous.call('GET', '/v1/flights/by-jwt/events', undefined, headers);
    expect(body[0].metadata.actor).toBe('jwt:alice');
    expect(await read(provider.token(), '/v1/admin/keys')).toMatchObject({ status: 403 });
  });

  it('is verified once, not with every request', async () => {
    const token = await provider.token({ sub: 'often' });
    expect((await read(token)).status).toBe(200);
    const verify = jest.spyOn(globalThis.crypto.subtle, 'verify');
    try {
      for (let n = 0; n < 20; n++) expect((await read(token)).status).toBe(200);
      expect(verify).not.toHaveBeenCalled();
      expect((await read(provider.token({ sub: 'often', jti: 'another' }))).status).toBe(200);
      expect(verify).toHaveBeenCalledTimes(1);
    } finally {
      verify.mockRestore();
    }
  });

  it('has the highest role that it names', async () => {
    const statusOf = async (role: unknown) =>
      (await read(provider.token({ waylog_role: role }), '/v1/admin/keys')).status;
    expect(await statusOf('admin')).toBe(200);
    expect(await statusOf(['reader', 'admin', 'something else'])).toBe(200);
    expect(await statusOf(['reader', 'operator'])).toBe(403);
    expect(await statusOf('Admin')).toBe(403);
  });

  it('without a role is recognised, and has no rights', async () => {
    for (const role of [undefined, [], 'root', { admin: true }, 7])
      expect(await read(provider.token({ waylog_role: role }))).toMatchObject({
        status: 403,
        body: { code: 'access.no-role' },
      });
  });

  it('for another service, from another provider, or of another time is refused', async () => {
    const now = Math.floor(Date.now() / 1_000);
    const wrong: Record<string, string> = {
      'claim aud': await provider.token({ aud: 'another' }),
      'claim iss': await provider.token({ iss: 'https://login.example' }),
      'has expired': await provider.token({ exp: now - 60 }),
      'claim nbf': await provider.token({ nbf: now + 60 }),
      'claim exp': await provider.token({ exp: undefined }),
      'claim sub': await provider.token({ sub: undefined }),
    };
    for (const [why, token] of Object.entries(wrong)) {
      const { status, body } = await read(token);
      expect({ why, status }).toEqual({ why, status: 401 });
      expect(body.detail).toContain(why);
    }
    // Clocks differ a little.
    expect((await read(provider.token({ exp: now - 10, sub: 'tolerated' }))).status).toBe(200);
  });

  it('that the provider has not signed is refused', async () => {
    const stranger = await new OpenIdProvider().start();
    const [header = '', payload = '', signature = ''] = (
      await provider.token({ waylog_role: 'admin' })
    ).split('.');
    const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const decoded = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object;
    const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString());
    // Signed with the public key as a shared secret: the classic attack.
    const hmac = `${encoded({ alg: 'HS256', kid })}.${payload}`;
    const secret = JSON.stringify(provider.publicKeys[0]);
    const forged = [
      await stranger.token({ iss: provider.issuer }),
      `${header}.${encoded({ ...decoded, sub: 'root' })}.${signature}`,
      `${encoded({ alg: 'none' })}.${payload}.`,
      `${hmac}.${createHmac('sha256', secret).update(hmac).digest('base64url')}`,
      `${header}.${payload}.`,
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      'a.b.c',
      '..',
    ];
    await stranger.stop();
    for (const token of forged) {
      const { status, body } = await read(token);
      expect({ token, status, code: body.code }).toEqual({ token, status: 401, code: 'access.refused' });
    }
  });
});
