import { EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { Pools } from '../apps/server/src/operations/pools.js';
import { logs } from './support/database.js';
import { aChunk, aFlight, aFrame, at, aWaypoint } from './support/samples.js';
import { useServer } from './support/server.js';

describe.each(logs)('the HTTP API, with the log in %s', (log) => {
  const server = useServer({}, log);
  const store = () => server.app.get<EventStore>(EVENT_STORE);
  let flights = 0;
  const given = async (waypoints = 0) => {
    const id = `rest-${++flights}`;
    await server.call('POST', '/v1/flights', aFlight(id, waypoints));
    return `/v1/flights/${id}`;
  };
  /** A read of at least what the last command wrote. */
  const read = async (path: string) =>
    server.call('GET', path, undefined, { 'waylog-min-position': await head() });
  const head = () => store().head();

  describe('flights', () => {
    it('are created, read, listed, changed and deleted', async () => {
      const created = await server.call('POST', '/v1/flights', aFlight('crud', 2));
      expect(created).toMatchObject({ status: 201, body: { flightId: 'crud', revision: 4 } });
      expect(created.headers.get('waylog-position')).toBe(created.body.position);
      const fresh = { 'waylog-min-position': created.body.position as string };

      const flight = await server.call('GET', '/v1/flights/crud', undefined, fresh);
      expect(flight).toMatchObject({ status: 200, body: aFlight('crud', 2) });
      const listed = await server.call('GET', '/v1/flights?name=Flight%20crud%25&status=created&limit=5');
      for (const name of ['Flight_crud', 'Flight%20crud%5C%25', 'flight%20crud'])
        expect((await server.call('GET', `/v1/flights?name=${name}`)).body).toMatchObject({ total: 0 });
      expect(listed.body).toMatchObject({ total: 1, limit: 5, offset: 0, items: [{ id: 'crud' }] });
      expect(listed.body.items[0]).not.toHaveProperty('waypoints');

      expect(await server.call('PATCH', '/v1/flights/crud', { name: 'Renamed' })).toMatchObject({
        status: 200,
        body: { revision: 5 },
      });
      expect((await read('/v1/flights/crud')).body).toMatchObject({
        name: 'Renamed',
        description: 'over the fjord',
      });

      const deleted = await server.call('DELETE', '/v1/flights/crud');
      expect(deleted).toMatchObject({ status: 204, body: '' });
      const after = deleted.headers.get('waylog-position') ?? '';
      expect(store().compare(after, created.body.position as string)).toBeGreaterThan(0);
      expect(await read('/v1/flights/crud')).toMatchObject({
        status: 404,
        body: { code: 'flight.not-found' },
      });
      expect((await server.call('GET', '/v1/flights/crud/events')).body.at(-1)).toMatchObject({
        type: 'FlightDeleted',
        revision: 6,
      });
    });

    it('get an id if they have none', async () => {
      const { id: _, ...nameless } = aFlight('x');
      const { status, body } = await server.call('POST', '/v1/flights', nameless);
      expect(status).toBe(201);
      expect((await read(`/v1/flights/${body.flightId as string}`)).status).toBe(200);
    });

    it('are refused if they exist already', async () => {
      await given();
      const again = await server.call('POST', '/v1/flights', aFlight(`rest-${flights}`));
      expect(again).toMatchObject({ status: 409, body: { code: 'flight.already-exists', status: 409 } });
      expect(again.headers.get('content-type')).toContain('application/problem+json');
    });
  });

  it('accepts what it answers, unchanged, which changes nothing', async () => {
    const flight = await given(2);
    await server.call('PUT', `${flight}/frames/1`, aFrame(1));
    await server.call('PUT', `${flight}/images/1`, { filePath: '1.jpg' });
    await server.call('PUT', `${flight}/headings/1`, { heading: 1, timestamp: at(1) });
    await server.call('PUT', `${flight}/chunks/c`, aChunk('c'));
    const before = await head();
    const answers: [method: string, path: string, from?: string][] = [
      ['PATCH', ''],
      ['PUT', '/state'],
      ['PATCH', '/waypoints'],
      ['PUT', '/waypoints/w1', '/waypoints'],
      ['PUT', '/geofences/home', '/geofences'],
      ['POST', '/frames'],
      ['PUT', '/frames/1', '/frames'],
      ['POST', '/headings'],
      ['PUT', '/headings/1', '/headings/latest'],
      ['PUT', '/images/1'],
      ['PUT', '/chunks/c', '/chunks'],
    ];
    for (const [method, path, from = path] of answers) {
      const { body } = await read(flight + from);
      const sent: unknown = method === 'PUT' && Array.isArray(body) ? body.at(-1) : body;
      const { status } = await server.call(method, flight + path, sent);
      expect({ method, path, status }).toEqual({ method, path, status: 200 });
    }
    expect(await head()).toBe(before);

    const whole = (await read(flight)).body;
    const copy = await server.call('POST', '/v1/flights', { ...whole, id: `${whole.id as string}-copy` });
    expect(copy.status).toBe(201);
    const copied = (await read(`${flight}-copy`)).body;
    expect(copied).toEqual({ ...whole, id: copied.id });

    expect((await server.call('PATCH', flight, { ...whole, name: 'Renamed' })).status).toBe(200);
    expect((await read(flight)).body).toEqual({ ...whole, name: 'Renamed' });
    const { updatedAt: _, ...timeless } = whole as { updatedAt: string };
    expect((await server.call('PATCH', flight, { ...timeless, name: 'Again' })).status).toBe(200);
    expect((await read(flight)).body.updatedAt).not.toBe(whole.updatedAt);
    for (const parts of [
      { waypoints: [] },
      { waypoints: [whole.waypoints[0]] },
      { waypoints: [whole.waypoints[0], { ...whole.waypoints[1], lat: 1 }] },
      { geofences: [] },
    ])
      expect(await server.call('PATCH', flight, { ...whole, ...parts })).toMatchObject({
        status: 409,
        body: { code: 'flight.parts-differ' },
      });
    expect(await server.call('PATCH', flight, { ...whole, id: 'other' })).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'id' }] },
    });
  });

  it('serves waypoints', async () => {
    const flight = await given(3);
    expect(await server.call('POST', `${flight}/waypoints`, aWaypoint(9))).toMatchObject({
      status: 201,
      body: { waypointId: 'w9' },
    });
    const { id: _, ...anonymous } = aWaypoint(10);
    const added = await server.call('POST', `${flight}/waypoints`, anonymous);
    expect(added.body.waypointId).toMatch(/^[0-9a-f-]{36}$/);
    expect(
      await server.call('PUT', `${flight}/waypoints/w1`, { ...aWaypoint(1), refined: true }),
    ).toMatchObject({ status: 200 });
    expect(
      await server.call('PUT', `${flight}/waypoints/nope`, { ...aWaypoint(1), id: 'nope' }),
    ).toMatchObject({ status: 404, body: { code: 'waypoint.not-found' } });
    expect(await server.call('PUT', `${flight}/waypoints/w1`, aWaypoint(2))).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'id' }] },
    });
    const batch = [aWaypoint(0, { confidence: 1 }), aWaypoint(77)];
    expect(await server.call('PATCH', `${flight}/waypoints`, batch)).toMatchObject({
      status: 200,
      body: { success: false, updatedCount: 1, failedIds: ['w77'] },
    });
    const all = await read(`${flight}/waypoints`);
    expect(all.body.map((w: { id: string }) => w.id)).toEqual([
      'w0',
      'w1',
      'w2',
      'w9',
      added.body.waypointId,
    ]);
    expect(all.body.slice(0, 2)).toEqual([aWaypoint(0, { confidence: 1 }), aWaypoint(1, { refined: true })]);
    expect((await read(`${flight}/waypoints?limit=2`)).body).toHaveLength(2);
  });

  it('serves geofences', async () => {
    const flight = await given();
    const fence = { id: 'g', northWest: { lat: 64, lon: 10 }, southEast: { lat: 63, lon: 11 } };
    expect(await server.call('POST', `${flight}/geofences`, fence)).toMatchObject({
      status: 201,
      body: { geofenceId: 'g' },
    });
    const moved = { ...fence, southEast: { lat: 63.5, lon: 11 } };
    expect(await server.call('PUT', `${flight}/geofences/g`, moved)).toMatchObject({ status: 200 });
    expect((await read(`${flight}/geofences`)).body).toEqual([moved, ...(aFlight('x').geofences ?? [])]);
    expect(await server.call('DELETE', `${flight}/geofences/g`)).toMatchObject({ status: 200 });
    expect(await server.call('DELETE', `${flight}/geofences/g`)).toMatchObject({
      status: 404,
      body: { code: 'geofence.not-found' },
    });
  });

  it('serves the processing state and its history', async () => {
    const flight = await given();
    const flightId = flight.split('/').at(-1);
    const state = {
      status: 'rest-history',
      framesProcessed: 1,
      framesTotal: 9,
      currentFrame: 1,
      blocked: true,
      searchGridSize: null,
    };
    expect(await server.call('PUT', `${flight}/state`, state)).toMatchObject({ status: 200 });
    const saved = await read(`${flight}/state`);
    expect(saved.body).toMatchObject({ flightId, ...state });
    // What was read can be sent back.
    expect(await server.call('PUT', `${flight}/state`, saved.body)).toMatchObject({ status: 200 });
    expect(await server.call('PUT', `${flight}/state`, { ...state, flightId: 'other' })).toMatchObject({
      status: 400,
    });
    const history = await read(
      '/v1/processing-history?status=rest-history&from=2020-01-01T00:00:00Z&limit=1',
    );
    expect(history.body).toMatchObject({ total: 1, items: [{ flightId }], next: null });
  });

  it('refuses route chunks that are more than an answer may be, before it has read them all', async () => {
    const flight = await given();
    const id = flight.split('/').at(-1);
    await read(flight);
    await server.store.pool.query(
      `insert into flight.chunks (flight_id, chunk_id, start_frame_id, frames, is_active, has_anchor, matching_status, created_at, updated_at)
       select $1, 'c' || c, c, frames, true, false, 'x', now(), now()
         from generate_series(1, 200) c, (select jsonb_agg(n) as frames from generate_series(1000000, 1019999) n) f`,
      [id],
    );
    expect(await server.call('GET', `${flight}/chunks`)).toMatchObject({
      status: 400,
      body: { code: 'answer.too-large' },
    });
    await server.store.pool.query(`delete from flight.chunks where flight_id = $1 and start_frame_id > 3`, [
      id,
    ]);
    const few = await server.call('GET', `${flight}/chunks`);
    expect(few.body.map(({ chunkId }: { chunkId: string }) => chunkId)).toEqual(['c1', 'c2', 'c3']);
    expect(few.body[0].frames).toHaveLength(20_000);
  });

  it('serves a list page after page, and counts it only if requested', async () => {
    for (const _ of [1, 2, 3]) await given();
    const first = await read('/v1/flights?limit=1&status=created');
    expect(first.body).toMatchObject({ total: expect.any(Number), next: expect.any(String) });
    const second = await read(`/v1/flights?limit=1&status=created&total=false&after=${first.body.next}`);
    expect(second).toMatchObject({ status: 200, body: { total: null, items: [{ id: expect.any(String) }] } });
    expect(second.body.items[0].id).not.toBe(first.body.items[0].id);
    const both = await read(`/v1/flights?offset=1&after=${first.body.next}`);
    expect(both).toMatchObject({ status: 400, body: { errors: [{ field: 'after' }] } });
    expect(await read('/v1/flights?after=nothing')).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'after' }] },
    });
  });

  it('serves frames, one and many', async () => {
    const flight = await given();
    const { frameId: _, ...inPath } = aFrame(4);
    expect(await server.call('PUT', `${flight}/frames/4`, inPath)).toMatchObject({ status: 200 });
    const many = Array.from({ length: 1_000 }, (_v, n) => aFrame(n));
    expect(await server.call('POST', `${flight}/frames`, many)).toMatchObject({
      status: 200,
      body: { saved: 1_000 },
    });
    const some = await read(`${flight}/frames?from=3&to=6&limit=3`);
    expect(some.body).toEqual(
      [3, 4, 5].map((n) => ({ ...aFrame(n), updatedAt: expect.any(String) as string })),
    );
    expect((await read(`${flight}/frames`)).body).toHaveLength(1_000);
    // What was read can be sent back, and changes nothing.
    const events = async () =>
      (await server.call('GET', `${flight}/events?limit=5000`)).body.length as number;
    const before = await events();
    await server.call('PUT', `${flight}/frames/3`, some.body[0]);
    expect(await events()).toBe(before);
  });

  it('serves headings', async () => {
    const flight = await given();
    expect(await server.call('GET', `${flight}/headings/latest`)).toMatchObject({ status: 404 });
    expect(
      await server.call('PUT', `${flight}/headings/1`, { heading: 360, timestamp: at(1) }),
    ).toMatchObject({ status: 200 });
    const more = [2, 3].map((n) => ({ frameId: n, heading: n, timestamp: at(n) }));
    expect(await server.call('POST', `${flight}/headings`, more)).toMatchObject({
      status: 200,
      body: { saved: 2 },
    });
    expect((await read(`${flight}/headings`)).body).toEqual([
      { frameId: 1, heading: 0, timestamp: at(1) },
      ...more,
    ]);
    expect((await read(`${flight}/headings?last=2`)).body).toEqual(more);
    expect((await read(`${flight}/headings/latest`)).body).toEqual(more[1]);
  });

  it('serves images and route chunks, and merges', async () => {
    const flight = await given();
    const image = { filePath: '/i/7.jpg', metadata: { width: 10 }, uploadedAt: at(7) };
    expect(await server.call('PUT', `${flight}/images/7`, image)).toMatchObject({ status: 200 });
    expect((await read(`${flight}/images/7`)).body).toEqual({ frameId: 7, ...image });
    expect(await server.call('GET', `${flight}/images/8`)).toMatchObject({
      status: 404,
      body: { code: 'image.not-found' },
    });

    const anchored = aChunk('b', {
      startFrameId: 7,
      endFrameId: 8,
      frames: [7, 8],
      hasAnchor: true,
      anchorFrameId: 7,
      anchorGps: { lat: 63, lon: 10 },
      matchingStatus: 'anchored',
    });
    expect(await server.call('PUT', `${flight}/chunks/a`, aChunk('a'))).toMatchObject({ status: 200 });
    expect(await server.call('PUT', `${flight}/chunks/b`, anchored)).toMatchObject({ status: 200 });
    expect(await server.call('PUT', `${flight}/chunks/c`, aChunk('c', { anchorFrameId: 99 }))).toMatchObject({
      status: 409,
      body: { code: 'chunk.anchor-unknown-frame' },
    });
    expect((await read(`${flight}/chunks`)).body).toEqual([aChunk('a'), anchored]);

    expect(await server.call('POST', `${flight}/chunks/b/merge`, { into: 'a' })).toMatchObject({
      status: 200,
    });
    const merged = { ...anchored, chunkId: 'a', startFrameId: 0, frames: [0, 1, 2, 7, 8], isActive: true };
    expect((await read(`${flight}/chunks`)).body).toEqual([merged]);
    // The image is removed, with the references to it.
    expect(await server.call('DELETE', `${flight}/images/7`)).toMatchObject({ status: 200 });
    expect((await read(`${flight}/chunks`)).body).toEqual([{ ...merged, anchorFrameId: null }]);
    expect(await server.call('DELETE', `${flight}/chunks/a`)).toMatchObject({ status: 200 });
    expect((await read(`${flight}/chunks`)).body).toEqual([]);
  });

  it('runs a transaction as a whole or not at all', async () => {
    const flight = await given(2);
    const { id, ...fields } = aWaypoint(5);
    const done = await server.call('POST', `${flight}/transactions`, {
      commands: [
        { type: 'UpdateWaypoint', waypoint: aWaypoint(0, { refined: true }) },
        { type: 'AddWaypoint', waypoint: { id, ...fields } },
        { type: 'SaveFrameResult', frame: aFrame(1) },
      ],
    });
    expect(done).toMatchObject({ status: 200, body: { results: [{}, { waypointId: 'w5' }, {}] } });
    const refused = await server.call('POST', `${flight}/transactions`, {
      commands: [
        { type: 'UpdateWaypoint', waypoint: aWaypoint(0) },
        { type: 'UpdateWaypoint', waypoint: aWaypoint(50) },
      ],
    });
    expect(refused).toMatchObject({ status: 404, body: { code: 'waypoint.not-found' } });
    expect((await read(`${flight}/waypoints`)).body).toEqual([
      aWaypoint(0, { refined: true }),
      aWaypoint(1),
      aWaypoint(5),
    ]);
    const invalid = await server.call('POST', `${flight}/transactions`, {
      commands: [
        { type: 'Explode' },
        { type: 'UpdateWaypoint', waypoint: { ...aWaypoint(0), lat: 91 } },
        { type: 'SaveHeading' },
      ],
    });
    expect(invalid.status).toBe(400);
    expect(invalid.body.errors.map((e: { field: string }) => e.field)).toEqual([
      'commands[0].type',
      'commands[1].waypoint.lat',
      'commands[2].heading',
    ]);
  });

  describe('the log', () => {
    it('is the audit trail of a flight, and the global order of all', async () => {
      const flight = await given(1);
      const trail = await server.call('GET', `${flight}/events`);
      expect(trail.body.map((e: { type: string }) => e.type)).toEqual([
        'FlightCreated',
        'GeofenceAdded',
        'WaypointAdded',
        'FlightStateSaved',
      ]);
      expect(trail.body[2]).toMatchObject({
        revision: 2,
        data: aWaypoint(0),
        metadata: { command: 'CreateFlight', actor: 'admin-key' },
      });
      expect((await server.call('GET', `${flight}/events?fromRevision=1&limit=2`)).body).toEqual(
        trail.body.slice(1, 3),
      );
      const after = trail.body[1].position as string;
      expect((await server.call('GET', `/v1/events?after=${after}&limit=2`)).body).toEqual(
        trail.body.slice(2, 4),
      );
      const typed = await server.call(
        'GET',
        `/v1/events?after=${after}&types=FlightStateSaved,FlightDeleted`,
      );
      expect(typed.body).toEqual(trail.body.slice(3, 4));
      const misspelt = await server.call('GET', '/v1/events?types=FlightCreated,FlightCreate');
      expect(misspelt).toMatchObject({ status: 400, body: { code: 'input.invalid' } });
      expect(misspelt.body.errors).toMatchObject([
        { field: 'types', message: expect.stringContaining('has "FlightCreate", which is no event type') },
      ]);
      expect(await server.call('GET', '/v1/flights/nowhere/events')).toMatchObject({ status: 404 });
      expect(await server.call('GET', '/v1/events?after=soon')).toMatchObject({
        status: 400,
        body: { code: 'position.invalid' },
      });
    });

    it('answers every flight read as of a revision or a time', async () => {
      const flight = await given(2);
      const before = (await server.call('GET', flight, undefined, { 'waylog-min-position': await head() }))
        .body;
      const lastEvent = (await server.call('GET', `${flight}/events`)).body.at(-1) as {
        recordedAt: string;
        revision: number;
      };
      // Another millisecond, so that the times differ.
      while (Date.now() <= Date.parse(lastEvent.recordedAt) + 1);
      await server.call('PUT', `${flight}/waypoints/w0`, aWaypoint(0, { lat: 1 }));
      await server.call('PUT', `${flight}/frames/1`, aFrame(1));
      await server.call('PUT', `${flight}/headings/1`, { heading: 1, timestamp: at(1) });
      await server.call('DELETE', flight);

      for (const asOf of [String(lastEvent.revision), lastEvent.recordedAt]) {
        expect((await server.call('GET', `${flight}?asOf=${asOf}`)).body).toEqual(before);
        expect((await server.call('GET', `${flight}/waypoints?asOf=${asOf}`)).body).toEqual(before.waypoints);
        expect((await server.call('GET', `${flight}/frames?asOf=${asOf}`)).body).toEqual([]);
        expect((await server.call('GET', `${flight}/state?asOf=${asOf}`)).body).toMatchObject({
          status: 'created',
        });
      }
      const beforeDeletion = String(lastEvent.revision + 3);
      expect((await server.call('GET', `${flight}/waypoints?asOf=${beforeDeletion}&limit=1`)).body).toEqual([
        aWaypoint(0, { lat: 1 }),
      ]);
      expect((await server.call('GET', `${flight}/frames?asOf=${beforeDeletion}`)).body).toMatchObject([
        { frameId: 1 },
      ]);
      expect(
        (await server.call('GET', `${flight}/headings/latest?asOf=${beforeDeletion}`)).body,
      ).toMatchObject({ heading: 1 });
      expect(await server.call('GET', `${flight}?asOf=2020-01-01T00:00:00Z`)).toMatchObject({ status: 404 });
      expect(await server.call('GET', `${flight}?asOf=99`)).toMatchObject({
        status: 404,
        body: { code: 'flight.revision-not-found' },
      });
      expect(await server.call('GET', `${flight}?asOf=yesterday`)).toMatchObject({
        status: 400,
        body: { errors: [{ field: 'asOf' }] },
      });
    });
  });

  describe('Idempotency-Key', () => {
    it('makes a repeat harmless: the same status and answer, nothing recorded', async () => {
      const flight = await given(1);
      const { id: _, ...waypoint } = aWaypoint(3);
      const calls: [string, string, unknown][] = [
        ['POST', `${flight}/waypoints`, waypoint],
        ['PATCH', `${flight}/waypoints`, [aWaypoint(0, { lat: 2 }), aWaypoint(70)]],
        ['PUT', `${flight}/frames/1`, aFrame(1)],
        ['POST', `${flight}/frames`, [aFrame(2)]],
      ];
      for (const [n, [method, path, body]] of calls.entries()) {
        const key = { 'idempotency-key': `${flight} ${n}` };
        const first = await server.call(method, path, body, key);
        expect(first.status).toBeLessThan(300);
        await server.call('PUT', `${flight}/waypoints/w0`, aWaypoint(0, { lat: n + 3 }));
        const before = await head();
        const again = await server.call(method, path, body, key);
        expect([again.status, again.body]).toEqual([first.status, first.body]);
        expect(await head()).toBe(before);
      }
    });

    it('works for a creation, also without an id, and for a deletion', async () => {
      const { id: _, ...flight } = aFlight('x', 3);
      const key = { 'idempotency-key': 'create-once' };
      const first = await server.call('POST', '/v1/flights', flight, key);
      const again = await server.call('POST', '/v1/flights', flight, key);
      expect([again.status, again.body]).toEqual([201, first.body]);
      const path = `/v1/flights/${first.body.flightId as string}`;
      for (let i = 0; i < 2; i++)
        expect(await server.call('DELETE', path, undefined, { 'idempotency-key': 'gone' })).toMatchObject({
          status: 204,
        });
    });

    it('is the text that was sent, also with letters that are not ASCII', async () => {
      const flight = aFlight('keyed-in-letters', 1);
      const asBytes = (text: string) => Buffer.from(text).toString('latin1');
      const { status } = await server.call('POST', '/v1/flights', flight, {
        'idempotency-key': asBytes('Zürich 1'),
      });
      expect(status).toBe(201);
      const { body } = await server.call('GET', `/v1/flights/${flight.id}/events`);
      expect(body[0].metadata).toMatchObject({ commandId: 'Zürich 1' });
      const noText = { 'idempotency-key': 'Z\u00fcrich' };
      expect(await server.call('POST', '/v1/flights', aFlight('keyed-in-none', 1), noText)).toMatchObject({
        status: 400,
        body: { errors: [{ field: 'Idempotency-Key' }] },
      });
    });

    it('belongs to one content, whatever the order of its fields', async () => {
      const flight = await given(1);
      const key = { 'idempotency-key': 'content' };
      const first = await server.call('PUT', `${flight}/frames/1`, aFrame(1), key);
      const reversed = Object.fromEntries(Object.entries(aFrame(1)).reverse());
      expect((await server.call('PUT', `${flight}/frames/1`, reversed, key)).body).toEqual(first.body);
      expect(await server.call('PUT', `${flight}/frames/1`, aFrame(1, { altitude: 1 }), key)).toMatchObject({
        status: 409,
        body: { code: 'command.id-reused' },
      });
    });

    it('belongs to one kind of command', async () => {
      const flight = await given(1);
      const key = { 'idempotency-key': 'twice' };
      await server.call('PUT', `${flight}/frames/1`, aFrame(1), key);
      const other = await server.call('PUT', `${flight}/headings/1`, { heading: 1, timestamp: at(1) }, key);
      expect(other).toMatchObject({ status: 409, body: { code: 'command.id-reused' } });
    });
  });

  describe('bad input', () => {
    const refusals: [string, string, string, unknown, string[]][] = [
      [
        'unknown fields',
        'POST',
        '',
        { ...aFlight('bad'), colour: 'red', startGps: { lat: 1, lon: 2, alt: 3 } },
        ['colour', 'startGps.alt'],
      ],
      ['missing fields', 'POST', '', {}, ['altitude', 'name', 'startGps']],
      [
        'wrong types',
        'POST',
        '',
        { ...aFlight('bad'), name: 7, altitude: '120', cameraParams: [] },
        ['altitude', 'cameraParams', 'name'],
      ],
      [
        'numbers out of range',
        'PUT',
        '/F/frames/1',
        { ...aFrame(1), gpsCenter: { lat: 90.1, lon: -180.1 }, heading: 360.5, confidence: -0.1 },
        ['confidence', 'gpsCenter.lat', 'gpsCenter.lon', 'heading'],
      ],
      [
        'a number that JSON cannot hold',
        'PUT',
        '/F/headings/1',
        `{"heading": 1e999, "timestamp": "${at(1)}"}`,
        ['heading'],
      ],
      ['ids over 128 characters', 'POST', '/F/waypoints', { ...aWaypoint(1), id: 'x'.repeat(129) }, ['id']],
      ['ids with control characters', 'POST', '/F/waypoints', { ...aWaypoint(1), id: 'a\u0007b' }, ['id']],
      ['ids in the path with control characters', 'PUT', '/F/waypoints/a%00b', aWaypoint(1), ['waypointId']],
      [
        'times without a zone',
        'POST',
        '/F/waypoints',
        { ...aWaypoint(1), timestamp: '2026-05-01T12:00:00' },
        ['timestamp'],
      ],
      [
        'days that do not exist',
        'POST',
        '/F/waypoints',
        { ...aWaypoint(1), timestamp: '2026-02-30T12:00:00Z' },
        ['timestamp'],
      ],
      ['frame ids below 0', 'POST', '/F/frames', [aFrame(0), { ...aFrame(1), frameId: -1 }], ['[1].frameId']],
      ['frame ids in the path that are none', 'PUT', '/F/frames/1.5', aFrame(1), ['frameId']],
      [
        'arrays over the limit',
        'POST',
        '/F/headings',
        Array.from({ length: 5_001 }, (_, n) => ({ frameId: n, heading: 1, timestamp: at(n) })),
        [''],
      ],
      ['empty arrays', 'PATCH', '/F/waypoints', [], ['']],
      ['fractions of frames', 'POST', '/F/frames', [{ ...aFrame(1), frameId: 1.5 }], ['[0].frameId']],
      [
        'fractions of headings',
        'POST',
        '/F/headings',
        [{ frameId: 1.5, heading: 1, timestamp: at(1) }],
        ['[0].frameId'],
      ],
      [
        'fractions in a state',
        'PUT',
        '/F/state',
        {
          status: 'x',
          framesProcessed: 1.5,
          framesTotal: 2.5,
          currentFrame: 0.5,
          searchGridSize: 0.5,
          blocked: false,
        },
        ['currentFrame', 'framesProcessed', 'framesTotal', 'searchGridSize'],
      ],
      [
        'fractions in a route chunk',
        'PUT',
        '/F/chunks/c',
        { ...aChunk('c'), startFrameId: 0.5, endFrameId: 1.5, frames: [0.5], anchorFrameId: 2.5 },
        ['anchorFrameId', 'endFrameId', 'frames[0]', 'startFrameId'],
      ],
      ['a transaction of nothing', 'POST', '/F/transactions', { commands: [null] }, ['commands[0]']],
      [
        'ids of its own in a step',
        'POST',
        '/F/transactions',
        { commands: [{ type: 'AddWaypoint', waypointId: 'x', waypoint: aWaypoint(1) }] },
        ['commands[0].waypointId'],
      ],
      [
        'a query range beyond all frames',
        'GET',
        '/F/frames?from=2147483648&to=9999999999',
        undefined,
        ['from', 'to'],
      ],
      ['empty query parameters', 'GET', '/F/frames?from=&limit=', undefined, ['from', 'limit']],
      ['numbers in other clothes', 'GET', '/F/headings?last=1e1', undefined, ['last']],
      ['text with NUL', 'PUT', '/F/images/1', { filePath: 'a\u0000b' }, ['filePath']],
      [
        'NUL deep in free-form JSON',
        'PUT',
        '/F/images/1',
        { filePath: 'a', metadata: { deep: [{ x: '\u0000' }] } },
        ['metadata'],
      ],
      [
        'free-form JSON that is too large',
        'PUT',
        '/F/images/1',
        { filePath: 'a', metadata: { x: 'y'.repeat(20_000) } },
        ['metadata'],
      ],
      ['unknown query parameters', 'GET', '/F/frames?form=1', undefined, ['form']],
      ['query parameters of the wrong type', 'GET', '/F/frames?limit=many', undefined, ['limit']],
    ];
    it.each(refusals)('%s are refused, and nothing is recorded', async (_, method, path, body, fields) => {
      const flight = await given();
      const before = await head();
      const url = path.startsWith('/F') ? flight + path.slice(2) : `/v1/flights${path}`;
      const answer = await server.call(method, url, body);
      expect(answer).toMatchObject({ status: 400, body: { code: 'input.invalid', status: 400 } });
      expect(answer.headers.get('content-type')).toContain('application/problem+json');
      expect(answer.body.errors.map((e: { field: string }) => e.field).sort()).toEqual(fields);
      expect(await head()).toBe(before);
    });

    it('names the range of a whole number', async () => {
      const flight = await given();
      const rule = (min: number, max: number) => `must be a whole number from ${min} to ${max}`;
      for (const [path, field, message] of [
        [`${flight}/waypoints?limit=-1`, 'limit', rule(1, 100_000)],
        [`${flight}/waypoints?limit=1.5`, 'limit', rule(1, 100_000)],
        [`${flight}/frames?from=-1`, 'from', rule(0, 2_147_483_647)],
        [`${flight}/events?limit=ten`, 'limit', rule(1, 5_000)],
        ['/v1/flights?offset=-1', 'offset', rule(0, 1_000_000_000)],
      ] as const)
        expect((await server.call('GET', path)).body.errors).toEqual([{ field, message }]);
      const frame = { ...aFrame(1), frameId: 1.5 };
      expect((await server.call('POST', `${flight}/frames`, [frame])).body.errors).toEqual([
        { field: '[0].frameId', message: rule(0, 2_147_483_647) },
      ]);
    });

    it.each([
      ['a body that is no JSON', '{"name":', 'application/json', 400, 'input.invalid'],
      ['a body of another type', 'name=x', 'application/x-www-form-urlencoded', 415, 'body.not-json'],
      [
        'a body over the limit',
        JSON.stringify({ name: 'x'.repeat(9 * 1024 * 1024) }),
        'application/json',
        413,
        'body.too-large',
      ],
    ])('%s is refused as a problem', async (_, body, type, status, code) => {
      const answer = await server.call('POST', '/v1/flights', body, { 'content-type': type });
      expect(answer).toMatchObject({ status, body: { code, status } });
    });

    it.each([
      'null',
      'NULL',
      '{}',
      '{a,"b"}',
      '"',
      'back\\slash',
      ' ',
      "it's; drop table flights --",
      '%',
      '🛰'.repeat(64),
    ])('keeps text such as %j as it is, in ids and elsewhere', async (text) => {
      const flight = aFlight(text, 1, {
        name: text,
        description: `${text}\n\t${text}`,
        cameraParams: { [text]: text },
      });
      expect(await server.call('POST', '/v1/flights', flight)).toMatchObject({
        status: 201,
        body: { flightId: text },
      });
      const path = `/v1/flights/${encodeURIComponent(text)}`;
      await server.call('POST', `${path}/waypoints`, aWaypoint(7, { id: text }));
      expect((await read(path)).body).toMatchObject({
        ...flight,
        waypoints: [aWaypoint(0), aWaypoint(7, { id: text })],
      });
    });

    it('is answered as a problem, also if the router itself refuses it', async () => {
      const answer = await server.call('GET', '/v1/flights/%zz');
      expect(answer).toMatchObject({ status: 400, body: { code: 'input.invalid', status: 400 } });
      const events = await server.call('GET', `${await given()}/events?fromRevision=2147483647`);
      expect(events).toMatchObject({ status: 200, body: [] });
    });

    it('answers unknown routes as a problem', async () => {
      expect(await server.call('GET', '/v1/nothing')).toMatchObject({
        status: 404,
        body: { code: 'route.not-found' },
      });
    });
  });

  describe('reads', () => {
    it('wait for the position they ask for, and report if it does not come', async () => {
      const flight = await given();
      const far = await server.call('GET', flight, undefined, {
        'waylog-min-position': log === 'PostgreSQL' ? '999999999' : '999999999:999999999',
      });
      expect(far).toMatchObject({ status: 503, body: { code: 'projection.behind' } });
      expect(Number(far.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await server.call('GET', flight, undefined, { 'waylog-min-position': 'x' })).toMatchObject({
        status: 400,
      });
    });
  });

  describe('operations', () => {
    it('has liveness, readiness and metrics', async () => {
      expect(await server.call('GET', '/health/live')).toMatchObject({ status: 200, body: { status: 'ok' } });
      expect(await server.call('GET', '/health/ready')).toMatchObject({
        status: 200,
        body: { status: 'ok', details: { database: { status: 'up' }, projections: { status: 'up' } } },
      });
      const { status, body } = await server.call('GET', '/metrics');
      expect(status).toBe(200);
      for (const name of [
        'waylog_commands_pending',
        'waylog_projection_lag_events',
        'waylog_http_request_seconds_bucket',
        'waylog_pool_connections',
        'waylog_command_seconds_count{command="CreateFlight",outcome="done"}',
        'waylog_command_seconds_count{command="CreateFlight",outcome="refused"}',
      ]) {
        expect(body).toContain(name);
      }
    });

    it('read the database once for all readiness probes', async () => {
      const pools = server.app.get(Pools);
      const status = pools.status.bind(pools);
      let looks = 0;
      pools.status = () => {
        looks++;
        return status();
      };
      const began = performance.now();
      const answers = await Promise.all(
        Array.from({ length: 60 }, () => server.call('GET', '/health/ready')),
      );
      // One in half a second, and one of the alerts now and then.
      expect(looks).toBeLessThan(4 + (performance.now() - began) / 500);
      expect(answers.filter((answer) => answer.status !== 200)).toEqual([]);
      pools.status = status;
    });

    it("include the API's own description: every answer above was checked against /openapi.json", async () => {
      const { body } = await server.call('GET', '/openapi.json');
      const { parameters } = body.paths['/v1/flights'].get as { parameters: { name: string }[] };
      const name = parameters.find((parameter) => parameter.name === 'name');
      expect(JSON.stringify(name)).toContain('% stands for any text');
      const routes = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
      );
      expect(routes.filter((route) => / \/v1\/(?!admin\/)/.test(route)).sort()).toEqual(
        [
          'DELETE /v1/transactions/{transactionId}',
          'GET /v1/transactions/{transactionId}',
          'POST /v1/commands',
          'POST /v1/queries',
          'POST /v1/transactions',
          'POST /v1/transactions/{transactionId}/commit',
          'DELETE /v1/flights/{id}',
          'DELETE /v1/flights/{id}/chunks/{chunkId}',
          'DELETE /v1/flights/{id}/geofences/{geofenceId}',
          'DELETE /v1/flights/{id}/images/{frameId}',
          'GET /v1/events',
          'GET /v1/flights',
          'GET /v1/flights/{id}',
          'GET /v1/flights/{id}/chunks',
          'GET /v1/flights/{id}/events',
          'GET /v1/flights/{id}/frame-minutes',
          'GET /v1/flights/{id}/frames',
          'GET /v1/flights/{id}/geofences',
          'GET /v1/flights/{id}/headings',
          'GET /v1/flights/{id}/headings/latest',
          'GET /v1/flights/{id}/images/{frameId}',
          'GET /v1/flights/{id}/images/{frameId}/content',
          'GET /v1/flights/{id}/state',
          'GET /v1/flights/{id}/waypoints',
          'GET /v1/processing-history',
          'PATCH /v1/flights/{id}',
          'PATCH /v1/flights/{id}/waypoints',
          'POST /v1/flights',
          'POST /v1/flights/{id}/chunks/{chunkId}/merge',
          'POST /v1/flights/{id}/erase',
          'POST /v1/flights/{id}/frames',
          'POST /v1/flights/{id}/geofences',
          'POST /v1/flights/{id}/headings',
          'POST /v1/flights/{id}/transactions',
          'POST /v1/flights/{id}/waypoints',
          'PUT /v1/flights/{id}/chunks/{chunkId}',
          'PUT /v1/flights/{id}/frames/{frameId}',
          'PUT /v1/flights/{id}/geofences/{geofenceId}',
          'PUT /v1/flights/{id}/headings/{frameId}',
          'PUT /v1/flights/{id}/images/{frameId}',
          'PUT /v1/flights/{id}/images/{frameId}/content',
          'PUT /v1/flights/{id}/state',
          'PUT /v1/flights/{id}/waypoints/{waypointId}',
        ].sort(),
      );
      expect((await server.call('GET', '/docs')).status).toBe(200);
    });
  });
});
