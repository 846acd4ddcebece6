import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { CopyResult, EventStore } from '#lib/event-store';
import { flightProjections, playFlight, simulateFlight } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import { testDatabase, type TestDatabase } from './support/database.js';
import { appendRaw } from './support/poison.js';
import { aFrame } from './support/samples.js';
import { serverProcess } from './support/server-process.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

/** `waylog` as a separate process; `child` can be killed. */
function waylog(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['dist/apps/cli/src/main.js', ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return { child, ended };
}

describe('a log that moves to EventStoreDB and back', () => {
  let database: TestDatabase;
  let elsewhere: string;
  beforeAll(async () => {
    database = await testDatabase('EventStoreDB');
    elsewhere = database.eventStore ?? '';
    const running = await startWaylog(database.url);
    await Promise.all(
      [1, 2].map((seed) =>
        playFlight(simulateFlight({ flightId: `moves-${seed}`, seed, frames: 120 }), running.execute, {
          speed: Infinity,
        }),
      ),
    );
    const store = running.app.get<EventStore>(EVENT_STORE);
    await flightOf(running.app).watch.waitFor(await store.head(), 60_000);
    await running.close();
  });
  afterAll(() => database.drop());

  const copy = async (from: string, to: string, ...more: string[]) => {
    const { code, stdout, stderr } = await waylog(
      ['--json', 'log', 'copy', '--from', 'env:FROM', '--to', 'env:TO', ...more],
      { FROM: from, TO: to },
    ).ended;
    if (stdout === '') throw new Error(stderr);
    return { code, result: JSON.parse(stdout) as CopyResult };
  };
  const eventsInDatabase = async () =>
    (await database.pool.query<{ n: number }>(`select count(*)::integer as n from log.events`)).rows[0]?.n ??
    0;
  const settled = async (server: Awaited<ReturnType<typeof serverProcess>>, events: number) => {
    for (;;) {
      const { body } = await server.call('GET', '/health/ready');
      if (body.status === 'ok' && body.info.projections.projector === 'active') break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const verified = await waylog(['--json', 'verify'], {
      DATABASE_URL: database.url,
      EVENT_STORE: (await isElsewhere()) ? elsewhere : '',
    }).ended;
    expect(verified.code).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ events, isSound: true });
  };
  const isElsewhere = async () => {
    const { rows } = await database.pool.query<{ position: string }>(
      `select position from projection.checkpoints where projection = $1`,
      [flightProjections[0]?.name],
    );
    return rows[0]?.position.includes(':') ?? false;
  };

  it('is killed on the way, continues, and is the same by hash; a server with another EVENT_STORE continues on it', async () => {
    const events = await eventsInDatabase();
    const tables = await tableHashes(database.url);

    const cut = waylog(['log', 'copy', '--from', 'env:FROM', '--to', 'env:TO'], {
      FROM: database.url,
      TO: elsewhere,
    });
    await eventually(() => (database.double?.calls.append ?? 0) >= 20);
    cut.child.kill('SIGKILL');
    await cut.ended;
    const { code, result } = await copy(database.url, elsewhere);
    expect(code).toBe(0);
    expect(result).toMatchObject({
      identical: true,
      sameOrder: true,
      differences: [],
      source: { events, streams: 2 },
      target: { events, sha256: result.source.sha256 },
    });
    expect(result.already).toBeGreaterThan(0);
    expect(result.recorded + result.already).toBe(events);
    expect(await copy(database.url, elsewhere)).toMatchObject({
      code: 0,
      result: { recorded: 0, already: events, identical: true },
    });

    const moved = await serverProcess(database);
    await settled(moved, events);
    expect(await tableHashes(database.url)).toEqual(tables);
    const put = await moved.call('PUT', '/v1/flights/moves-1/frames/9000', aFrame(9_000));
    expect(put.body.position).toMatch(/^\d+:\d+$/);
    const after = { 'waylog-min-position': put.body.position as string };
    expect(await moved.call('GET', '/v1/flights/moves-1/frames?from=9000', undefined, after)).toMatchObject({
      status: 200,
      body: [{ frameId: 9_000 }],
    });
    // An earlier position is not a position here, and no read waits for it.
    const old = { 'waylog-min-position': String(events) };
    expect(await moved.call('GET', '/v1/flights/moves-1', undefined, old)).toMatchObject({
      status: 400,
      body: { code: 'position.invalid' },
    });
    expect(await eventsInDatabase()).toBe(events);
    await moved.end('SIGTERM');

    const there = await tableHashes(database.url);
    expect(await copy(elsewhere, database.url)).toMatchObject({
      code: 0,
      result: { recorded: 1, already: events, identical: true, sameOrder: true },
    });
    const back = await serverProcess(database.url);
    await settled(back, events + 1);
    expect(await tableHashes(database.url)).toEqual(there);
    await back.end('SIGTERM');
  });

  it('is reported with exit code 3 if the two differ, and with 2 if nothing can be copied', async () => {
    const running = await startWaylog(database, { projector: false });
    await appendRaw(running.app.get<EventStore>(EVENT_STORE), 'flight-moves-2', 'Nothing', {});
    await running.close();
    expect(await copy(database.url, elsewhere)).toMatchObject({
      code: 3,
      result: { identical: false, differences: [{ streamId: 'flight-moves-2', what: 'longer' }] },
    });
    expect(await copy(database.url, elsewhere, '--stream', 'flight-moves-1')).toMatchObject({
      code: 0,
      result: { identical: true, source: { streams: 1 } },
    });
    for (const args of [
      ['--from', elsewhere, '--to', elsewhere],
      ['--from', 'http://here', '--to', elsewhere],
    ])
      expect((await waylog(['log', 'copy', ...args]).ended).code).toBe(2);
  });

  it('that does not belong to the tables is named by doctor, which never shows credentials', async () => {
    const other = await testDatabase('EventStoreDB');
    try {
      const url = (other.eventStore ?? '').replace('//', '//me:s3cret@');
      const { code, stdout } = await waylog(['doctor'], { DATABASE_URL: database.url, EVENT_STORE: url })
        .ended;
      expect(code).toBe(1);
      expect(stdout).toMatch(
        /PROBLEM {2}log +at esdb:\/\/127\.0\.0\.1:\d+, and the tables are folded from another one/,
      );
      expect(stdout).not.toContain('s3cret');
      const projections = await waylog(['projections'], { DATABASE_URL: database.url, EVENT_STORE: url })
        .ended;
      expect(projections).toMatchObject({ code: 1, stdout: '' });
      expect(projections.stderr).toContain('folded from another log than this one');
      const adopt = ['projections', 'adopt'];
      const env = { DATABASE_URL: database.url, EVENT_STORE: url };
      expect((await waylog(adopt, env).ended).code).toBe(2);
      const adopted = await waylog([...adopt, '--yes'], env).ended;
      expect(adopted).toMatchObject({
        code: 0,
        stdout: 'adopted: the tables hold 0 events of 0 streams, up to position 0:0\n',
      });
      expect((await database.pool.query(`select from flight.flights`)).rowCount).toBe(0);
    } finally {
      await other.drop();
    }
  });
});
