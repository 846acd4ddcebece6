import { ADMIN_KEY } from './support/admin-key.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import type { OpenApiDocument } from './support/hostile-requests.js';
import { aFlight } from './support/samples.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';
import { TcpProxy } from './faults/tcp-proxy.js';

describe('while the database is unavailable', () => {
  let database: TestDatabase;
  let proxy: TcpProxy;
  let server: ServerProcess;
  beforeAll(async () => {
    database = await testDatabase();
    const { hostname, port } = new URL(database.url);
    proxy = await TcpProxy.listen(() => ({ host: hostname, port: Number(port) }));
    const proxied = new URL(database.url);
    proxied.port = String(proxy.port);
    server = await serverProcess(proxied.href, { WAYLOG_VERIFY_SHARE: '0' });
    expect((await server.call('POST', '/v1/flights', aFlight('away', 2))).status).toBe(201);
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    await proxy.close();
    await database.drop();
  });

  it('no route that reads fails, or reveals the address of the database', async () => {
    const { paths } = (await server.call('GET', '/openapi.json')).body as OpenApiDocument;
    const routes = Object.entries(paths)
      .filter(([, methods]) => 'get' in methods)
      .map(([path]) => path.replace('{id}', 'away').replaceAll(/\{\w+\}/g, '1'));
    expect(routes.length).toBeGreaterThan(25);
    // A port without a listener.
    const { port } = proxy;
    await proxy.close();
    const found: unknown[] = [];
    for (const path of [...routes, '/health/ready']) {
      const answer = await fetch(`${server.url}${path}`, {
        headers: { authorization: `Bearer ${ADMIN_KEY}` },
      });
      const text = await answer.text();
      const isFailed = answer.status >= 500 && answer.status !== 503;
      // An operator sees the address.
      const isTold =
        !path.startsWith('/v1/admin/') && (text.includes(`:${port}`) || text.includes('127.0.0.1'));
      if (isFailed || isTold) found.push({ path, text: text.slice(0, 500) });
    }
    expect(found).toEqual([]);
    expect(server.output()).toContain(`ECONNREFUSED 127.0.0.1:${port}`);
  });
});
