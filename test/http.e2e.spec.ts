import { request, type IncomingHttpHeaders } from 'node:http';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { FlightDatabase } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { ADMIN_KEY } from './support/admin-key.js';
import { aChunk, aFlight, aFrame, aWaypoint } from './support/samples.js';
import { useServer } from './support/server.js';

const server = useServer();
const store = () => server.app.get<EventStore>(EVENT_STORE);
const JSON_TYPE = { 'content-type': 'application/json' };

interface Sent {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into answers of every shape
  readonly body: any;
}

/** Sends a path and a body unchanged: `fetch` would resolve dots and set headers. */
function send(method: string, path: string, headers: object = {}, body?: Buffer | string): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const all = { authorization: `Bearer ${ADMIN_KEY}`, ...length, ...headers };
    const sent = request({ hostname, port, method, path, headers: all }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        const isJson = response.headers['content-type']?.includes('json') && text !== '';
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, text, body: isJson ? JSON.parse(text) : undefined });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const flightText = (id: string) => JSON.stringify(aFlight(id));
const created = async (id: string, waypoints = 0) => {
  const { status, body } = await server.call('POST', '/v1/flights', aFlight(id, waypoints));
  expect(status).toBe(201);
  return { 'waylog-min-position': body.position as string };
};
const refused = (field: string) => ({ status: 400, body: { code: 'input.invalid', errors: [{ field }] } });

describe('a body', () => {
  it('that is not UTF-8 is refused, wherever the byte is', async () => {
    const head = await store().head();
    const parts: [string, Buffer, string][] = [
      ['{"id":"lat1', Buffer.from([0xe9]), '","name":"n","altitude":1,"startGps":{"lat":1,"lon":1}}'],
      ['{"name":"n', Buffer.from([0xc3]), '","altitude":1,"startGps":{"lat":1,"lon":1}}'],
      ['{"name":"', Buffer.from([0xed, 0xa0, 0x80]), '","altitude":1,"startGps":{"lat":1,"lon":1}}'],
      ['{"name":"', Buffer.from([0xc0, 0xaf]), '","altitude":1,"startGps":{"lat":1,"lon":1}}'],
      ['{"na', Buffer.from([0xff]), 'me":1}'],
    ];
    for (const [before, bytes, after] of parts) {
      const body = Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]);
      const answer = await send('POST', '/v1/flights', JSON_TYPE, body);
      expect(answer).toMatchObject({ status: 400, body: { code: 'input.invalid' } });
      expect(answer.body.detail).toContain('UTF-8');
    }
    expect(await store().head()).toBe(head);
    const whole = await send('POST', '/v1/flights', JSON_TYPE, flightText('fjörð 🚁'));
    expect(whole).toMatchObject({ status: 201, body: { flightId: 'fjörð 🚁' } });
  });

  it('that is compressed, of another charset or not JSON gets 415', async () => {
    const all: [object, Buffer | string][] = [
      [{ ...JSON_TYPE, 'content-encoding': 'gzip' }, gzipSync(flightText('gz'))],
      [{ ...JSON_TYPE, 'content-encoding': 'gzip' }, gzipSync(Buffer.alloc(64 * 1024 * 1024))],
      [{ ...JSON_TYPE, 'content-encoding': 'br' }, flightText('br')],
      [{ 'content-type': 'application/json; charset=iso-8859-1' }, flightText('latin')],
      [{ 'content-type': 'application/json; charset="utf-16"' }, flightText('utf16')],
      [{ 'content-type': 'text/plain' }, flightText('text')],
      [{ 'content-type': 'application/x-www-form-urlencoded' }, 'name=n&altitude=1'],
    ];
    for (const [headers, body] of all) {
      const answer = await send('POST', '/v1/flights', headers, body);
      expect(answer).toMatchObject({ status: 415, body: { code: 'body.not-json' } });
      expect(answer.headers).toMatchObject({ accept: 'application/json', 'accept-encoding': 'identity' });
    }
    const plain: Record<string, string>[] = [
      { 'content-encoding': 'identity' },
      { 'content-type': 'application/json; charset=UTF-8' },
    ];
    for (const [i, headers] of plain.entries()) {
      const answer = await send(
        'POST',
        '/v1/flights',
        { ...JSON_TYPE, ...headers },
        flightText(`as-is-${i}`),
      );
      expect(answer.status).toBe(201);
    }
  });

  it('can be missing with a JSON content type if none is required', async () => {
    await created('empty');
    const length = { 'content-length': '0' };
    const chunked = { 'transfer-encoding': 'chunked' };
    expect((await send('POST', '/v1/flights/empty/erase', { ...JSON_TYPE, ...length })).status).toBe(200);
    expect((await send('DELETE', '/v1/flights/empty', { ...JSON_TYPE, ...chunked })).status).toBe(204);
    await created('empty2');
    expect((await send('DELETE', '/v1/flights/empty2', { ...JSON_TYPE, ...length })).status).toBe(204);
    // A required one is reported missing.
    expect(await send('POST', '/v1/flights', { ...JSON_TYPE, ...length })).toMatchObject({ status: 400 });
  });

  it('or a parameter that a route does not accept is refused and named', async () => {
    await created('asked');
    const routes = [
      ['POST', '/v1/admin/backups'],
      ['POST', '/v1/admin/audit/digests'],
      ['POST', '/v1/admin/audit/verifications'],
      ['POST', '/v1/admin/projections/waypoints/rebuild'],
      ['POST', '/v1/admin/projectors/flights/resume'],
      ['DELETE', '/v1/admin/projections/waypoints/rebuild'],
      ['POST', '/v1/flights/asked/erase'],
      ['DELETE', '/v1/flights/asked'],
    ] as const;
    for (const [method, path] of routes) {
      const named = await send(method, path, JSON_TYPE, '{"name":"mine","why":1}');
      expect(named).toMatchObject({
        status: 400,
        body: { errors: [{ field: 'name' }, { field: 'why' }] },
      });
      expect(await send(method, path, JSON_TYPE, '[1]')).toMatchObject(refused(''));
      expect(await send(method, `${path}?name=mine`)).toMatchObject(refused('name'));
    }
    for (const path of ['/v1/admin/jobs', '/v1/admin/projections', '/v1/flights/asked'])
      expect(await send('GET', `${path}?whatever=1`)).toMatchObject(refused('whatever'));
    // An empty object has nothing that could be ignored.
    expect((await send('DELETE', '/v1/flights/asked', JSON_TYPE, '{}')).status).toBe(204);
  });
});

