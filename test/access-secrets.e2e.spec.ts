import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { startDouble, type EventStoreDbDouble } from './support/eventstoredb-double/index.js';
import { migrate } from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { OpenIdProvider } from './support/openid-provider.js';
import { aFlight } from './support/samples.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';

const secret = (name: string) => `${name}-${randomBytes(12).toString('hex')}`;

/** The output of a server when everything that can fail does, with nothing but secrets in its configuration. */
describe('the output and the answers of a server', () => {
  const secrets = {
    database: secret('database'),
    eventStore: secret('eventstore'),
    adminKey: secret('admin-key-long-enough'),
    webhook: secret('webhook'),
    wrongKey: `wlk_0123456789ab_${randomBytes(32).toString('base64url')}`,
  };
  const role = `waylog_secret_${process.pid}`;
  const provider = new OpenIdProvider();
  let database: TestDatabase;
  let double: EventStoreDbDouble;
  let databaseUrl: string;
  let admin: pg.Client;
  beforeAll(async () => {
    admin = new pg.Client({ connectionString: testServerUrl() });
    await admin.connect();
    await admin.query(`create role ${role} superuser login password '${secrets.database}'`);
    database = await testDatabase();
    double = await startDouble({ tls: true, users: { admin: secrets.eventStore } });
    const url = new URL(database.url);
    url.username = role;
    url.password = secrets.database;
    databaseUrl = url.href;
    // The passwords of the working roles derive from it.
    await migrate(databaseUrl);
    await provider.start();
  });
  afterAll(async () => {
    await double.stop();
    await provider.stop();
    await database.drop();
    await admin.query(`drop role ${role}`);
    await admin.end();
  });

  it.each(['pretty', 'json'])('contain none of its secrets, in the log format %s', async (format) => {
    const answers: string[] = [];
    const asked: string[] = [...Object.values(secrets)];
    const server: ServerProcess = await serverProcess(
      { url: databaseUrl, eventStore: double.connectionString },
      {
        LOG_FORMAT: format,
        WAYLOG_ADMIN_KEY: secrets.adminKey,
        WAYLOG_JWT_ISSUER: provider.issuer,
        WAYLOG_JWT_AUDIENCE: 'waylog',
        WAYLOG_ALERT_WEBHOOK: `http://alerts:${secrets.webhook}@127.0.0.1:9/`,
        WAYLOG_ALERT_INTERVAL: '1',
      },
    );
    const call = async (method: string, path: string, body?: unknown, key = secrets.adminKey) => {
      const answer = await server.call(method, path, body, { authorization: `Bearer ${key}` });
      if (path !== '/v1/admin/keys' || method !== 'POST')
        answers.push(JSON.stringify([answer.body, ...answer.headers]));
      return answer;
    };
    const { body } = await call('POST', '/v1/admin/keys', { name: 'a', role: 'operator' });
    const key = body.key as string;
    const token = await provider.token();
    asked.push(key.slice(-43), token.slice(token.lastIndexOf('.') + 1));

    const created = await call('POST', '/v1/flights', aFlight(`secrets-${format}`, 2), key);
    expect([created.status, created.body]).toEqual([201, expect.anything()]);
    expect((await call('GET', '/v1/flights', undefined, token)).status).toBe(200);
    for (const path of [
      '/v1/admin/connection',
      '/v1/admin/health',
      '/v1/admin/keys',
      '/v1/admin/backups',
      '/metrics',
    ])
      await call('GET', path);
    for (const wrong of [secrets.wrongKey, `${token}x`, `${secrets.adminKey}x`, `${key}x`])
      expect((await call('GET', '/v1/flights', undefined, wrong)).status).toBe(401);
    await call('GET', `/v1/flights?key=${key}`);
    await call('POST', '/v1/queries', { query: "select current_setting('x')", serviceName: 'x' });

    // An unexpected failure, with a stack in the log and none in the answer.
    await database.pool.query(`alter table flight.flights rename to hidden`);
    const failed = await call('GET', `/v1/flights?name=${key}`, undefined, key);
    await database.pool.query(`alter table flight.hidden rename to flights`);
    expect(failed).toMatchObject({ status: 500, body: { code: 'internal' } });
    expect(JSON.stringify(failed.body)).not.toMatch(/hidden|relation|\.js|at /);

    // The log fails, then the database, and everything that uses them reports errors.
    await double.stop();
    await call('POST', '/v1/flights', aFlight(`secrets-${format}-2`, 2), key);
    const name = new URL(databaseUrl).pathname.slice(1);
    await admin.query(`alter database ${name} allow_connections false`);
    await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [name]);
    await call('GET', '/health/ready');
    await call('GET', '/v1/admin/health');
    await call('GET', '/v1/flights', undefined, key);
    await call('GET', '/v1/flights', undefined, secrets.wrongKey);
    await admin.query(`alter database ${name} allow_connections true`);
    await double.restart();
    await server.end('SIGTERM');

    const output = server.output();
    // It did report errors: otherwise their absence proves nothing.
    expect(output).toMatch(/GET \/v1\/flights\?name=wlk_\.\.\. failed/);
    for (const said of asked) {
      expect(output).not.toContain(said);
      expect(answers.join('\n')).not.toContain(said);
      for (const coded of [encodeURIComponent(said), Buffer.from(said).toString('base64').replace(/=+$/, '')])
        expect(output + answers.join('\n')).not.toContain(coded);
    }
  });

  it('contain none of them when it cannot start', async () => {
    const good = { WAYLOG_ADMIN_KEY: secrets.adminKey, HOST: '127.0.0.1' };
    const nowhere = new URL(databaseUrl);
    nowhere.port = '1';
    const other = new URL(databaseUrl);
    other.password = `${secrets.database}-wrong`;
    const starts: [string, string, Record<string, string>][] = [
      [nowhere.href, '', good],
      [other.href, '', good],
      [databaseUrl.replace('postgres', 'http'), '', good],
      [databaseUrl, `http://admin:${secrets.eventStore}@127.0.0.1:1`, good],
      [databaseUrl, `esdb://admin:${secrets.eventStore}@127.0.0.1:1?tls=false&defaultDeadline=300`, good],
      [databaseUrl, '', { ...good, WAYLOG_ADMIN_KEY: `${secrets.adminKey} with spaces` }],
      [databaseUrl, '', { ...good, WAYLOG_ALERT_WEBHOOK: `ftp://alerts:${secrets.webhook}@127.0.0.1` }],
      [databaseUrl, '', { ...good, WAYLOG_ALERT_WEBHOOK: `http://alerts:${secrets.webhook}@` }],
      [databaseUrl, '', { ...good, WAYLOG_READER_URL: `http://a:${secrets.database}@127.0.0.1` }],
    ];
    for (const [n, [url, eventStore, env]] of starts.entries()) {
      const failure = await serverProcess({ url, eventStore }, env, (output, child) => {
        // The server waits for an EventStoreDB that is not there; by then it has reported everything about it.
        if (output.includes('The start waits until the log answers')) child.kill('SIGTERM');
      }).then(
        async (server) => {
          await server.end('SIGTERM');
          return server.output();
        },
        (error: unknown) => String(error),
      );
      expect(`${n}: ${failure}`).toMatch(
        eventStore.startsWith('esdb') ? /The start waits until the log answers/ : /did not start/,
      );
      for (const said of Object.values(secrets)) expect(failure).not.toContain(said);
    }
  });
});
