import { execFile } from 'node:child_process';
import { endClient, openSession } from '#lib/platform';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { findPgBouncer } from './support/find-pgbouncer.js';
import { startPgBouncer, type PgBouncer } from './support/pgbouncer.js';
import { aFrame } from './support/samples.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';

const found = findPgBouncer();
const why = 'why' in found ? found.why : '';
// CI must run this, not skip it.
if (why && process.env['WAYLOG_TEST_POOLER'] === 'required') throw new Error(`No PgBouncer: ${why}`);

(why ? describe.skip : describe)(`behind PgBouncer${why && ` (SKIPPED: ${why})`}`, () => {
  let database: TestDatabase;
  let pooler: PgBouncer;
  let server: ServerProcess | undefined;

  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(async () => {
    await server?.end('SIGTERM');
    server = undefined;
    await pooler.stop();
    await database.drop();
  });
  const start = async (
    ...options: Parameters<typeof startPgBouncer> extends [unknown, unknown, ...infer Rest] ? Rest : never
  ) => {
    if ('why' in found) throw new Error(found.why);
    pooler = await startPgBouncer(found, testServerUrl(), ...options);
    return pooler.url(database.url);
  };
  const alter = (setting: string) =>
    database.pool.query(`alter database ${new URL(database.url).pathname.slice(1)} set ${setting}`);
  const waylog = (databaseUrl: string, ...args: string[]) =>
    new Promise<{ code: number; out: string }>((resolve) => {
      const env = { ...process.env, DATABASE_URL: databaseUrl };
      execFile(process.execPath, ['dist/apps/cli/src/main.js', ...args], { env }, (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out: out + err }),
      );
    });

  it.each(['Europe/Berlin', 'America/New_York', 'Asia/Kolkata'])(
    'times are returned as they were sent, whatever the settings of the database (%s)',
    async (zone) => {
      await alter(`timezone = '${zone}'`);
      await alter(`datestyle = 'German'`);
      await alter(`intervalstyle = 'iso_8601'`);
      await alter('extra_float_digits = -3');
      await alter(`bytea_output = 'escape'`);
      const url = await start('session');
      server = await serverProcess(url, { DATABASE_POOL_SIZE: '10' });
      const timestamp = '2026-05-01T12:00:00.000Z';
      const began = Date.now();
      const { body: created } = await server.call('POST', '/v1/flights', {
        ...{ id: 'tz', name: 'tz', altitude: 1, startGps: { lat: 1, lon: 1 } },
        waypoints: [{ id: 'w1', lat: 63.12345678901234, lon: 1, confidence: 0.1, timestamp }],
      });
      const saved = await server.call('PUT', '/v1/flights/tz/frames/0', {
        ...aFrame(0),
        frameId: undefined,
        timestamp,
      });
      expect(saved.status).toBe(200);
      const fresh = { 'waylog-min-position': String(saved.body.position) };
      const waypoints = await server.call('GET', '/v1/flights/tz/waypoints', undefined, fresh);
      expect(waypoints.body).toMatchObject([{ timestamp, lat: 63.12345678901234, confidence: 0.1 }]);
      const frames = await server.call('GET', '/v1/flights/tz/frames', undefined, fresh);
      expect(frames.body).toMatchObject([{ timestamp }]);
      const minutes = await server.call('GET', '/v1/flights/tz/frame-minutes', undefined, fresh);
      expect(minutes.body).toMatchObject([{ minute: timestamp }]);
      const { body: events } = await server.call('GET', '/v1/flights/tz/events');
      for (const { recordedAt } of events) {
        expect(Date.parse(String(recordedAt))).toBeGreaterThanOrEqual(began - 1_000);
        expect(Date.parse(String(recordedAt))).toBeLessThanOrEqual(Date.now() + 1_000);
      }
      const now = new Date(Date.now() + 1_000).toISOString();
      expect((await server.call('GET', `/v1/flights/tz?asOf=${now}`)).status).toBe(200);
      expect((await server.call('GET', '/health/ready')).status).toBe(200);
      expect(created.position).toBeDefined();
      // The projector reports its state, although the driver does not know its session's process.
      const projections = await server.call('GET', '/v1/admin/projections');
      expect(projections.body).toEqual(
        expect.arrayContaining([expect.objectContaining({ projection: 'waypoints', state: 'active' })]),
      );
      expect(await waylog(url, 'verify')).toMatchObject({ code: 0 });
      expect((await waylog(url, 'doctor')).out).toContain('sessions stay together behind it');
    },
  );

  it.each(['transaction', 'statement'] as const)(
    'with pool_mode=%s nothing starts, and doctor says why and what to do',
    async (mode) => {
      const url = await start(mode);
      const sentence = /pool_mode=transaction.*Give Waylog a pool with pool_mode=session/s;
      await expect(serverProcess(url)).rejects.toThrow(sentence);
      for (const command of [
        ['doctor'],
        ['migrate'],
        ['verify'],
        ['projections'],
        ['backup', '--to', '/nonexistent'],
      ]) {
        const { code, out } = await waylog(url, ...command);
        expect(out).toMatch(sentence);
        expect(out).not.toContain('Put host, port');
        expect(code).toBe(1);
      }
    },
  );

  it('with pool_mode=transaction no session is handed out even while others use the pooler', async () => {
    const url = await start('transaction', { poolSize: 3, extra: 'server_round_robin = 1' });
    const open = Promise.allSettled(
      Array.from({ length: 8 }, () => openSession({ connectionString: url, applicationName: 'test' })),
    );
    for (const result of await open) {
      if (result.status === 'fulfilled') await endClient(result.value);
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'database.transaction-pooling' } });
    }
  });
});
