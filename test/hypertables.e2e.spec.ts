import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyFrameMinutes } from '#lib/flight';
import { seededRandom } from '#lib/platform';
import { testDatabase } from './support/database.js';
import { writingClient } from './support/load.js';
import { aFlight, aFrame } from './support/samples.js';
import { serverProcess } from './support/server-process.js';
import { useServer } from './support/server.js';
import { eventually } from './support/eventually.js';

const directory = mkdtempSync(join(tmpdir(), 'waylog-archives-'));

describe('operating hypertables over HTTP', () => {
  const server = useServer({ WAYLOG_RETENTION_INTERVAL: '1', WAYLOG_ARCHIVE_DIR: directory });
  afterAll(() => rm(directory, { recursive: true }));
  const chunksOf = async () =>
    (await server.call('GET', '/v1/admin/hypertables/frame_results/chunks')).body as { rangeEnd: string }[];
  /** Frames of three weeks that are years apart. */
  const recorded = async (id: string) => {
    await server.call('POST', '/v1/flights', aFlight(id));
    const times = ['2010-01-01T00:00:00Z', '2015-01-01T00:00:00Z', '2026-05-01T12:00:00Z'];
    const { body } = await server.call(
      'POST',
      `/v1/flights/${id}/frames`,
      times.map((timestamp, n) => aFrame(n, { timestamp })),
    );
    const position = body.position as string;
    const frames = await server.call('GET', `/v1/flights/${id}/frames`, undefined, {
      'waylog-min-position': position,
    });
    expect(frames.body).toHaveLength(3);
    return position;
  };
  const frameCount = async (id: string) =>
    (await server.call('GET', `/v1/flights/${id}/frames`)).body.length as number;
  const job = async (id: string) => {
    for (;;) {
      const { body } = await server.call('GET', `/v1/admin/jobs/${id}`);
      if (body.state !== 'running') return body;
      await sleep(10);
    }
  };
  /** The command line on the same database: its exit code and what it printed. */
  const cli = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const command = ['dist/apps/cli/src/main.js', ...args];
      const env = { ...process.env, DATABASE_URL: server.store.url };
      execFile(process.execPath, command, { env }, (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
      );
    });

  it('lists and changes also beside a hypertable in a schema that its role may not use', async () => {
    const { pool } = server.store;
    await pool.query('create schema reports');
    await pool.query('create table reports.notes (id text, at timestamptz not null)');
    await pool.query(`select create_hypertable('reports.notes', 'at')`);
    await pool.query(`insert into reports.notes values ('n1', '2026-05-01T12:00:00Z')`);
    try {
      const { body, status } = await server.call('GET', '/v1/admin/hypertables');
      expect({ status, last: body.at(-1) }).toMatchObject({
        status: 200,
        last: { tableName: 'reports.notes', chunkCount: 1, sizeBytes: expect.any(Number) as number },
      });
      expect(
        await server.call('PATCH', '/v1/admin/hypertables/frame_results', { chunkInterval: '7d' }),
      ).toMatchObject({ status: 200, body: { success: true } });
      expect((await server.call('GET', '/health/ready')).status).toBe(200);
      expect(await cli('hypertables', 'list')).toMatchObject({ code: 0 });
      expect((await cli('doctor')).stdout).toMatch(/^ok +locks /m);
    } finally {
      await pool.query('drop schema reports cascade');
    }
  });

  it('lists, changes and refuses', async () => {
    await recorded('listed');
    const list = await server.call('GET', '/v1/admin/hypertables');
    expect(list.status).toBe(200);
    expect(list.body.map(({ tableName }: { tableName: string }) => tableName)).toEqual([
      'flight.frame_results',
      'flight.heading_history',
    ]);
    expect(
      await server.call('PATCH', '/v1/admin/hypertables/frame_results', { chunkInterval: '7d' }),
    ).toMatchObject({
      status: 200,
      body: { success: true, chunkInterval: '7 days' },
    });
    expect(
      await server.call('POST', '/v1/admin/hypertables', {
        tableName: 'flight.waypoints',
        timeColumn: 'timestamp',
      }),
    ).toMatchObject({ status: 409, body: { code: 'hypertable.key-without-time' } });
    expect(
      await server.call('POST', '/v1/admin/hypertables', {
        tableName: 'log.events',
        timeColumn: 'recorded_at',
      }),
    ).toMatchObject({ status: 404, body: { code: 'hypertable.unknown-model' } });
    expect(
      await server.call('PATCH', '/v1/admin/hypertables/frame_results', { retentionPeriod: 'soon' }),
    ).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'retentionPeriod' }] },
    });
    // A table with the time in its key, once there is nothing to move.
    expect(
      await server.call('POST', '/v1/admin/hypertables', {
        tableName: 'flight_days',
        timeColumn: 'day',
        chunkInterval: '30 days',
        migrateData: true,
      }),
    ).toMatchObject({
      status: 201,
      body: {
        hypertableCreated: true,
        notes: [expect.stringMatching(/rebuild.* puts a plain table/) as string],
      },
    });
    expect(await frameCount('listed')).toBe(3);
  });

  it('shows frame minutes and how they are kept', async () => {
    const position = await recorded('minutes');
    const fresh = { 'waylog-min-position': position };
    const all = await server.call('GET', '/v1/flights/minutes/frame-minutes', undefined, fresh);
    expect(all.body).toMatchObject([
      { minute: '2010-01-01T00:00:00.000Z', frames: 1, distanceMetres: 0 },
      { minute: '2015-01-01T00:00:00.000Z', frames: 1 },
      {
        minute: '2026-05-01T12:00:00.000Z',
        frames: 1,
        meanConfidence: 0.75,
        minConfidence: 0.75,
        refinedShare: 0,
      },
    ]);
    const range = 'from=2014-01-01T00:00:00Z&to=2016-01-01T00:00:00Z';
    expect((await server.call('GET', `/v1/flights/minutes/frame-minutes?${range}`)).body).toEqual([
      all.body[1],
    ]);
    expect(await server.call('GET', '/v1/flights/nobody/frame-minutes')).toMatchObject({ status: 404 });
    expect(await server.call('GET', '/v1/flights/minutes/frame-minutes?from=noon')).toMatchObject({
      status: 400,
    });
    expect((await server.call('GET', '/v1/admin/rollups')).body).toMatchObject([
      { viewName: 'flight.frame_minutes', sourceTable: 'flight.frame_results', materialized: true },
    ]);
    expect(await cli('hypertables', 'verify-rollups')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/minutes · identical/) as string,
    });
  });

  it('archives and restores as jobs, and as commands', async () => {
    await recorded('archived');
    const before = await chunksOf();
    const started = await server.call('POST', '/v1/admin/archives', {
      olderThan: '2012-01-01T00:00:00Z',
      tables: ['frame_results'],
    });
    expect(started.status).toBe(202);
    const done = await job(started.body.jobId as string);
    expect(done).toMatchObject({
      state: 'done',
      result: { confirmations: [{ status: 'completed', tableName: 'flight.frame_results', chunks: 1 }] },
    });
    expect(await frameCount('archived')).toBe(2);
    const [event] = (await server.call('GET', '/v1/admin/archives')).body;
    expect(event).toMatchObject({
      status: 'completed',
      lakehousePath: directory,
      chunks: [{ state: 'dropped' }],
    });
    expect(await server.call('GET', `/v1/admin/archives/${event.eventId}`)).toMatchObject({
      status: 200,
      body: event,
    });
    const restore = await server.call('POST', `/v1/admin/archives/${event.eventId}/restore`);
    expect(await job(restore.body.jobId as string)).toMatchObject({ state: 'done', result: { outdated: 0 } });
    expect(await frameCount('archived')).toBe(3);
    expect((await chunksOf()).length).toBe(before.length);
    expect(await server.call('POST', '/v1/admin/archives/none/restore')).toMatchObject({ status: 404 });

    const run = await cli(
      '--json',
      'archive',
      'run',
      '--older-than',
      '2012-01-01T00:00:00Z',
      '--to',
      directory,
    );
    expect(run).toMatchObject({ code: 0 });
    const [confirmation] = (JSON.parse(run.stdout) as { confirmations: { eventId: string }[] }).confirmations;
    expect(await frameCount('archived')).toBe(2);
    expect(await cli('archive', 'list')).toMatchObject({
      stdout: expect.stringContaining(confirmation?.eventId ?? '') as string,
    });
    expect(await cli('archive', 'restore', confirmation?.eventId ?? '')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/1 chunk · \d+ rows? restored/) as string,
    });
    expect(await frameCount('archived')).toBe(3);
  });

  it('drops chunks when confirmed', async () => {
    await recorded('dropped');
    const path = '/v1/admin/hypertables/frame_results/chunks?olderThan=2012-01-01T00:00:00Z';
    expect(await server.call('DELETE', path)).toMatchObject({
      status: 409,
      body: { code: 'hypertable.unconfirmed' },
    });
    const plan = await server.call('DELETE', `${path}&dryRun=true`);
    expect(plan).toMatchObject({
      status: 200,
      body: { dryRun: true, chunks: [{ rangeStart: expect.any(String) as string }] },
    });
    expect(await frameCount('dropped')).toBe(3);
    expect(await server.call('DELETE', `${path}&confirm=flight.frame_results`)).toMatchObject({
      status: 200,
      body: { dryRun: false, chunks: plan.body.chunks },
    });
    expect(await frameCount('dropped')).toBe(2);
    expect(await cli('hypertables', 'drop-chunks', 'frame_results', '--older-than', '10w')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/is not confirmed/) as string,
    });
    expect(await cli('hypertables', 'drop-chunks', 'frame_results', '--older-than', 'ever')).toMatchObject({
      code: 2,
    });
    expect(await cli('hypertables', 'list')).toMatchObject({
      stdout: expect.stringMatching(/complete since 20/) as string,
    });
  });

  it('applies the retention by schedule', async () => {
    await recorded('retained');
    const info = async () => (await server.call('GET', '/v1/admin/hypertables/frame_results')).body;
    if ((await info()).retention.mechanism === 'policy') return;
    const changed = await server.call('PATCH', '/v1/admin/hypertables/frame_results', {
      retentionPeriod: '8 years',
    });
    expect(changed.body).toMatchObject({
      retentionPolicy: {
        enabled: true,
        mechanism: 'schedule',
        reason: expect.stringMatching(/Apache/) as string,
      },
      notes: [expect.stringMatching(/The log keeps every event/) as string],
    });
    await eventually(async () => (await frameCount('retained')) <= 1);
    expect(await info()).toMatchObject({ retention: { lastRunAt: expect.any(String) as string } });
    await server.call('PATCH', '/v1/admin/hypertables/frame_results', { retentionPeriod: 'none' });
  });
});