describe('HEAD', () => {
  it('answers as GET does, without the body, and to the same callers', async () => {
    const fresh = await created('headed', 3);
    const paths = [
      '/health/live',
      '/v1/flights',
      '/v1/flights/headed',
      '/v1/flights/nowhere',
      '/v1/admin/jobs',
    ];
    for (const path of [...paths, '/openapi.json', '/v1/nothing', '/v1/flights?limit=0']) {
      const [get, head] = [await send('GET', path, fresh), await send('HEAD', path, fresh)];
      expect({ path, status: head.status }).toEqual({ path, status: get.status });
      expect(head.text).toBe('');
      expect(head.headers['content-type']).toBe(get.headers['content-type']);
      if (path.startsWith('/v1/flights'))
        expect(head.headers['content-length']).toBe(get.headers['content-length']);
    }
    const { body } = await server.call('POST', '/v1/admin/keys', { name: 'looks', role: 'reader' });
    const reader = { authorization: `Bearer ${body.key as string}` };
    expect((await send('HEAD', '/v1/flights/headed', reader)).status).toBe(200);
    expect((await send('HEAD', '/v1/admin/jobs', reader)).status).toBe(403);
    expect((await send('HEAD', '/v1/flights/headed', { authorization: '' })).status).toBe(401);
  });
});

describe('an address', () => {
  it('that is not UTF-8 is refused', async () => {
    for (const path of ['/v1/flights?name=%e9', '/v1/flights?name=a%ffb&limit=1', '/v1/flights/lat1%e9'])
      expect((await send('GET', path)).status).toBe(400);
    // Raw text, byte by byte, which Node takes for Latin-1.
    for (const path of ['/v1/flights/fj\u00c3\u00b8rd', '/v1/flights?name=\u00e9'])
      expect((await send('GET', path)).status).toBe(400);
    for (const path of ['/v1/flights?name=100%', '/v1/flights?name=%c3%a9%25', '/v1/flights?name=Mission%'])
      expect((await send('GET', path)).status).toBe(200);
  });
});

