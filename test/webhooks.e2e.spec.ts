import { execFile } from 'node:child_process';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { startReceiver, type Receiver } from './support/receiver.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';
import { bearer, newKey, useServer } from './support/server.js';

const LOOPBACK = '127.0.0.0/8';

describe('/v1/admin/webhooks', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0', WAYLOG_WEBHOOK_NETWORKS: LOOPBACK });
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver();
  });
  afterAll(() => receiver.close());

  it('adds, lists, tests, rotates and ends them', async () => {
    const request = { name: 'erp', url: receiver.url, signing: 'hmac', events: ['flight.FlightCreated'] };
    const added = await server.call('POST', '/v1/admin/webhooks', request);
    expect(added).toMatchObject({ status: 201, body: { ...request, createdBy: 'admin-key' } });
    const { secret } = added.body as { secret: string };
    expect(secret).toMatch(/^whsec_/);
    const list = await server.call('GET', '/v1/admin/webhooks');
    expect(list).toMatchObject({ status: 200, body: [request] });
    expect(JSON.stringify(list.body)).not.toMatch(/whsec|secret"/);
    const reactors = async () => JSON.stringify((await server.call('GET', '/v1/admin/reactors')).body);
    expect(await reactors()).toContain('webhook-erp');
    expect((await server.call('GET', '/metrics')).body).toContain('reactor="webhook-erp"');

    expect((await server.call('POST', '/v1/admin/webhooks/erp/test', {})).body).toEqual({ status: 204 });
    expect(receiver.deliveries[0]?.body).toMatchObject({ type: 'waylog.test', data: { webhook: 'erp' } });
    await server.call('POST', '/v1/flights', {
      id: 'f1',
      name: 'f1',
      startGps: { lat: 1, lon: 2 },
      altitude: 3,
    });
    await eventually(() => receiver.deliveries.length === 2);
    const { text = '', headers } = receiver.deliveries[1] ?? {};
    expect(new StandardWebhook(secret).verify(text, headers as Record<string, string>)).toMatchObject({
      type: 'flight.FlightCreated',
    });

    const rotated = await server.call('POST', '/v1/admin/webhooks/erp/rotate', {});
    expect(rotated).toMatchObject({ status: 200, body: { previousKeyUntil: expect.any(String) as string } });
    expect((rotated.body as { secret: string }).secret).not.toBe(secret);
    expect((await server.call('DELETE', '/v1/admin/webhooks/erp')).status).toBe(200);
    expect((await server.call('GET', '/v1/admin/webhooks')).body).toEqual([]);
    expect(await reactors()).not.toContain('webhook-erp');
    expect(await server.call('DELETE', '/v1/admin/webhooks/erp')).toMatchObject({
      status: 404,
      body: { code: 'webhook.not-found' },
    });
  });

  it('refuses what it cannot send to', async () => {
    const add = async (more: object) =>
      server.call('POST', '/v1/admin/webhooks', { name: 'x', url: receiver.url, signing: 'hmac', ...more });
    const fieldsOf = async (more: object) => {
      const { status, body } = await add(more);
      return [status, (body as { errors: { field: string }[] }).errors.map(({ field }) => field)];
    };
    for (const url of [
      'http://10.0.0.1/',
      'https://169.254.169.254/latest',
      'https://u:p@a.example/',
      'x',
      'http://1.1.1.1/',
    ])
      expect(await fieldsOf({ url })).toEqual([400, ['url']]);
    expect(await fieldsOf({ events: ['flight.Nothing'] })).toEqual([400, ['events']]);
    expect(await fieldsOf({ name: 'Not a name', signing: 'rsa' })).toEqual([400, ['name', 'signing']]);
    const operator = bearer(await newKey(server, 'operator'));
    expect((await server.call('GET', '/v1/admin/webhooks', undefined, operator)).status).toBe(403);
  });
});

