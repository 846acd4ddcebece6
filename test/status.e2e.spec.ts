import { createServer, type Server } from 'node:http';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Alerts, type AlertMessage } from '../apps/server/src/operations/alerts.js';
import { alertRules } from '../apps/server/src/operations/alert-rules.js';
import { aFlight, aFrame } from './support/samples.js';
import { until, useServer } from './support/server.js';
import { eventually } from './support/eventually.js';
import { flightOf } from './support/waylog.js';

describe('health, statistics and alerts', () => {
  const messages: AlertMessage[] = [];
  let refusals = 0;
  let hook: Server;
  const env: Record<string, string> = { WAYLOG_ALERT_INTERVAL: '3600', WAYLOG_VERIFY_SHARE: '0' };
  beforeAll(async () => {
    hook = createServer((request, response) => {
      let text = '';
      request.on('data', (part: Buffer) => (text += part.toString()));
      request.on('end', () => {
        // The credentials of the address come as a header; without it the message is refused.
        const login = Buffer.from('alerts:s3cret').toString('base64');
        if (request.headers.authorization !== `Basic ${login}`) return response.writeHead(401).end();
        // The first attempt of each message fails; the redirect leads where the operator has not allowed.
        if (request.url !== '/') return response.end();
        if (refusals++ % 2 === 0) return response.writeHead(302, { location: '/elsewhere' }).end();
        messages.push(JSON.parse(text) as AlertMessage);
        return response.end();
      });
    });
    hook.listen(0, '127.0.0.1');
    await once(hook, 'listening');
    env['WAYLOG_ALERT_WEBHOOK'] = `http://alerts:s3cret@127.0.0.1:${(hook.address() as AddressInfo).port}/`;
  });
  afterAll(() => hook.close());
  const server = useServer(env);
  const get = async (path: string) => (await server.call('GET', path)).body;

  // They may fail by themselves if the edition has any; background-jobs.e2e.spec.ts tests that.
  beforeAll(() =>
    server.store.pool.query(
      `select delete_job(job_id) from timescaledb_information.jobs where job_id >= 1000`,
    ),
  );

  it('report the state of the system', async () => {
    const { body } = await server.call('POST', '/v1/flights', aFlight('h', 1));
    await flightOf(server.app).watch.waitFor(String(body.position), 60_000);
    // The minute rollup follows the tables, a second behind.
    await eventually(async () => (await get('/v1/admin/health')).projectionLagEvents <= 0);
    expect(await get('/v1/admin/health')).toMatchObject({
      status: 'healthy',
      healthScore: 100,
      detailedStatus: 'excellent',
      monitoring: { running: true, intervalSeconds: 3_600 },
      databaseConnected: true,
      timescaledbAvailable: true,
      connectionPoolStatus: { size: 50 },
      replication: [],
      stuckSeconds: 0,
      firing: [],
    });
    expect(await get('/v1/admin/connections')).toMatchObject({
      size: 50,
      invalid: 0,
      pools: [
        { name: 'log', size: 10 },
        { name: 'queries', size: 30 },
        { name: 'tables', size: 10 },
      ],
    });
    const connection = await get('/v1/admin/connection');
    expect(connection).toMatchObject({
      serviceName: 'waylog',
      poolSize: 50,
      poolTimeout: 5,
      poolRecycle: 3_600,
    });
    expect(connection.databaseUrl).not.toContain(new URL(server.store.url).password);
  });

  it('count and time commands and queries', async () => {
    const before = await get('/v1/admin/performance');
    await server.call('GET', '/v1/flights/h');
    await server.call('GET', '/v1/flights/nobody');
    await server.call('PATCH', '/v1/flights/h', { name: 'other' });
    const after = await get('/v1/admin/performance');
    expect(after.totalQueries - before.totalQueries).toBe(2);
    expect(after.totalCommands - before.totalCommands).toBe(1);
    expect(after.avgQueryTime).toBeGreaterThan(0);
    expect(after.totalConnections).toBeGreaterThan(0);
    // With pg_stat_statements in the database it names statements, otherwise it says why not.
    expect(after.slowestStatements.length > 0).toBe(after.slowestStatementsUnavailable === undefined);
  });

  it('give Prometheus every metric that the alert rules and the dashboard use', async () => {
    const metrics = (await server.call('GET', '/metrics')).body as string;
    const given = new Set([...metrics.matchAll(/^(\w+?)(?:\{.*)? /gm)].map(([, name]) => name));
    for (const file of ['deploy/prometheus/waylog.rules.yml', 'deploy/grafana/waylog.json']) {
      const used = new Set(readFileSync(file, 'utf8').match(/\bwaylog_\w+/g));
      expect(used.size).toBeGreaterThan(5);
      // A counter without a count has no sample yet, but its type is in the metrics.
      for (const name of used) {
        const isThere =
          given.has(name) || metrics.includes(`# TYPE ${name.replace(/_(count|sum|bucket)$/, '')} `);
        expect({ file, name, isThere }).toEqual({ file, name, isThere: true });
      }
    }
  });

  it('have a rule for Prometheus for every rule of the server', () => {
    const rules = readFileSync('deploy/prometheus/waylog.rules.yml', 'utf8');
    for (const { name } of alertRules) expect(rules).toContain(`- alert: Waylog${name}\n`);
  });

  it('fire, say what to do, and call the webhook when they start and stop', async () => {
    const alerts = server.app.get(Alerts);
    const names = async () =>
      ((await get('/v1/admin/alerts')) as { name: string; state: string }[])
        .filter(({ state }) => state === 'firing')
        .map(({ name }) => name);
    expect(await names()).toEqual([]);
    await server.store.pool.query(
      `insert into projection.integrity_findings (projector, projection, key, position, rows_found, rows_expected, found_by)
       values ('flight', 'flights', 'h', '1', 1, 2, 'the test')`,
    );
    const changed = async (to: string[]) => {
      while (JSON.stringify(await names()) !== JSON.stringify(to)) {
        await new Promise(setImmediate);
        await alerts.evaluate();
      }
    };
    await changed(['IntegrityViolation']);
    expect(await get('/v1/admin/health')).toMatchObject({
      status: 'unhealthy',
      healthScore: 60,
      detailedStatus: 'fair',
      firing: ['IntegrityViolation'],
    });
    await server.store.pool.query(`update projection.integrity_findings set gone_at = now()`);
    await changed([]);
    await eventually(() => messages.length >= 2);
    expect(messages.map(({ alerts: [alert] }) => [alert?.name, alert?.state])).toEqual([
      ['IntegrityViolation', 'firing'],
      ['IntegrityViolation', 'ok'],
    ]);
    expect(messages[0]?.alerts[0]?.remedy).toContain('waylog verify --repair');
  });
});

describe('a server that checks its alert rules once an hour', () => {
  const server = useServer({ WAYLOG_ALERT_INTERVAL: '3600', WAYLOG_VERIFY_SHARE: '0' });
  const put = (change: object) => server.call('PUT', '/v1/admin/monitoring', change);

  it('checks as often as an administrator sets, and not at all when told so', async () => {
    expect(await put({ intervalSeconds: 0 })).toMatchObject({ status: 400 });
    expect(await put({ intervalSeconds: 1 })).toMatchObject({
      status: 200,
      body: {
        running: true,
        intervalSeconds: 1,
        changedBy: 'admin-key',
        changedAt: expect.any(String) as string,
      },
    });
    const evaluate = jest.spyOn(server.app.get(Alerts), 'evaluate');
    await eventually(() => evaluate.mock.calls.length >= 2);
    expect(await put({ running: false })).toMatchObject({ body: { running: false, intervalSeconds: 1 } });
    const { body } = await server.call('GET', '/v1/admin/health');
    expect(body).toMatchObject({ monitoring: { running: false } });
    expect(await put({ running: true })).toMatchObject({ body: { running: true, intervalSeconds: 1 } });
    const calls = evaluate.mock.calls.length;
    await eventually(() => evaluate.mock.calls.length > calls);
  });
});

describe('a server whose log is in EventStoreDB', () => {
  const server = useServer({}, 'EventStoreDB');

  it('distinguishes a log that is down from a database that is down, answers reads, and becomes ready again by itself', async () => {
    const { body } = await server.call('POST', '/v1/flights', aFlight('up', 2));
    const fresh = { 'waylog-min-position': body.position as string };
    expect((await server.call('GET', '/v1/flights/up', undefined, fresh)).status).toBe(200);
    expect((await server.call('GET', '/health/ready')).status).toBe(200);
    expect((await server.call('GET', '/metrics')).body).toContain('waylog_log_up 1');

    await server.store.double?.stop();
    expect(await server.call('GET', '/health/ready')).toMatchObject({
      status: 503,
      body: {
        detail: expect.stringMatching(
          /^The tables cannot be compared with the log: the log has not answered/,
        ),
      },
    });
    expect((await server.call('GET', '/health/live')).status).toBe(200);
    const down = await until(
      () => server.call('GET', '/v1/admin/health'),
      ({ body }) => (body.firing as string[]).includes('LogDown'),
    );
    expect(down.body).toMatchObject({ status: 'unhealthy', databaseConnected: true });
    expect(down.body.firing).not.toContain('DatabaseDown');
    const metrics = (await server.call('GET', '/metrics')).body as string;
    expect(metrics).toContain('waylog_database_up 1');
    expect(metrics).toContain('waylog_log_up 0');
    expect((await server.call('GET', '/v1/flights/up')).status).toBe(200);
    const key = { 'idempotency-key': 'while it was down' };
    const put = () => server.call('PUT', '/v1/flights/up/frames/1', aFrame(1), key);
    expect(await put()).toMatchObject({ status: 503, body: { code: 'database.unavailable' } });

    await server.store.double?.restart();
    expect(await put()).toMatchObject({ status: 200, body: { revision: body.revision + 1 } });
    await eventually(async () => (await server.call('GET', '/health/ready')).status === 200);
    const after = { 'waylog-min-position': (await put()).body.position as string };
    expect((await server.call('GET', '/v1/flights/up/frames', undefined, after)).body).toHaveLength(1);
  });
});