describe('minute rollups', () => {
  it('equal the frames after their server was killed repeatedly', async () => {
    const database = await testDatabase();
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    let server = await serverProcess(database.url);
    const clients = Array.from({ length: 4 }, (_, n) => writingClient(`killed-${n}`, () => server));
    const acknowledged = () => clients.reduce((sum, client) => sum + client.acknowledged.length, 0);
    for (let kill = 0; kill < 5; kill++) {
      const before = acknowledged();
      await eventually(() => acknowledged() >= before + 60, acknowledged);
      await sleep(random() * 1_200);
      await server.end('SIGKILL');
      server = await serverProcess(database.url);
    }
    for (const client of clients) client.stop();
    await Promise.all(clients.map(({ done }) => done));
    const position = async () =>
      (
        await database.pool.query<{ done: boolean }>(
          `select bool_and(position::bigint = (select max(position) from log.events)) as done
             from projection.checkpoints where projection in ('frame_minutes', 'frame_results')`,
        )
      ).rows[0]?.done;
    await eventually(() => position());
    const verified = await verifyFrameMinutes(database.pool);
    expect({ seed, ...verified }).toMatchObject({ seed, differences: [], caughtUp: true });
    expect(verified.minutes).toBeGreaterThanOrEqual(4);
    await server.end('SIGTERM');
    await database.drop();
  });
});