describe('waylog webhooks', () => {
  let database: TestDatabase;
  let server: ServerProcess;
  let receiver: Receiver;
  beforeAll(async () => {
    database = await testDatabase();
    receiver = await startReceiver();
    server = await serverProcess(database, { WAYLOG_VERIFY_SHARE: '0', WAYLOG_WEBHOOK_NETWORKS: LOOPBACK });
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    await receiver.close();
    await database.drop();
  });
  const run = (
    args: readonly string[],
    env: Record<string, string> = { WAYLOG_WEBHOOK_NETWORKS: LOOPBACK },
  ) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      execFile(
        process.execPath,
        ['dist/apps/cli/src/main.js', ...args],
        { env: { ...process.env, DATABASE_URL: database.url, ...env } },
        (error, out, err) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out, err }),
      );
    });

  it('add one to a server that runs, with its secret as the only thing on standard output', async () => {
    const { code, out, err } = await run(['webhooks', 'add', 'erp', receiver.url, '--events', 'flight']);
    expect({ code, err }).toMatchObject({ code: 0, err: expect.stringContaining('never again') as string });
    expect(out).toMatch(/^whsec_[A-Za-z0-9+/]{43}=\n$/);
    expect(err).not.toContain('whsec_');
    expect(await run(['webhooks', 'test', 'erp'])).toMatchObject({
      code: 0,
      out: 'taken: it answered 204\n',
    });
    expect(await run(['webhooks', 'test', 'erp'], {})).toMatchObject({
      code: 1,
      out: expect.stringContaining('WAYLOG_WEBHOOK_NETWORKS') as string,
    });
    await server.call('POST', '/v1/flights', {
      id: 'f1',
      name: 'f1',
      startGps: { lat: 1, lon: 2 },
      altitude: 3,
    });
    await eventually(() => receiver.taken().includes('flight-f1 0'));
    const { text = '', headers } =
      receiver.deliveries.find(({ body }) => body.data.streamId === 'flight-f1') ?? {};
    expect(new StandardWebhook(out.trim()).verify(text, headers as Record<string, string>)).toMatchObject({
      type: 'flight.FlightCreated',
    });
    expect(server.output()).not.toContain(out.trim().slice('whsec_'.length));

    const list = await run(['webhooks']);
    expect(list.out).toMatch(/erp +http:\S+ +flight +hmac +left out/);
    expect(list.out).not.toContain('whsec_');
    expect((await run(['reactors'])).out).toMatch(/webhook-erp +reactor +active/);
    const findings = JSON.parse((await run(['doctor', '--json'])).out) as { findings: { what: string }[] };
    expect(findings.findings.map(({ what }) => what).join('\n')).toContain('webhook-erp: active');
  });

  it('shows the public key of one that signs with Ed25519, rotates and ends them', async () => {
    const made = await run(['webhooks', 'add', 'other', receiver.url, '--signing', 'ed25519']);
    expect(made.out).toMatch(/^whpk_[A-Za-z0-9+/]{43}=\n$/);
    const rotated = await run(['webhooks', 'rotate', 'other']);
    expect(rotated.out).toMatch(/^whpk_/);
    expect(rotated.out).not.toBe(made.out);
    expect(await run(['webhooks', 'remove', 'other'])).toMatchObject({ code: 0, out: 'ended: other\n' });
    expect(await run(['webhooks', 'remove', 'other'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('There is no webhook other') as string,
    });
    expect((await run(['webhooks', 'add', 'bad', 'https://127.0.0.1/'], {})).code).toBe(1);
    expect((await run(['webhooks', 'add', 'bad', receiver.url, '--signing', 'rsa'])).code).toBe(2);
    expect(await run(['webhooks'], { WAYLOG_WEBHOOK_NETWORKS: '10.0.0.0/33' })).toMatchObject({ code: 0 });
    expect(await run(['reactors'], { WAYLOG_WEBHOOK_NETWORKS: '10.0.0.0/33' })).toMatchObject({
      code: 1,
      err: expect.stringContaining('is no network such as') as string,
    });
  });
});

describe('many webhooks that are added at a time', () => {
  const server = useServer({ DATABASE_POOL_SIZE: '3', WAYLOG_WEBHOOK_NETWORKS: LOOPBACK });

  it('need no more connections than there are, and hold up no command', async () => {
    const add = (n: number) =>
      server.call('POST', '/v1/admin/webhooks', {
        name: `one-${n}`,
        url: 'http://127.0.0.1:9/',
        signing: 'hmac',
      });
    const fly = (n: number) =>
      server.call('POST', '/v1/flights', {
        id: `f-${n}`,
        name: 'F',
        startGps: { lat: 63, lon: 10 },
        altitude: 1,
      });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => [add(n), fly(n)]).flat());
    expect(answers.map(({ status }) => status)).toEqual(Array(24).fill(201));
  });
});
