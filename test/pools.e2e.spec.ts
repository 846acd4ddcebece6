import { aFlight, aWaypoint } from './support/samples.js';
import { bearer, until, useServer } from './support/server.js';

describe('while every query waits for a lock on its table', () => {
  const server = useServer({
    DATABASE_POOL_SIZE: '5',
    DATABASE_POOL_OVERFLOW: '2',
    DATABASE_POOL_TIMEOUT: '60',
    WAYLOG_VERIFY_SHARE: '0',
  });

  it('commands are recorded, a caller with a new key is let in, and the server is ready', async () => {
    const created = await server.call('POST', '/v1/flights', aFlight('locked', 3));
    const position = { 'waylog-min-position': created.body.position as string };
    expect((await server.call('GET', '/v1/flights/locked', undefined, position)).status).toBe(200);
    const blocker = await server.store.pool.connect();
    try {
      await blocker.query('begin');
      await blocker.query('lock table flight.waypoints in access exclusive mode');
      // Few rows: many of them at a time, without turns.
      const few = '/v1/flights/locked/waypoints?limit=100';
      const queries = Array.from({ length: 20 }, () => server.call('GET', few));
      await until(
        () => server.call('GET', '/metrics'),
        ({ body }) => /^waylog_pool_waiting\{pool="queries"\} [1-9]/m.test(body as string),
      );

      const made = await server.call('POST', '/v1/admin/keys', { name: 'new', role: 'operator' });
      expect(made.status).toBe(201);
      const key = bearer(made.body.key as string);
      const moved = { ...aWaypoint(1), lat: 1 };
      expect(await server.call('PUT', '/v1/flights/locked/waypoints/w1', moved, key)).toMatchObject({
        status: 200,
      });
      // Its sensitive fields need a key.
      expect((await server.call('POST', '/v1/flights', aFlight('another'))).status).toBe(201);
      expect(await server.call('GET', '/health/ready')).toMatchObject({ status: 200 });
      expect(await server.call('GET', '/v1/admin/connections')).toMatchObject({
        body: {
          size: 5,
          overflow: 2,
          pools: [{}, { name: 'queries', size: 3, maxOverflow: 2, checkedOut: 5, waiting: 15 }, {}],
        },
      });
      const events = await server.call('GET', '/v1/flights/locked/events?fromRevision=0');
      expect(events.body.at(-1)).toMatchObject({ type: 'WaypointUpdated' });

      await blocker.query('rollback');
      for (const answer of await Promise.all(queries)) expect(answer.status).toBe(200);
    } finally {
      await blocker.query('rollback');
      blocker.release();
    }
  });

  it('reports the settings of its pools', async () => {
    expect(await server.call('GET', '/v1/admin/connection')).toMatchObject({
      body: { poolSize: 5, maxOverflow: 2, poolTimeout: 60, poolRecycle: 3_600 },
    });
  });
});

describe('with a short time to wait for a connection', () => {
  const server = useServer({ DATABASE_POOL_SIZE: '3', DATABASE_POOL_TIMEOUT: '1', WAYLOG_VERIFY_SHARE: '0' });

  it('a query without a connection is answered 503, and those with one continue', async () => {
    await server.call('POST', '/v1/flights', aFlight('waits'));
    const blocker = await server.store.pool.connect();
    try {
      await blocker.query('begin');
      await blocker.query('lock table flight.waypoints in access exclusive mode');
      const first = server.call('GET', '/v1/flights/waits/waypoints');
      await until(
        () => server.call('GET', '/v1/admin/connections'),
        ({ body }) => body.pools[1].checkedOut === 1,
      );
      expect(await server.call('GET', '/v1/flights/waits/waypoints')).toMatchObject({
        status: 503,
        body: { code: 'database.unavailable' },
      });
      await blocker.query('rollback');
      expect((await first).status).toBe(200);
    } finally {
      await blocker.query('rollback');
      blocker.release();
    }
  });
});