describe('ids', () => {
  it('that a URL resolves are refused in every field and on every route', async () => {
    const fresh = await created('dots', 1);
    const fence = { northWest: { lat: 64, lon: 10 }, southEast: { lat: 63, lon: 11 } };
    const head = await store().head();
    const command = (name: string, parameters: object) =>
      server.call('POST', '/v1/commands', { command: name, parameters, serviceName: 'test' });
    const step = (one: object) => server.call('POST', '/v1/flights/dots/transactions', { commands: [one] });
    for (const id of ['.', '..']) {
      const encoded = id.replaceAll('.', '%2e');
      const flight = { ...aFlight('x'), id };
      const answers = [
        await server.call('POST', '/v1/flights', flight),
        await server.call('POST', '/v1/flights', { ...aFlight('x'), waypoints: [{ ...aWaypoint(1), id }] }),
        await server.call('POST', '/v1/flights', { ...aFlight('x'), geofences: [{ ...fence, id }] }),
        await server.call('POST', '/v1/flights/dots/waypoints', { ...aWaypoint(1), id }),
        await server.call('PATCH', '/v1/flights/dots/waypoints', [{ ...aWaypoint(1), id }]),
        await server.call('POST', '/v1/flights/dots/geofences', { ...fence, id }),
        await server.call('POST', '/v1/transactions', { flightId: id, serviceName: 'test' }),
        await server.call('POST', '/v1/flights/dots/chunks/c/merge', { into: id }),
        await command('CreateFlight', { flight }),
        await command('UpdateFlight', { flightId: id, changes: { name: 'x' } }),
        await command('AddWaypoint', { flightId: 'dots', waypoint: { ...aWaypoint(1), id } }),
        await command('SaveChunkState', { flightId: 'dots', chunk: aChunk(id) }),
        await command('Transact', { flightId: id, commands: [{ type: 'DeleteFlight' }] }),
        await step({ type: 'AddWaypoint', waypoint: { ...aWaypoint(1), id } }),
        await step({ type: 'AddGeofence', geofence: { ...fence, id } }),
        await step({ type: 'SaveChunkState', chunk: aChunk(id) }),
        await send('PUT', `/v1/flights/${encoded}/frames/1`, JSON_TYPE, JSON.stringify(aFrame(1))),
        await send('PUT', `/v1/flights/dots/chunks/${encoded}`, JSON_TYPE, JSON.stringify(aChunk(id))),
        await send(
          'PUT',
          `/v1/flights/dots/waypoints/${encoded}`,
          JSON_TYPE,
          JSON.stringify(aWaypoint(0, { id })),
        ),
        await send('PUT', `/v1/flights/dots/geofences/${encoded}`, JSON_TYPE, JSON.stringify(fence)),
      ];
      for (const [i, { status, body }] of answers.entries()) {
        expect({ i, status, body }).toMatchObject({ i, status: 400, body: { code: 'input.invalid' } });
        expect(JSON.stringify(body)).toContain('which no URL can address');
      }
      const database = server.app.get(FlightDatabase);
      const refusals = [
        database.insertFlight(flight),
        database.insertWaypoint('dots', { ...aWaypoint(1), id }),
        database.saveChunkState('dots', aChunk(id)),
        database.executeTransaction([(transaction) => transaction.insertFlight({ ...flight, id })]),
      ];
      for (const refusal of await Promise.allSettled(refusals))
        expect(refusal).toMatchObject({ status: 'rejected', reason: { code: 'input.invalid' } });
    }
    expect(await store().head()).toBe(head);
    expect((await server.call('GET', '/v1/flights/dots', undefined, fresh)).body.waypoints).toHaveLength(1);
  });

  it.each([
    ['a control character of C1', 'c1\u009b31mRED'],
    ['what turns the direction of text', 'ok\u202egpj'],
    ['a space of no width', 'demo\u200b'],
    ['an invisible tag', 'demo\u{e0041}'],
  ])('with %s are refused when something is created, with the reason', async (_, id) => {
    const fence = { northWest: { lat: 64, lon: 10 }, southEast: { lat: 63, lon: 11 } };
    const flightId = `seen ${id.length}${id.charCodeAt(4)}`;
    await created(flightId, 0);
    const path = `/v1/flights/${encodeURIComponent(flightId)}`;
    const head = await store().head();
    const create = { type: 'CreateFlight', flight: aFlight('x') };
    const answers = [
      await server.call('POST', '/v1/flights', { ...aFlight('x'), id }),
      await server.call('POST', `${path}/waypoints`, { ...aWaypoint(1), id }),
      await server.call('POST', `${path}/geofences`, { ...fence, id }),
      await server.call('POST', `/v1/flights/${encodeURIComponent(id)}/transactions`, { commands: [create] }),
      await server.call('POST', '/v1/admin/keys', { name: id, role: 'reader' }),
      await server.call('POST', '/v1/transactions', { flightId, serviceName: id }),
    ];
    for (const [i, { status, body }] of answers.entries()) {
      expect({ i, status, body }).toMatchObject({ i, status: 400, body: { code: 'input.invalid' } });
      expect(JSON.stringify(body)).toContain(
        'without control characters, invisible ones, and ones that turn the direction of text',
      );
    }
    expect(await store().head()).toBe(head);
  });

  it('with invisible characters that a log already has can be read, changed and removed', async () => {
    const template = await created('seen', 1);
    const { body: events } = await server.call('GET', '/v1/flights/seen/events', undefined, template);
    const id = 'c1\u009b31m \u202e';
    const copied = (events as { type: string; data: object }[]).map(({ type, data }, n) => ({
      id: `00000000-0000-7000-8000-00000000100${n}`,
      type,
      schemaVersion: 1,
      data: type === 'WaypointAdded' ? { ...data, id: 'w\u200b' } : data,
      metadata: {},
    }));
    const [outcome] = await store().append([
      { streamId: `flight-${id}`, expectedRevision: 'no-stream', events: copied as never },
    ]);
    expect(outcome).toMatchObject({ accepted: true });
    const fresh = { 'waylog-min-position': await store().head() };
    const path = `/v1/flights/${encodeURIComponent(id)}`;
    expect(await server.call('GET', path, undefined, fresh)).toMatchObject({ status: 200, body: { id } });
    const moved = aWaypoint(1, { id: 'w\u200b', altitude: 7 });
    for (const [method, at, body] of [
      ['PUT', `${path}/waypoints/${encodeURIComponent('w\u200b')}`, moved],
      ['POST', `${path}/erase`, {}],
    ] as const)
      expect({ method, ...(await server.call(method, at, body)) }).toMatchObject({ method, status: 200 });
    expect((await server.call('DELETE', path)).status).toBe(204);
  });

  it('of that kind that a log already has can be read, and removed', async () => {
    const template = await created('template', 1);
    const { body: events } = await server.call('GET', '/v1/flights/template/events', undefined, template);
    const copied = (events as { type: string; data: object }[]).map(({ type, data }, n) => ({
      id: `00000000-0000-7000-8000-00000000000${n}`,
      type,
      schemaVersion: 1,
      data,
      metadata: {},
    }));
    const [outcome] = await store().append([
      { streamId: 'flight-..', expectedRevision: 'no-stream', events: copied as never },
    ]);
    expect(outcome).toMatchObject({ accepted: true });
    const fresh = { 'waylog-min-position': await store().head() };
    expect(await send('GET', '/v1/flights/%2e%2e', fresh)).toMatchObject({ status: 200, body: { id: '..' } });
    expect((await send('GET', '/v1/flights/%2E./waypoints', fresh)).body).toHaveLength(1);
    expect((await send('GET', '/v1/flights/../events')).body).toHaveLength(copied.length);
    const named = { query: 'GetFlight', parameters: { flightId: '..' }, serviceName: 'test' };
    expect((await server.call('POST', '/v1/queries', named, fresh)).body.data).toMatchObject({ id: '..' });
    expect(await server.app.get(FlightDatabase).getFlightById('..')).toMatchObject({ id: '..' });
    const removal = { command: 'DeleteFlight', parameters: { flightId: '..' }, serviceName: 'test' };
    expect((await server.call('POST', '/v1/commands', removal)).status).toBe(200);
  });

  it('that are accepted are found by a client that encodes them', async () => {
    const id = fc
      .oneof(
        fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
        fc.string({
          unit: fc.constantFrom('.', '%', '2', 'e', 'E', '/', '\\', '?', '#', ';', ' '),
          maxLength: 6,
        }),
      )
      .filter((text) => !/\p{Cs}/u.test(text));
    let n = 0;
    await fc.assert(
      fc.asyncProperty(id, async (text) => {
        const made = await server.call('POST', '/v1/flights', { ...aFlight('x'), id: text });
        if (made.status === 400 || made.status === 409) return;
        expect(made.status).toBe(201);
        n++;
        const fresh = { 'waylog-min-position': made.body.position as string };
        const found = await server.call('GET', `/v1/flights/${encodeURIComponent(text)}`, undefined, fresh);
        expect({ status: found.status, id: found.body.id }).toEqual({ status: 200, id: text });
      }),
      {
        numRuns: 25,
        seed: 20_261_129,
        examples: [['.'], ['..'], ['...'], ['%2e%2e'], ['%2E'], ['..%2f'], ['./']],
      },
    );
    expect(n).toBeGreaterThan(10);
  });
});
