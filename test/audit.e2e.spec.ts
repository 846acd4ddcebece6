import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newKeyPair } from '#lib/audit';
import { checkDatabase } from '../apps/cli/src/doctor.js';
import { useServer } from './support/server.js';

const run = promisify(execFile);
const pair = newKeyPair();

describe('the audit over HTTP and the CLI', () => {
  const server = useServer({ WAYLOG_AUDIT_KEY: pair.privateKey });
  let folder: string;
  const flight = { name: 'f', startGps: { lat: 1, lon: 2 }, altitude: 3 };
  const waylog = async (...args: string[]) => {
    const command = ['dist/apps/cli/src/main.js', ...args, '--json'];
    const { stdout } = await run(process.execPath, command, {
      env: {
        ...process.env,
        DATABASE_URL: server.store.url,
        WAYLOG_AUDIT_KEY_FILE: '',
        WAYLOG_AUDIT_DIR: '',
      },
    }).catch((error: unknown) => error as { stdout: string });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const job = async (path: string) => {
    const { body } = await server.call('POST', path);
    for (;;) {
      const { body: now } = await server.call('GET', `/v1/admin/jobs/${body.jobId}`);
      if (now.state !== 'running') return now;
    }
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('signs a digest on request, and finds with it what was changed afterwards', async () => {
    const { body } = await server.call('POST', '/v1/flights', flight);
    // The server signs one at its start, with or without the flight.
    await server.call('POST', '/v1/admin/audit/digests');
    const { body: digests } = await server.call('GET', '/v1/admin/audit/digests');
    expect(digests[0]?.position).toBe(body.position);
    expect(await job('/v1/admin/audit/verifications')).toMatchObject({
      state: 'done',
      result: { isSound: true, problems: [] },
    });
    await server.store.pool.query(
      `update log.events set data = (replace(data::text, '"altitude":3', '"altitude":4'))::json where type = 'FlightCreated'`,
    );
    const { result } = await job('/v1/admin/audit/verifications');
    expect(result.isSound).toBe(false);
    expect(result.problems).toMatchObject([
      { code: 'event-changed', streamId: `flight-${body.flightId}`, revision: 0 },
    ]);
    await server.store.pool.query(
      `update log.events set data = (replace(data::text, '"altitude":4', '"altitude":3'))::json where type = 'FlightCreated'`,
    );
  });

  it('is checked by the doctor: a newest digest that is too old means that none was signed since', async () => {
    const doctor = async () =>
      (
        await checkDatabase(
          { pool: server.store.pool, url: server.store.url, eventStore: undefined },
          { DATABASE_URL: server.store.url },
        )
      ).filter(({ check }) => check === 'digests');
    await server.call('POST', '/v1/flights', flight);
    await server.call('POST', '/v1/admin/audit/digests');
    expect(await doctor()).toMatchObject([
      { level: 'ok', what: expect.stringContaining('0 events came since') },
    ]);
    await server.call('POST', '/v1/flights', flight);
    expect(await doctor()).toMatchObject([{ level: 'ok' }]);
    const late = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 3 * 86_400_000);
    expect(await doctor()).toMatchObject([
      { level: 'problem', what: expect.stringMatching(/events? came since$/) },
    ]);
    late.mockRestore();
  });

  it('works from the command line with keys in files, and digests kept elsewhere', async () => {
    const key = join(folder, 'key.pem');
    const digests = join(folder, 'digests');
    const made = await waylog('audit', 'new-key', key);
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    await server.call('POST', '/v1/flights', flight);
    const serverKey = join(folder, 'server.pub');
    await writeFile(serverKey, pair.publicKey);
    const mine = ['--key-file', key, '--digests', digests];
    // A digest by another key could be a forgery.
    await expect(
      run(process.execPath, ['dist/apps/cli/src/main.js', 'audit', 'digest', ...mine], {
        env: { ...process.env, DATABASE_URL: server.store.url },
      }),
    ).rejects.toMatchObject({ stderr: expect.stringContaining('give its public half as well') as string });
    const taken = await waylog('audit', 'digest', ...mine, '--public-key', serverKey);
    expect(taken).toMatchObject({ digest: { keyId: made['keyId'] } });
    expect(await readdir(digests)).toHaveLength(Number(taken['filesWritten']));

    const verify = (...more: string[]) =>
      waylog('verify', '--audit', '--public-key', `${key}.pub`, serverKey, ...more);
    expect(await verify('--digests', digests)).toMatchObject({ isSound: true, problems: [] });
    await server.store.pool.query(`truncate log.digests, log.digest_heads`);
    expect(await verify()).toMatchObject({ isSound: true, digests: 0 });
    expect(await verify('--digests', digests)).toMatchObject({
      isSound: false,
      problems: expect.arrayContaining([expect.objectContaining({ code: 'digest-removed' })]) as unknown,
    });
  });

  it('records a known break as the operator saw it, and continues from there', async () => {
    const key = join(folder, 'server.pem');
    await writeFile(key, pair.privateKey);
    await server.store.pool.query(`truncate log.digests, log.digest_heads`);
    const { body } = await server.call('POST', '/v1/flights', flight);
    expect(await waylog('audit', 'digest', '--key-file', key)).toMatchObject({ digest: { number: 1 } });
    await server.store.pool.query(
      `update log.events set data = (replace(data::text, '"altitude":3', '"altitude":4'))::json
        where stream_key = (select stream_key from log.streams where stream_id = $1)`,
      [`flight-${body.flightId}`],
    );
    expect(await server.call('POST', '/v1/admin/audit/digests')).toMatchObject({
      status: 409,
      body: { code: 'audit.broken' },
    });
    const record = ['audit', 'record-break', '--why', 'a restored disk', '--by', 'Ada', '--key-file', key];
    const shown = await waylog(...record);
    expect(shown).not.toHaveProperty('digest');
    const recorded = await waylog(...record, '--findings', String(shown['fingerprint']));
    expect(recorded).toMatchObject({ digest: { number: 2, break: { by: 'Ada', why: 'a restored disk' } } });
    await server.call('POST', '/v1/flights', flight);
    expect(await server.call('POST', '/v1/admin/audit/digests')).toMatchObject({ body: { taken: 1 } });
    const { body: digests } = await server.call('GET', '/v1/admin/audit/digests');
    expect(digests).toMatchObject([{ number: 3 }, { number: 2, knownBreak: { by: 'Ada' } }, { number: 1 }]);
    expect(await waylog('verify', '--audit', '--public-key', key)).toMatchObject({
      isSound: true,
      breaks: [{ digest: 2, by: 'Ada', why: 'a restored disk', problems: shown['problems'] }],
    });
  });

  it('never overwrites a key', async () => {
    const key = join(folder, 'kept.pem');
    await writeFile(key, 'kept');
    await expect(
      run(process.execPath, ['dist/apps/cli/src/main.js', 'audit', 'new-key', key]),
    ).rejects.toMatchObject({ stderr: expect.stringContaining('EEXIST') as string });
  });
});

describe('a server without a key for digests', () => {
  const server = useServer();

  it('reports that it has none', async () => {
    const { status, body } = await server.call('POST', '/v1/admin/audit/digests');
    expect(status).toBe(409);
    expect(body.code).toBe('audit.no-key');
  });
});
