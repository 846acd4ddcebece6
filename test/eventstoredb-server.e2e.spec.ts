import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { pathToFileURL } from 'node:url';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { until, type Answer } from './support/server.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';
import { eventually } from './support/eventually.js';

// A server whose log in EventStoreDB misbehaves. The double stands in for the server of EventStoreDB.
let database: TestDatabase;
let server: ServerProcess;
beforeEach(async () => {
  database = await testDatabase('EventStoreDB');
});
afterEach(async () => {
  await server.end('SIGKILL');
  await database.drop();
});

const double = () => {
  if (!database.double) throw new Error('There is no double.');
  return database.double;
};
/** Its log, with a short time for each call. */
const log = (deadlineMs: number) => ({
  url: database.url,
  eventStore: `${database.eventStore}&defaultDeadline=${deadlineMs}`,
});

describe('a server on EventStoreDB', () => {
  it('that is started while there is no leader waits, and continues when there is one', async () => {
    server = await serverProcess(log(3_000));
    const { body } = await server.call('POST', '/v1/flights', aFlight('before', 1));
    const fresh = { 'waylog-min-position': String(body.position) };
    expect((await server.call('GET', '/v1/flights/before', undefined, fresh)).status).toBe(200);
    await server.end('SIGTERM');
    await double().stop();
    // It reports the first wait, and then there is a leader.
    let restarted: Promise<void> | undefined;
    server = await serverProcess(log(600), {}, (output) => {
      if (output.includes('The start waits until the log answers')) restarted ??= double().restart();
    });
    await restarted;
    expect(restarted).toBeDefined();
    expect((await server.call('POST', '/v1/flights', aFlight('waits', 1))).status).toBe(201);
  });

  it.each(['gone', 'silent'] as const)(
    'that is stopped while its start waits for a log that is %s ends cleanly',
    async (how) => {
      server = await serverProcess(log(3_000));
      const { body } = await server.call('POST', '/v1/flights', aFlight('before', 1));
      const fresh = { 'waylog-min-position': String(body.position) };
      expect((await server.call('GET', '/v1/flights/before', undefined, fresh)).status).toBe(200);
      await server.end('SIGTERM');
      if (how === 'gone') await double().stop();
      else double().faults.stall('all');
      let child: ChildProcess | undefined;
      const start = serverProcess(log(600), {}, (output, started) => {
        if (child || !output.includes('The start waits until the log answers')) return;
        child = started;
        child.kill('SIGTERM');
      });
      await expect(start).rejects.toThrow(/Stopping after SIGTERM[\s\S]*Stopped/);
      await expect(start).rejects.not.toThrow(/did not start|Called end| ERROR /);
      expect(child?.exitCode).toBe(0);
    },
  );

  it('survives a failure that was not awaited, and reports it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'waylog-stray-'));
    const preload = join(folder, 'stray.mjs');
    await writeFile(
      preload,
      `setInterval(() => {
        if (process.listenerCount('unhandledRejection') > 0) void Promise.reject(new Error('of a library'));
      }, 50).unref();`,
    );
    try {
      server = await serverProcess(log(3_000), { NODE_OPTIONS: `--import ${pathToFileURL(preload).href}` });
      const metric = /^waylog_stray_rejections_total (\d+)$/m;
      await until(
        () => server.call('GET', '/metrics'),
        ({ body }) => Number(metric.exec(String(body))?.[1] ?? 0) > 3,
      );
      expect((await server.call('POST', '/v1/flights', aFlight('stray', 1))).status).toBe(201);
      expect(server.output()).toMatch(/nobody waited for[\s\S]*Error: of a library/);
      expect(await server.end('SIGTERM')).toBe(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('answers every command before it stops, and ends cleanly, while its log does not answer', async () => {
    // Two calls one after another, each as long as allowed, are longer than the stop.
    server = await serverProcess(log(15_000), { WAYLOG_STOP_TIMEOUT: '20' });
    await server.call('POST', '/v1/flights', aFlight('stops', 1));
    double().faults.stall('all');
    const sent = double().calls.append;
    const waiting = Array.from({ length: 5 }, (_, n) =>
      server.call('PATCH', '/v1/flights/stops', { name: `name ${n}` }),
    );
    const answers = Promise.all(waiting);
    await eventually(() => double().calls.append !== sent);
    // A request that the server has not read yet, when it stops, gets no answer.
    const pending = async () =>
      /^waylog_commands_pending (\d+)/m.exec(String((await server.call('GET', '/metrics')).body))?.[1];
    await eventually(async () => (await pending()) === String(waiting.length), pending);
    const ended = server.end('SIGTERM');
    for (const { status, body } of await answers) {
      expect(status).toBe(503);
      expect(body.code).toBe('database.unavailable');
    }
    expect(await ended).toBe(0);
  });

  it('that cannot stop in time blames the log, not the database', async () => {
    server = await serverProcess(log(3_600_000), { WAYLOG_STOP_TIMEOUT: '5' });
    await server.call('POST', '/v1/flights', aFlight('blames', 1));
    double().faults.stall('all');
    const sent = double().calls.append;
    const cutOff = server.call('PATCH', '/v1/flights/blames', { name: 'x' }).catch(() => undefined);
    await eventually(() => double().calls.append !== sent);
    const code = await server.end('SIGTERM');
    await cutOff;
    expect(code).toBe(1);
    expect(server.output()).toMatch(/did not stop within 5 s .*the log does not answer/);
  });

  it('tells a client of its mistake, and counts neither that nor a probe as its own failure', async () => {
    server = await serverProcess(log(1_500));
    const { body } = await server.call('POST', '/v1/flights', aFlight('mistakes', 1));
    const commit = BigInt(/^\d+/.exec(String(body.position))?.[0] ?? '');
    const wrong = [`${commit - 1n}:${commit - 1n}`, '5:3', `${2n ** 63n}:${2n ** 63n}`];
    for (const position of wrong) {
      for (let n = 0; n < 10; n++) {
        const answer = await server.call('GET', `/v1/events?after=${position}`);
        expect([answer.status, answer.body.code]).toEqual([400, 'position.invalid']);
      }
    }
    const beyond = `${commit + 100_000n}:${commit + 100_000n}`;
    expect(await server.call('GET', `/v1/events?after=${beyond}`)).toMatchObject({ status: 200 });
    double().faults.stall('all');
    for (let n = 0; n < 5; n++) expect((await server.call('GET', '/health/ready')).status).toBe(503);
    const { body: alerts } = await server.call('GET', '/v1/admin/alerts');
    const errorRate = (alerts as { name: string; value?: number }[]).find(({ name }) => name === 'ErrorRate');
    expect(errorRate?.value).toBe(0);
  });
});

describe('servers on an EventStoreDB whose older files are restored', () => {
  let idle: ServerProcess;
  afterEach(() => idle.end('SIGKILL'));

  it('forget what was lost, report it, rebuild their tables, and give its positions to nothing else', async () => {
    server = await serverProcess(log(3_000));
    idle = await serverProcess(log(3_000), { WAYLOG_ROLES: 'api' });
    const frame = (n: number, key: string, by = server) =>
      by.call('PUT', `/v1/flights/tail/frames/${n}`, aFrame(n), { 'idempotency-key': key });
    const frames = (position: unknown, by = server) =>
      by.call('GET', '/v1/flights/tail/frames', undefined, { 'waylog-min-position': String(position) });
    const commitOf = ({ body }: Answer) => BigInt((body as { position: string }).position.replace(/:.*/, ''));
    const idsOf = ({ body }: Answer) => (body as { frameId: number }[]).map(({ frameId }) => frameId);
    await server.call('POST', '/v1/flights', aFlight('tail', 1));
    const first = await frame(0, 'kept', idle);
    const putBack = double().log.copy();
    const lost = [await frame(1, 'lost-1'), await frame(2, 'lost-2')];
    const created = await server.call('POST', '/v1/flights', aFlight('lost', 1), {
      'idempotency-key': 'lost-3',
    });
    expect(idsOf(await frames(created.body.position))).toEqual([0, 1, 2]);

    await double().stop();
    putBack();
    await double().restart();

    // The one that has seen less comes first.
    const other = await frame(3, 'other', idle);
    expect(other.status).toBe(200);
    const again = await frame(1, 'lost-1');
    expect(again.status).toBe(200);
    expect(commitOf(again)).toBeGreaterThan(commitOf(created));
    expect(idsOf(await frames(again.body.position))).toEqual([0, 1, 3]);
    expect((await frame(1, 'lost-1')).body).toEqual(again.body);
    expect((await frame(0, 'kept')).body).toEqual(first.body);
    expect((await server.call('GET', '/v1/flights/lost')).status).toBe(404);
    for (const by of [server, idle])
      for (const { body } of lost)
        expect(await frames(body.position, by)).toMatchObject({
          status: 409,
          body: { code: 'position.lost' },
        });
    const { body: found } = await server.call('GET', '/v1/admin/log/losses?open=true');
    expect(found).toEqual([
      expect.objectContaining({
        seenPosition: created.body.position as string,
        commands: 3,
        streams: expect.arrayContaining([
          {
            streamId: 'flight-tail',
            from: lost[0]!.body.revision as number,
            to: lost[1]!.body.revision as number,
          },
        ]) as unknown,
      }),
    ]);
    expect(server.output()).toContain('The log went back');
    expect(server.output()).toContain('they are made again from what is there');
    expect((await server.call('GET', '/health/ready')).status).toBe(200);
  });
});
