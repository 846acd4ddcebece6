import type { EventStore } from '#lib/event-store';
import { EVENT_STORE } from '#lib/waylog';
import { Observer } from '../apps/server/src/operations/observation.js';
import { logs } from './support/database.js';
import { appendRaw } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { bearer, newKey, until, useServer } from './support/server.js';
import { camera } from './support/toy-context.js';

// The one line of the server, with another context in it.
jest.mock('../apps/contexts.js', () => ({
  contexts: [
    jest.requireActual<typeof import('#lib/flight')>('#lib/flight').flight,
    jest.requireActual<typeof import('./support/toy-context.js')>('./support/toy-context.js').camera,
  ],
}));

const noon = '2026-05-01T12:00:00.000Z';

describe.each(logs)('a server with two contexts, with the log in %s', (log) => {
  const server = useServer(
    { WAYLOG_VERIFY_SHARE: '0', WAYLOG_RATE_LIMIT: '1000', WAYLOG_RETENTION_INTERVAL: '1' },
    log,
    [camera],
  );
  const call = (...request: Parameters<typeof server.call>) => server.call(...request);
  const command = (name: string, parameters: object) =>
    call('POST', '/v1/commands', { command: name, parameters, serviceName: 'test' });
  const query = (name: string, parameters: object, after?: string, useCache = true) =>
    call('POST', '/v1/queries', { query: name, parameters, serviceName: 'test', useCache }, atLeast(after));
  const atLeast = (position?: string) => (position === undefined ? {} : { 'waylog-min-position': position });
  const measured = async (cameraId: string, at: string, celsius: number) =>
    (await command('Measure', { cameraId, at, celsius })).body.position as string;
  const append = (stream: string, type: string, data: object) =>
    appendRaw(server.app.get<EventStore>(EVENT_STORE), stream, type, data);

  beforeAll(async () => {
    await call('POST', '/v1/flights', aFlight('f1', 2));
    await command('NameCamera', { cameraId: 'f1', name: 'front' });
    await command('NameLens', { lensId: 'f1', name: 'wide' });
    await measured('f1', noon, 20);
  });

  it('answers the routes of both, to whom they are for', async () => {
    const path = '/v1/cameras/f1/readings';
    const readings = [{ camera: 'f1', at: noon, celsius: 20 }];
    const position = await measured('f1', noon, 20);
    expect(await call('GET', path, undefined, { authorization: '' })).toMatchObject({ status: 401 });
    const reader = bearer(await newKey(server, 'reader'));
    expect(await call('GET', path, undefined, { ...reader, ...atLeast(position) })).toMatchObject({
      status: 200,
      body: readings,
    });
    const operator = bearer(await newKey(server, 'operator'));
    expect(await call('POST', '/v1/cameras/f1/erase', undefined, operator)).toMatchObject({
      status: 403,
      body: { code: 'access.role-too-small' },
    });
    expect(await call('GET', '/v1/cameras/f9/readings')).toMatchObject({
      status: 404,
      body: { code: 'camera.unknown' },
    });
    expect(await call('GET', `${path}?asOf=0`)).toMatchObject({ status: 200, body: [] });
    expect(await call('GET', `${path}?asOf=9`)).toMatchObject({
      body: { code: 'camera.revision-not-found' },
    });
    expect(await call('GET', '/v1/flights/f1')).toMatchObject({ status: 200, body: { id: 'f1' } });
  });

  it('describes both', async () => {
    const { body } = await call('GET', '/openapi.json');
    expect(body.paths['/v1/cameras/{id}/readings'].get).toMatchObject({
      summary: 'Read the temperatures of a camera',
      'x-role': 'reader',
    });
    expect(body.components.schemas).toHaveProperty('Readings');
    expect(Object.keys(body.components.schemas.CommandResponse.properties as object)).toEqual(
      expect.arrayContaining(['flightId', 'cameraId', 'lensId']),
    );
    const { body: models } = await call('GET', '/v1/admin/models');
    expect(models.map(({ serviceName }: { serviceName: string }) => serviceName)).toEqual(
      expect.arrayContaining(['flight', 'camera']),
    );
    const { body: tables } = await call('GET', '/v1/admin/hypertables');
    expect(tables.map(({ tableName }: { tableName: string }) => tableName)).toContain('camera.readings');
    expect((await call('GET', '/v1/admin/schema?level=strict')).body).toMatchObject({ issues: [] });
  });

  it('runs commands and queries by name, and keeps answers until an event touches them', async () => {
    expect(await command('NameCamera', { cameraId: 'f2', name: '' })).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'parameters.name' }] },
    });
    // It takes the role of its route.
    expect(await command('EraseCamera', { cameraId: 'f1' })).toMatchObject({
      body: { code: 'command.unknown' },
    });
    const before = await measured('f1', noon, 20);
    await query('GetReadings', { cameraId: 'f1' }, before);
    expect((await query('GetReadings', { cameraId: 'f1' })).body).toMatchObject({
      cacheHit: true,
      rowCount: 1,
    });
    const later = await measured('f1', '2026-05-02T12:00:00.000Z', 21);
    expect((await query('GetReadings', { cameraId: 'f1' }, later)).body).toMatchObject({
      cacheHit: false,
      rowCount: 2,
    });
    // Rows of another stream than the one that the query names.
    const names = async (position: string) =>
      (await query('GetNames', { cameraId: 'f1' }, position)).body.data.rows as object[];
    expect(await names(later)).toMatchObject([{ name: 'front' }, { name: 'wide' }]);
    const { body: renamed } = await command('NameLens', { lensId: 'f1', name: 'narrow' });
    expect(await names(renamed.position as string)).toMatchObject([{ name: 'front' }, { name: 'narrow' }]);
    expect((await query('GetNames', { cameraId: 'f1' })).body).toMatchObject({ cacheHit: true });
    const sql = 'select kind, name from camera.flights order by kind';
    expect((await query(sql, {}, undefined, false)).body.data.rows).toMatchObject([
      { kind: 'camera', name: 'front' },
      { kind: 'lens', name: 'narrow' },
    ]);
    expect(await call('POST', '/v1/transactions', { cameraId: 'f1', serviceName: 'test' })).toMatchObject({
      status: 400,
    });
  });

  it('counts both in statistics, metrics and health', async () => {
    const { body: metrics } = await call('GET', '/metrics');
    expect(metrics).toMatch(/waylog_command_seconds_count\{command="Measure",outcome="done"\} [1-9]/);
    expect(metrics).toMatch(/waylog_query_seconds_count\{query="GetReadings",outcome="done"\} [1-9]/);
    const { body: performance } = await call('GET', '/v1/admin/performance');
    expect(performance.slowestQueries.map((one: { query: string }) => one.query)).toContain('GetReadings');
    const { body: states } = await call('GET', '/v1/admin/projections');
    expect(new Set(states.map(({ projector }: { projector: string }) => projector) as string[])).toEqual(
      new Set(['flight', 'frame-minutes', 'camera']),
    );
  });

  it('parks a stream of each for itself, and counts both', async () => {
    await append('camera-bad', 'Measured', { at: 'no time', celsius: 1 });
    await append('flight-bad', 'FrameResultSaved', { frameId: 667 });
    const { body: saved } = await call('PUT', '/v1/flights/f1/frames/1', aFrame(1));
    const { body: frames } = await call(
      'GET',
      '/v1/flights/f1/frames',
      undefined,
      atLeast(saved.position as string),
    );
    expect(frames).toHaveLength(1);
    const position = await measured('f1', '2026-05-03T12:00:00.000Z', 22);
    expect((await query('GetReadings', { cameraId: 'f1' }, position)).body).toMatchObject({ rowCount: 3 });
    const { body: parked } = await until(
      () => call('GET', '/v1/admin/parked'),
      ({ body }) => body.length === 2,
    );
    expect(parked).toMatchObject([{ streamId: 'flight-bad' }, { streamId: 'camera-bad' }]);
    await until(
      () => call('GET', '/metrics'),
      ({ body }) => body.includes('waylog_projection_parked_streams 2'),
    );
    expect(await call('POST', '/v1/admin/parked/camera-bad/retry')).toMatchObject({
      body: { stillParked: { type: 'Measured' } },
    });
    for (const stream of ['camera-bad', 'flight-bad'])
      expect(await call('POST', `/v1/admin/parked/${stream}/discard`, { reason: 'bad' })).toMatchObject({
        status: 200,
      });
    expect((await call('GET', '/v1/admin/parked')).body).toEqual([]);
    expect((await call('GET', '/v1/admin/discarded')).body).toHaveLength(2);
  });

  it('goes on with the one while the other is paused, and says which', async () => {
    const paused = await call('POST', '/v1/admin/projectors/camera/pause', { reason: 'to look' });
    expect(paused.status).toBe(200);
    const position = await measured('f1', '2026-05-04T12:00:00.000Z', 23);
    const { body } = await call('PATCH', '/v1/flights/f1', { name: 'another' });
    expect(await query('GetFlight', { flightId: 'f1' }, body.position as string)).toMatchObject({
      status: 200,
      body: { data: { name: 'another' } },
    });
    // What is paused is no reason to take the server out of service, and it is not the other one that is meant.
    expect(await call('GET', '/health/ready')).toMatchObject({
      body: { info: { projections: { context: 'flight', projector: 'active' } } },
    });
    const observer = server.app.get(Observer);
    const seen = await observer.observe({ anew: true });
    const projections = seen.projections.map((one) =>
      one.projector === 'camera' ? { ...one, state: 'failed' as const, lagSeconds: 61 } : one,
    );
    const look = jest.spyOn(observer, 'observe').mockResolvedValue({ ...seen, projections });
    const ready = await call('GET', '/health/ready');
    look.mockRestore();
    expect(ready).toMatchObject({
      status: 503,
      body: { detail: expect.stringContaining('tables of camera') as string },
    });
    await call('POST', '/v1/admin/projectors/camera/resume');
    const readings = await call('GET', '/v1/cameras/f1/readings', undefined, atLeast(position));
    expect(readings.body).toHaveLength(4);
  });

  it('rebuilds and verifies the tables of both', async () => {
    const done = async (answer: { body: { jobId: string } }) =>
      until(
        () => call('GET', `/v1/admin/jobs/${answer.body.jobId}`),
        (job) => job.body.state !== 'running',
      );
    for (const name of ['readings', 'camera.readings', 'camera.flights', 'flight.flights', 'waypoints'])
      expect((await done(await call('POST', `/v1/admin/projections/${name}/rebuild`))).body).toMatchObject({
        state: 'done',
      });
    expect((await done(await call('POST', '/v1/admin/verifications', {}))).body).toMatchObject({
      state: 'done',
      result: { isSound: true },
    });
  });

  it('erases what is sensitive of a camera, and nothing of the flight of the same id', async () => {
    const key = async (stream: string) =>
      (
        await server.store.pool.query<{ key: Buffer | null }>(
          'select key from log.data_keys where stream_id = $1',
          [stream],
        )
      ).rows[0]?.key;
    expect(await key('camera-f1')).toBeInstanceOf(Buffer);
    expect(await call('POST', '/v1/cameras/f1/erase')).toMatchObject({ status: 204 });
    expect(await key('camera-f1')).toBeNull();
    for (const other of ['lens-f1', 'flight-f1']) expect(await key(other)).toBeInstanceOf(Buffer);
    const { rows } = await server.store.pool.query('select kind, name from camera.flights order by kind');
    expect(rows).toEqual([
      { kind: 'camera', name: 'erased' },
      { kind: 'lens', name: 'narrow' },
    ]);
    expect(await command('NameCamera', { cameraId: 'f1', name: 'again' })).toMatchObject({
      status: 409,
      body: { code: 'camera.erased' },
    });
    expect((await call('GET', '/v1/flights/f1')).body).toMatchObject({ name: 'another' });
  });
});
