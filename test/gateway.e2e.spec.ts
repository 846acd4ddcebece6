import * as flight from '#lib/flight';
import { flight as flightContext, flightProjections } from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { rebuild, unpark, verify } from '#lib/projections';
import { keptByFollowers, namedQueries } from '../apps/server/src/gateway/queries.js';
import { followsFromTables, isSql } from '../apps/server/src/gateway/sql-text.js';
import { Statistics } from '../apps/server/src/operations/statistics.js';
import { appendRaw, poisonousFrames } from './support/poison.js';
import { aChunk, aFlight, aFrame, at, aWaypoint } from './support/samples.js';
import { bearer, newKey, useServer, type Answer } from './support/server.js';
import { flightOf } from './support/waylog.js';

describe('the gateway', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0' });
  const store = () => server.app.get<EventStore>(EVENT_STORE);
  const settled = async () => flightOf(server.app).watch.waitFor(await store().head(), 60_000);
  let flights = 0;
  const given = async (waypoints = 2) => {
    const id = `gateway-${++flights}`;
    await server.call('POST', '/v1/flights', aFlight(id, waypoints));
    return id;
  };
  const command = (name: string, parameters: object, more: object = {}, headers = {}) =>
    server.call(
      'POST',
      '/v1/commands',
      { command: name, parameters, serviceName: 'refiner', ...more },
      headers,
    );
  const query = (name: string, parameters: object = {}, more: object = {}, position?: string) =>
    server.call(
      'POST',
      '/v1/queries',
      { query: name, parameters, serviceName: 'refiner', ...more },
      position === undefined ? {} : { 'waylog-min-position': position },
    );
  const revisionOf = async (flightId: string) =>
    ((await server.call('GET', `/v1/flights/${flightId}/events`)).body as unknown[]).length - 1;

  describe('commands', () => {
    it('do not erase: that is for the administrator, by a route of its own', async () => {
      const flightId = await given();
      expect(await command('EraseFlight', { flightId })).toMatchObject({
        status: 400,
        body: { code: 'command.unknown' },
      });
      expect((await server.call('GET', `/v1/flights/${flightId}`)).body.name).not.toBe('erased');
    });

    it('run by their name, and return how many events they recorded', async () => {
      const flightId = await given();
      const { status, body, headers } = await command('UpdateWaypoint', {
        flightId,
        waypoint: aWaypoint(1, { lat: 60 }),
      });
      expect({ status, body }).toEqual({
        status: 200,
        body: {
          success: true,
          affectedRows: 1,
          executionTime: expect.any(Number) as number,
          flightId,
          revision: 5,
          position: headers.get('waylog-position'),
        },
      });
      expect((await server.call('GET', `/v1/flights/${flightId}/events`)).body.at(-1)).toMatchObject({
        type: 'WaypointUpdated',
        metadata: { command: 'UpdateWaypoint', actor: 'admin-key', onBehalfOf: 'refiner' },
      });
    });

    it('return the other results of the command too', async () => {
      const flightId = await given();
      const { id: _, ...waypoint } = aWaypoint(9);
      const added = await command('AddWaypoint', { flightId, waypoint });
      expect(added.body.result).toEqual({ waypointId: expect.any(String) as string });
      const many = await command('UpdateWaypoints', {
        flightId,
        waypoints: [aWaypoint(0, { lat: 1 }), aWaypoint(1, { lat: 1 }), aWaypoint(77)],
      });
      expect(many.body).toMatchObject({
        success: true,
        affectedRows: 2,
        result: { success: false, updatedCount: 2, failedIds: ['w77'] },
      });
    });

    it('count every event of a command with many of them, and none of one that changes nothing', async () => {
      const flightId = await given();
      const frames = Array.from({ length: 1_234 }, (_v, n) => aFrame(n));
      expect((await command('SaveFrameResults', { flightId, frames })).body.affectedRows).toBe(1_234);
      expect((await command('SaveFrameResult', { flightId, frame: aFrame(7) })).body.affectedRows).toBe(0);
    });

    it('give a repeat with the same key the same answer, and record it once', async () => {
      const flightId = await given();
      const send = () =>
        command('SaveFrameResult', { flightId, frame: aFrame(1) }, {}, { 'idempotency-key': 'once' });
      const { executionTime: _a, ...first } = (await send()).body;
      const { executionTime: _b, ...second } = (await send()).body;
      expect(second).toEqual(first);
      expect(first.affectedRows).toBe(1);
      expect(await revisionOf(flightId)).toBe(first.revision);
    });

    it('create a flight, whose id follows from its fields', async () => {
      const created = await command('CreateFlight', { flight: aFlight('gateway-made') });
      expect(created.body).toMatchObject({ flightId: 'gateway-made', revision: 2, affectedRows: 3 });
      expect(await command('CreateFlight', { flightId: 'other', flight: aFlight('one') })).toMatchObject({
        status: 400,
        body: {
          errors: [{ field: 'parameters.flightId', message: expect.stringContaining('"one"') as string }],
        },
      });
    });

    it('are refused with every bad field, and the possible names', async () => {
      const flightId = await given();
      const bad = await command('UpdateWaypoint', {
        flightId,
        waypoint: aWaypoint(1, { lat: 95 }),
        colour: 'red',
        constructor: 'x',
      });
      expect(bad).toMatchObject({ status: 400, body: { code: 'input.invalid' } });
      expect((bad.body.errors as { field: string }[]).map(({ field }) => field).sort()).toEqual([
        'parameters.colour',
        'parameters.constructor',
        'parameters.waypoint.lat',
      ]);
      expect((await command('UpdateWaypoint', {})).body.errors).toEqual(
        expect.arrayContaining([{ field: 'parameters.flightId', message: 'is missing' }]) as unknown,
      );
      const step = { type: 'UpdateWaypoint', waypoint: aWaypoint(1, { lon: 200 }) };
      expect((await command('Transact', { flightId, commands: [step] })).body.errors).toEqual([
        { field: 'parameters.commands[0].waypoint.lon', message: 'must be at most 180' },
      ]);
      const unknown = await command('DropEverything', { flightId });
      expect(unknown).toMatchObject({ status: 400, body: { code: 'command.unknown' } });
      expect(unknown.body.detail).toContain('CreateFlight, UpdateFlight');
      expect(
        (await command('DeleteFlight', { flightId, commandId: 'x', actor: 'y' })).body.errors,
      ).toHaveLength(2);
    });

    it('are refused with the same status and code as everywhere', async () => {
      const flightId = await given();
      expect(await command('UpdateWaypoint', { flightId, waypoint: aWaypoint(50) })).toMatchObject({
        status: 404,
        body: { code: 'waypoint.not-found' },
      });
    });

    it('report after a timeout that they may have been recorded, and how to find out', async () => {
      const flightId = await given();
      // The holder of this lock blocks every append, like a slow database.
      const blocker = await server.store.pool.connect();
      await blocker.query('begin');
      await blocker.query('select pg_advisory_xact_lock(7239100402)');
      const parameters = { flightId, frame: aFrame(1) };
      const late = await command('SaveFrameResult', parameters, { timeout: 0.05 });
      await blocker.query('rollback');
      blocker.release();
      expect(late).toMatchObject({ status: 503, body: { code: 'command.timeout' } });
      expect(late.body.detail).toContain('MAY HAVE BEEN RECORDED');
      const [, key] = /Idempotency-Key: (\S+?)\. /.exec(late.body.detail as string) ?? [];
      const again = await command('SaveFrameResult', parameters, {}, { 'idempotency-key': key });
      expect(again.body).toMatchObject({ success: true, affectedRows: 1 });
      expect(await revisionOf(flightId)).toBe(again.body.revision);
    });
  });

  describe('transactions', () => {
    const open = async (flightId: string, more: object = {}) =>
      (await server.call('POST', '/v1/transactions', { flightId, serviceName: 'refiner', ...more })).body
        .transactionId as string;
    const commit = (id: string, search = '') => server.call('POST', `/v1/transactions/${id}/commit${search}`);

    it('collect commands, and record all of them at the commit', async () => {
      const flightId = await given();
      const before = await revisionOf(flightId);
      const transactionId = await open(flightId);
      const collected = await command('AddWaypoint', { flightId, waypoint: aWaypoint(8) }, { transactionId });
      expect(collected.body).toMatchObject({ success: true, transactionId, affectedRows: 0 });
      expect(collected.body).not.toHaveProperty('revision');
      await command('UpdateWaypoint', { waypoint: aWaypoint(8, { lat: 1 }) }, { transactionId });
      expect(await revisionOf(flightId)).toBe(before);
      const context = await server.call('GET', `/v1/transactions/${transactionId}`);
      expect(context).toMatchObject({
        status: 200,
        body: { transactionId, commandsExecuted: 2, isActive: true, serviceName: 'refiner' },
      });
      const done = await commit(transactionId);
      expect(done).toMatchObject({
        status: 200,
        body: {
          success: true,
          transactionId,
          affectedRows: 2,
          revision: before + 2,
          result: { results: [{ waypointId: 'w8' }, {}] },
        },
      });
      expect(await revisionOf(flightId)).toBe(before + 2);
      expect((await server.call('GET', `/v1/transactions/${transactionId}`)).body).toMatchObject({
        isActive: false,
        state: 'committed',
      });
    });

    it('give a repeated commit, and a concurrent one, the same answer', async () => {
      const flightId = await given();
      const transactionId = await open(flightId);
      await command('SaveFrameResult', { frame: aFrame(1) }, { transactionId });
      const [a, b] = await Promise.all([commit(transactionId), commit(transactionId)]);
      const c = await commit(transactionId);
      expect(b).toMatchObject({ status: 200, body: a.body });
      expect(c).toMatchObject({ status: 200, body: a.body });
      expect(await revisionOf(flightId)).toBe(a.body.revision);
      expect(await command('DeleteFlight', {}, { transactionId })).toMatchObject({
        status: 409,
        body: { code: 'transaction.ended' },
      });
    });

    it('record nothing when the flight refuses one of the commands', async () => {
      const flightId = await given();
      const before = await revisionOf(flightId);
      const transactionId = await open(flightId);
      await command('SaveFrameResult', { frame: aFrame(1) }, { transactionId });
      await command('UpdateWaypoint', { waypoint: aWaypoint(50) }, { transactionId });
      for (let attempt = 0; attempt < 2; attempt++) {
        expect(await commit(transactionId)).toMatchObject({
          status: 404,
          body: { code: 'waypoint.not-found' },
        });
      }
      expect(await revisionOf(flightId)).toBe(before);
    });

    it('check a command when it is sent, and accept none of another flight', async () => {
      const flightId = await given();
      const transactionId = await open(flightId);
      expect(
        (await command('UpdateWaypoint', { waypoint: aWaypoint(1, { lat: 95 }) }, { transactionId })).body
          .errors,
      ).toEqual([{ field: 'parameters.waypoint.lat', message: 'must be at most 90' }]);
      expect(
        await command('SaveFrameResult', { flightId: 'other', frame: aFrame(1) }, { transactionId }),
      ).toMatchObject({ status: 409, body: { code: 'transaction.other-flight' } });
      // The refusal does not repeat an impossible id in full.
      for (const none of [{ a: 'x'.repeat(300_000) }, 'x'.repeat(300_000), 7, null]) {
        const refused = await command(
          'SaveFrameResult',
          { flightId: none, frame: aFrame(1) },
          { transactionId },
        );
        expect(refused.body.errors).toEqual([
          { field: 'parameters.flightId', message: expect.any(String) as string },
        ]);
        expect(JSON.stringify(refused.body).length).toBeLessThan(1_000);
      }
      expect((await command('Transact', { commands: [] }, { transactionId })).status).toBe(400);
      expect((await command('Nothing', {}, { transactionId })).body.code).toBe('command.unknown');
      expect((await server.call('GET', `/v1/transactions/${transactionId}`)).body.commandsExecuted).toBe(0);
    });

    it('collect a command with a key once', async () => {
      const flightId = await given();
      const transactionId = await open(flightId);
      const key = { 'idempotency-key': 'k' };
      const add = (n: number) => command('SaveFrameResult', { frame: aFrame(n) }, { transactionId }, key);
      expect((await add(1)).status).toBe(200);
      expect((await add(1)).status).toBe(200);
      expect(await add(2)).toMatchObject({ status: 409, body: { code: 'command.id-reused' } });
      expect((await commit(transactionId)).body.affectedRows).toBe(1);
    });

    it('can be discarded, or end at their time limit', async () => {
      const flightId = await given();
      const before = await revisionOf(flightId);
      const thrown = await open(flightId);
      await command('SaveFrameResult', { frame: aFrame(1) }, { transactionId: thrown });
      expect((await server.call('DELETE', `/v1/transactions/${thrown}`)).body).toMatchObject({
        isActive: false,
        state: 'rolled-back',
      });
      expect((await commit(thrown)).status).toBe(409);

      const expired = await open(flightId, { timeLimit: 0.05 });
      const { body } = await server.call('GET', `/v1/transactions/${expired}`);
      while (Date.now() <= Date.parse(body.expiresAt as string)) await new Promise(setImmediate);
      expect(await commit(expired)).toMatchObject({ status: 409, body: { code: 'transaction.ended' } });
      expect(
        (await command('SaveFrameResult', { frame: aFrame(1) }, { transactionId: expired })).status,
      ).toBe(409);
      expect(await revisionOf(flightId)).toBe(before);
      expect(await commit('nobody')).toMatchObject({
        status: 404,
        body: { code: 'transaction.not-found' },
      });
    });

    it('report the result of a timed-out commit when it is repeated', async () => {
      const flightId = await given();
      const transactionId = await open(flightId);
      await command('SaveFrameResult', { frame: aFrame(1) }, { transactionId });
      const blocker = await server.store.pool.connect();
      await blocker.query('begin');
      await blocker.query('select pg_advisory_xact_lock(7239100402)');
      expect(await commit(transactionId, '?timeout=0.05')).toMatchObject({
        status: 503,
        body: { code: 'command.timeout' },
      });
      expect((await server.call('DELETE', `/v1/transactions/${transactionId}`)).status).toBe(409);
      await blocker.query('rollback');
      blocker.release();
      expect((await commit(transactionId)).body).toMatchObject({ success: true, affectedRows: 1 });
    });

    it('of one caller leave room for those of others', async () => {
      const greedy = await newKey(server, 'operator');
      const openAs = (key: string) =>
        server.call('POST', '/v1/transactions', { flightId: 'any', serviceName: 'greedy' }, bearer(key));
      for (let n = 0; n < 100; n++) expect((await openAs(greedy)).status).toBe(201);
      expect(await openAs(greedy)).toMatchObject({ status: 503, body: { code: 'transactions.too-many' } });
      expect((await openAs(await newKey(server, 'operator'))).status).toBe(201);
    });

    describe('can hold', () => {
      /** Opens one for a caller; returns functions that add 20,000 values to it, and that read it. */
      const begin = async (key: string) => {
        const { body } = await server.call(
          'POST',
          '/v1/transactions',
          { flightId: 'any', serviceName: 'greedy' },
          bearer(key),
        );
        const frames = Array.from({ length: 20_000 }, (_, i) => 2_000_000_000 + i);
        return () => {
          const request = {
            command: 'SaveChunkState',
            parameters: { chunk: aChunk('c', { frames }) },
            serviceName: 'greedy',
            transactionId: body.transactionId as string,
          };
          return server.call('POST', '/v1/commands', request, bearer(key));
        };
      };
      /** Adds until there is no more room. */
      const fill = async (add: () => Promise<Answer>) => {
        for (let added = 0; ; added++) {
          const { status, body } = await add();
          if (status !== 200) return { added, code: body.code as string, detail: body.detail as string };
        }
      };

      it('as much as one request can', async () => {
        expect(await fill(await begin(await newKey(server, 'operator')))).toEqual({
          added: 9,
          code: 'transaction.full',
          detail: expect.stringContaining('8 MiB, 200000 values and 75000 fields') as string,
        });
      });

      it('16 MiB of one caller, with room for others', async () => {
        const greedy = await newKey(server, 'operator');
        let added = 0;
        for (let last = 9; last === 9; added += last) last = (await fill(await begin(greedy))).added;
        expect(added).toBeGreaterThan(70);
        expect(added).toBeLessThan(80);
        expect((await (await begin(await newKey(server, 'operator')))()).status).toBe(200);
      });
    });

    it('cannot hold more than 1,000 commands', async () => {
      const transactionId = await open(await given(), { timeLimit: 300 });
      const add = () => command('SaveFrameResult', { frame: aFrame(1) }, { transactionId });
      for (let n = 0; n < 1_000; n++) expect((await add()).status).toBe(200);
      expect(await add()).toMatchObject({ status: 409, body: { code: 'transaction.full' } });
    });
  });

  describe('queries', () => {
    it('exist under the name of each class', () => {
      const classes = Object.values(flight as Record<string, unknown>).filter(
        (value): value is { name: string } =>
          typeof value === 'function' && /^(Get|List)/.test(value.name) && !value.name.endsWith('Handler'),
      );
      expect([...namedQueries.keys()].sort()).toEqual(
        [...classes.map(({ name }) => name), 'GetEvents'].sort(),
      );
    });

    it('return the same as the routes', async () => {
      const flightId = await given(3);
      await command('SaveFrameResult', { flightId, frame: aFrame(1) });
      await command('SaveHeading', { flightId, heading: { frameId: 1, heading: 5, timestamp: at(1) } });
      await command('SaveImageMetadata', {
        flightId,
        image: { frameId: 1, filePath: '/1.jpg', metadata: {} },
      });
      await settled();
      const route = async (path: string) => (await server.call('GET', path)).body as unknown;
      const at1 = `/v1/flights/${flightId}`;
      const data = async (name: string, parameters: object = {}) => {
        const { status, body } = await query(name, parameters);
        expect([name, status]).toEqual([name, 200]);
        return body.data as { rows?: unknown };
      };
      expect(await data('GetFlight', { flightId })).toEqual(await route(at1));
      expect((await data('GetWaypoints', { flightId, limit: 2 })).rows).toEqual(
        await route(`${at1}/waypoints?limit=2`),
      );
      expect((await data('GetGeofences', { flightId })).rows).toEqual(await route(`${at1}/geofences`));
      expect(await data('GetFlightState', { flightId })).toEqual(await route(`${at1}/state`));
      expect((await data('GetFrameResults', { flightId, from: 1 })).rows).toEqual(
        await route(`${at1}/frames?from=1`),
      );
      expect((await data('GetHeadingHistory', { flightId })).rows).toEqual(await route(`${at1}/headings`));
      expect(await data('GetLatestHeading', { flightId })).toMatchObject({ heading: 5 });
      expect(await data('GetImageMetadata', { flightId, frameId: 1 })).toMatchObject({ filePath: '/1.jpg' });
      expect(await data('GetImagePath', { flightId, frameId: 1 })).toEqual({ value: '/1.jpg' });
      expect((await data('GetChunkStates', { flightId })).rows).toEqual([]);
      expect((await data('GetFlightEvents', { flightId })).rows).toEqual(await route(`${at1}/events`));
      expect((await data('GetEvents', { limit: 3 })).rows).toEqual(await route('/v1/events?limit=3'));
      expect(await data('ListFlights', { limit: 2 })).toEqual(await route('/v1/flights?limit=2'));
      expect(await data('GetProcessingHistory', { limit: 2 })).toEqual(
        await route('/v1/processing-history?limit=2'),
      );
      expect((await query('ListFlights', { limit: 2 })).body.rowCount).toBe(2);
      expect((await data('GetWaypoints', { flightId, asOf: '0' })).rows).toEqual([]);
    });

    it('are refused with every bad field, and the possible names', async () => {
      expect((await query('GetWaypoints', { limit: 0, colour: 'red' })).body.errors).toEqual(
        expect.arrayContaining([
          { field: 'parameters.flightId', message: 'is missing' },
          { field: 'parameters.limit', message: 'must be at least 1' },
          { field: 'parameters.colour', message: 'is not a field of this input' },
        ]) as unknown,
      );
      expect((await query('GetWaypoints', { flightId: 'x', asOf: 'yesterday' })).body.errors).toMatchObject([
        { field: 'parameters.asOf' },
      ]);
      const unknown = await query('GetEverything');
      expect(unknown).toMatchObject({ status: 400, body: { code: 'query.unknown' } });
      expect(unknown.body.detail).toContain('GetFlight, ListFlights');
      expect(await query('GetFlight', { flightId: 'nobody' })).toMatchObject({
        status: 404,
        body: { code: 'flight.not-found' },
      });
    });

    it('read what has been written up to a position, SQL too', async () => {
      const flightId = await given(0);
      for (let n = 0; n < 20; n++) {
        const { body } = await command('SaveFrameResult', { flightId, frame: aFrame(n) });
        const position = body.position as string;
        const named = await query('GetFrameResults', { flightId }, { useCache: true }, position);
        expect(named.body.rowCount).toBe(n + 1);
        const sql = 'select count(*)::integer as frames from frame_results where flight_id = $1';
        const counted = await query(sql, { values: [flightId] }, { useCache: true }, position);
        expect(counted.body.data.rows).toEqual([{ frames: n + 1 }]);
      }
    });
  });

  describe('the cache', () => {
    const cached = async (name: string, parameters: object = {}, position?: string): Promise<Answer> =>
      query(name, parameters, { useCache: true }, position);
    const hit = async (name: string, parameters: object = {}) =>
      (await cached(name, parameters)).body.cacheHit as boolean;
    const waypoints = async (flightId: string) => {
      const { body } = await cached('GetWaypoints', { flightId });
      return { hit: body.cacheHit as boolean, lat: body.data.rows[0].lat as number };
    };

    it('repeats answers that no event has affected, and counts them', async () => {
      const [one, other] = [await given(), await given()];
      await settled();
      const counts = server.app.get(Statistics).cache;
      const before = { ...counts };
      expect(await hit('GetWaypoints', { flightId: one })).toBe(false);
      expect(await hit('GetWaypoints', { flightId: one })).toBe(true);
      expect(await hit('GetWaypoints', { limit: null, flightId: one })).toBe(true);
      expect(await hit('GetWaypoints', { flightId: one, limit: 1 })).toBe(false);
      await command('UpdateWaypoint', { flightId: other, waypoint: aWaypoint(1, { lat: 1 }) });
      await settled();
      expect(await hit('GetWaypoints', { flightId: one })).toBe(true);
      await command('UpdateWaypoint', { flightId: one, waypoint: aWaypoint(1, { lat: 1 }) });
      await settled();
      expect(await hit('GetWaypoints', { flightId: one })).toBe(false);
      expect(counts).toEqual({ hits: before.hits + 3, misses: before.misses + 3 });
      expect((await query('GetWaypoints', { flightId: one })).body.cacheHit).toBe(false);
    });

    it('ends answers about many flights, and those of SQL, with any event', async () => {
      const flightId = await given();
      await settled();
      const sql = 'select count(*) as n from waypoints';
      for (const name of ['ListFlights', sql]) {
        expect(await hit(name)).toBe(false);
        expect(await hit(name)).toBe(true);
      }
      await command('SaveFrameResult', { flightId, frame: aFrame(1) });
      await settled();
      for (const name of ['ListFlights', sql]) expect(await hit(name)).toBe(false);
    });

    it('keeps no answer from the log, and none of SQL that reads more than the tables', async () => {
      const flightId = await given();
      await settled();
      for (let n = 0; n < 2; n++) {
        expect(await hit('GetFlightEvents', { flightId })).toBe(false);
        expect(await hit('GetWaypoints', { flightId, asOf: '3' })).toBe(false);
        expect(await hit('select now() as now')).toBe(false);
      }
    });

    it('is cleared by a rebuild and by a repair', async () => {
      const flightId = await given();
      await settled();
      const broken = (await waypoints(flightId)).lat;
      const damage = `update flight.waypoints set lat = 12 where flight_id = $1 and id = 'w0'`;
      const options = {
        ...tablesOf(flightContext, store()),
        projections: flightProjections.filter(({ name }) => name === 'waypoints'),
        connectionString: server.store.url,
      };
      // A manual change is not an event: it is visible when the answer is read again.
      await server.store.pool.query(damage, [flightId]);
      await command('SaveFrameResult', { flightId, frame: aFrame(1) });
      await settled();
      expect(await waypoints(flightId)).toEqual({ hit: false, lat: 12 });
      expect(await waypoints(flightId)).toEqual({ hit: true, lat: 12 });
      await rebuild(options);
      expect(await waypoints(flightId)).toEqual({ hit: false, lat: broken });

      await server.store.pool.query(damage, [flightId]);
      await command('SaveFrameResult', { flightId, frame: aFrame(2) });
      await settled();
      expect(await waypoints(flightId)).toEqual({ hit: false, lat: 12 });
      await verify({ ...options, by: 'test', repair: true });
      expect(await waypoints(flightId)).toEqual({ hit: false, lat: broken });
      expect(await waypoints(flightId)).toEqual({ hit: true, lat: broken });
    });

    it('is cleared when a parked flight is resumed', async () => {
      const flightId = await given();
      // Its chunk exists before: a new one would end the answers by itself.
      await command('SaveFrameResult', { flightId, frame: aFrame(0) });
      await appendRaw(store(), `flight-${flightId}`, 'FrameResultSaved', poisonousFrames.unreadable);
      await command('SaveFrameResult', { flightId, frame: aFrame(1) });
      await settled();
      const frames = async () => (await cached('GetFrameResults', { flightId })).body;
      expect(await frames()).toMatchObject({ cacheHit: false, rowCount: 1 });
      expect(await frames()).toMatchObject({ cacheHit: true, rowCount: 1 });
      const sql = `select count(*)::integer as n from frame_results where flight_id = '${flightId}'`;
      expect((await cached(sql)).body.data.rows).toEqual([{ n: 1 }]);
      await unpark({
        pool: server.store.pool,
        ...tablesOf(flightContext, store()),
        streamId: `flight-${flightId}`,
        discard: { reason: 'a test', by: 'test' },
      });
      expect(await frames()).toMatchObject({ cacheHit: false, rowCount: 2 });
      expect((await cached(sql)).body).toMatchObject({ cacheHit: false, data: { rows: [{ n: 2 }] } });
    });

    it('is cleared when chunks of a hypertable are dropped', async () => {
      const flightId = await given();
      await command('SaveFrameResult', {
        flightId,
        frame: { ...aFrame(1), timestamp: '2020-01-01T00:00:00Z' },
      });
      await settled();
      expect((await cached('GetFrameResults', { flightId })).body.rowCount).toBe(1);
      await server.store.pool.query(`select drop_chunks('flight.frame_results', '2021-01-01'::timestamptz)`);
      expect((await cached('GetFrameResults', { flightId })).body).toMatchObject({
        cacheHit: false,
        rowCount: 0,
      });
    });

    it('is never behind an uncached read, even during writes', async () => {
      const ids = [await given(), await given(), await given()];
      await settled();
      const ROUNDS = 60;
      let hits = 0;
      let compared = 0;
      let writing = ids.length;
      const lat = (body: Answer['body']) => body.data.rows[0].lat as number;
      const sqlOf = (flightId: string) =>
        `select lat from waypoints where flight_id = '${flightId}' and id = 'w0'`;
      const writer = async (flightId: string) => {
        for (let n = 1; n <= ROUNDS; n++) {
          const { body } = await command('UpdateWaypoint', {
            flightId,
            waypoint: aWaypoint(0, { lat: n / 100 }),
          });
          // At least what was written, through the cache.
          const read = await cached('GetWaypoints', { flightId }, body.position as string);
          expect(lat(read.body)).toBe(n / 100);
          // Time for the readers to find the same state more than once.
          if (n % 10 === 0) for (let i = 0; i < 5; i++) await cached('GetWaypoints', { flightId });
        }
      };
      const reader = async (flightId: string, ask: [string, object]) => {
        const value = async (useCache: boolean) => {
          const { body } = await query(...ask, { useCache });
          if (body.cacheHit) hits++;
          const found = lat(body);
          // Before the first write it is the flight's own.
          return found > 1 ? 0 : found;
        };
        while (writing > 0) {
          const before = await value(false);
          const between = await value(true);
          const after = await value(false);
          expect(between).toBeGreaterThanOrEqual(before);
          expect(after).toBeGreaterThanOrEqual(between);
          compared++;
        }
        expect(await value(true)).toBe(ROUNDS / 100);
        expect(flightId).toBeDefined();
      };
      await Promise.all([
        ...ids.map((flightId) => writer(flightId).finally(() => writing--)),
        ...ids.map((flightId) => reader(flightId, ['GetWaypoints', { flightId, limit: 1 }])),
        reader(ids[0] as string, [sqlOf(ids[0] as string), {}]),
      ]);
      expect(compared).toBeGreaterThan(0);
      expect(hits).toBeGreaterThan(0);
    }, 120_000);
  });

  it('distinguishes SQL from names, and SQL on the tables alone from other SQL', () => {
    expect(['select 1', ' WITH x as (select 1) select * from x', 'values (1)'].every(isSql)).toBe(true);
    expect(['GetFlight', 'selection', 'delete from x', '-- select'].some(isSql)).toBe(false);
    for (const sql of [
      'select count(*), avg(confidence) from frame_results where flight_id = $1',
      `with f as (select * from flights) select id from f where name in ('a', 'b')`,
      `select time_bucket('1 minute', "timestamp") as minute, max(altitude) from frame_results group by 1`,
      `select 'it''s (fine)' as text`,
    ])
      expect([sql, followsFromTables(sql)]).toEqual([sql, true]);
    for (const sql of [
      'select now()',
      'select current_timestamp',
      'select "now"()',
      'select pg_catalog . now ( )',
      'select now/**/()',
      `select 'now'::timestamptz`,
      `select E'\\'' || now() || ''`,
      'select $$ $$ || random()',
      'select u&"n\\006fw"()',
      `select ('n' || 'ow')::timestamptz`,
      `select ('n' || 'ow') :: "date"`,
      `select cast('n' || 'ow' as timestamp with time zone)`,
      `select 'n'\n'ow'::timestamptz`,
      `select name::text::time from flights`,
      'select * from pg_stat_activity',
      'select * from timescaledb_information.chunks',
      'select * from flights tablesample system (50)',
      'select count(*) from frame_minutes',
      'select max(minute) from flight.frame_minute_parts',
    ])
      expect([sql, followsFromTables(sql, [], keptByFollowers)]).toEqual([sql, false]);
    const since = `select count(*) from frame_results where "timestamp" > $1::timestamptz and "timestamp" < '2027-01-01'::date`;
    expect(followsFromTables(since, ['2026-01-01'])).toBe(true);
    expect(followsFromTables(since, ['today'])).toBe(false);
  });
});
