import { execFile } from 'node:child_process';
import pg from 'pg';
import { testServerUrl } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { until, useServer } from './support/server.js';

describe('a database that accepts no writes for a while', () => {
  const server = useServer({ WAYLOG_ALERT_INTERVAL: '3600' });
  const name = () => new URL(server.store.url).pathname.slice(1);
  const admin = async (...statements: string[]) => {
    const client = new pg.Client({ connectionString: testServerUrl() });
    await client.connect();
    for (const sql of statements) await client.query(sql);
    await client.end();
  };
  const makeReadOnly = () =>
    admin(
      `alter database ${name()} set default_transaction_read_only = on`,
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name()}'`,
    );
  const makeWritable = () => admin(`alter database ${name()} reset default_transaction_read_only`);
  const { frameId: _, ...frame } = aFrame(0);
  const save = (n: number) =>
    server.call('PUT', `/v1/flights/r/frames/${n}`, { ...frame, confidence: Math.random() });
  const waylog = (...command: string[]) =>
    new Promise<string>((resolve) =>
      execFile(
        process.execPath,
        ['dist/apps/cli/src/main.js', ...command],
        { env: { ...process.env, DATABASE_URL: server.store.url } },
        (_error, out, err) => resolve(out + err),
      ),
    );

  it('is reported as such, and commands succeed right after it accepts them again', async () => {
    const { status, body: flight } = await server.call('POST', '/v1/flights', aFlight('r', 2));
    expect(status).toBe(201);
    const folded = await server.call('GET', '/v1/flights/r/waypoints', undefined, {
      'waylog-min-position': String(flight.position),
    });
    expect(folded.status).toBe(200);
    expect((await server.call('GET', '/health/ready')).status).toBe(200);

    for (let round = 0; round < 3; round++) {
      await makeReadOnly();
      const refused = await Promise.all(Array.from({ length: 40 }, (_each, n) => save(n)));
      for (const answer of refused) {
        expect(answer).toMatchObject({ status: 503, body: { code: 'database.read-only' } });
        expect(answer.headers.get('retry-after')).toBe('1');
      }
      const reads = await Promise.all(
        Array.from({ length: 40 }, () => server.call('GET', '/v1/flights/r/waypoints')),
      );
      for (const { status } of reads) expect(status).toBe(200);
      // Operations that are not retried get the same error.
      expect(await server.call('POST', '/v1/admin/keys', { name: 'k', role: 'reader' })).toMatchObject({
        status: 503,
        body: { code: 'database.read-only' },
      });
      expect(await server.call('GET', '/health/ready')).toMatchObject({
        status: 503,
        body: {
          detail: expect.stringMatching(/^The database takes no writes: default_transaction_read_only/),
        },
      });
      expect((await server.call('GET', '/v1/admin/health')).body.firing).toContain('DatabaseReadOnly');
      // To fill the log's pool with sessions that stay read-only.
      const events = await Promise.all(
        Array.from({ length: 40 }, () => server.call('GET', '/v1/flights/r/events')),
      );
      for (const { status } of events) expect(status).toBe(200);

      await makeWritable();
      const saved = await Promise.all(Array.from({ length: 40 }, (_each, n) => save(n)));
      expect(saved.map(({ status }) => status)).toEqual(saved.map(() => 200));
      expect((await server.call('GET', '/health/ready')).status).toBe(200);
      const made = await server.call('POST', '/v1/admin/keys', { name: `k${round}`, role: 'reader' });
      expect(made.status).toBe(201);
      // Projector and rollups have continued too.
      const fresh = { 'waylog-min-position': String(saved.at(-1)?.body.position) };
      const read = (path: string) =>
        until(
          () => server.call('GET', path, undefined, fresh),
          ({ status }) => status === 200,
        );
      expect((await read('/v1/flights/r/frames')).body).toHaveLength(40);
      expect((await read('/v1/flights/r/frame-minutes')).body).toMatchObject([{ frames: 40 }]);
    }
  });

  it('is reported as such by background work, and by the command line', async () => {
    await makeReadOnly();
    const sentence = /^(waylog: )?The database takes no writes now \(cannot execute .*\): it is a standby/m;
    for (const path of ['verifications', 'projections/waypoints/rebuild']) {
      const run = async () => {
        const { body } = await server.call('POST', `/v1/admin/${path}`, {});
        return until(
          () => server.call('GET', `/v1/admin/jobs/${String(body.jobId)}`),
          ({ body: { state } }) => state !== 'running',
        );
      };
      // One command can meet a connection that the test has ended unnoticed.
      const job = await until(run, ({ body }) => body.errorCode !== 'database.unavailable');
      expect(job.body).toMatchObject({
        state: 'failed',
        errorCode: 'database.read-only',
        errorMessage: expect.stringMatching(sentence) as string,
      });
    }
    for (const command of [
      ['verify'],
      ['rebuild', 'waypoints'],
      ['keys', 'create', '--name', 'k', '--role', 'reader'],
    ])
      expect(await waylog(...command)).toMatch(sentence);
    await makeWritable();
  });

  it('is a problem for doctor, which says what to do', async () => {
    await makeReadOnly();
    expect(await waylog('doctor')).toMatch(
      /PROBLEM {2}writes .*alter database NAME reset default_transaction_read_only/,
    );
    await makeWritable();
    expect(await waylog('doctor')).toMatch(/ok {7}writes/);
  });
});
