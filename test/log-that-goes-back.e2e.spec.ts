import { execFile, spawnSync } from 'node:child_process';
import { appendFile, chown, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  databaseDown,
  databaseKill,
  databaseReset,
  databaseStatus,
  databaseUp,
  serverTool,
  type DatabaseOptions,
} from '#lib/timescale';
import { migrate } from '../migrations/index.js';
import { aFlight, aFrame } from './support/samples.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';
import type { Answer } from './support/server.js';
import { eventually } from './support/eventually.js';

const run = promisify(execFile);

const docker = spawnSync('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: 5_000 });
const isContainer = docker.status === 0 && docker.stdout.toString().trim() !== '';
const onPrivate = isContainer ? describe.skip : describe;
const skipped = isContainer ? ' (SKIPPED: the server of this machine is a container, not a private one)' : '';

// Two servers continue while the database under them goes back to its state a few commands ago.
onPrivate.each([
  ['a replica that was behind takes over: another timeline', true],
  ['an older copy of its files is put in its place: nothing of the server is another', false],
])(`a log that goes back under running servers (%s)${skipped}`, (_, isPromoted) => {
  const { DATABASE_URL: __, ...env } = process.env;
  const options: DatabaseOptions = { root: process.cwd(), instance: 'went-back', env };
  let url: string;
  let data: string;
  let kept: string;
  let busy: ServerProcess;
  let idle: ServerProcess;
  let first: Answer;
  let lost: Answer[];

  const frame = (n: number, headers: Record<string, string> = {}, server = busy) =>
    server.call('PUT', `/v1/flights/tail/frames/${n}`, aFrame(n), headers);
  const frames = (position: string, server = busy) =>
    server.call('GET', '/v1/flights/tail/frames', undefined, { 'waylog-min-position': position });
  const idsOf = (answer: Answer): number[] =>
    (answer.body as { frameId: number }[]).map(({ frameId }) => frameId);

  /** Gives everything in a folder to the server's user, if this process is root. */
  async function give(path: string, like: string): Promise<void> {
    if (process.getuid?.() !== 0) return;
    const { uid, gid } = await stat(like);
    for (const entry of ['', ...(await readdir(path, { recursive: true }))])
      await chown(join(path, entry), uid, gid);
  }

  async function copyOfNow(): Promise<string> {
    const base = join(kept, 'base');
    const tool = await serverTool(
      url,
      'pg_basebackup',
      ['--pgdata', base, '--wal-method=stream', '--checkpoint=fast', '--no-password'],
      { root: options.root, env },
    );
    await run(tool.program, tool.args, { env: tool.env });
    return base;
  }

  beforeAll(async () => {
    const up = await databaseUp(options);
    expect(up.source).toBe('private');
    url = up.url;
    data = (await databaseStatus(options)).dataFolder!;
    kept = await mkdtemp('/tmp/waylog-went-back-');
    await migrate(url);
    busy = await serverProcess(url);
    idle = await serverProcess(url, { WAYLOG_ROLES: 'api' });
    await busy.call('POST', '/v1/flights', aFlight('tail', 2));
    first = await frame(0, { 'idempotency-key': 'kept' });
    await frame(1, {}, idle);
    const base = await copyOfNow();
    // All of this will be lost.
    lost = [
      await frame(2, { 'idempotency-key': 'lost-1' }),
      await frame(3, { 'idempotency-key': 'lost-2' }),
      await busy.call('POST', '/v1/flights', aFlight('lost', 1), { 'idempotency-key': 'lost-3' }),
    ];
    expect(lost.map(({ status }) => status)).toEqual([200, 200, 201]);
    expect(idsOf(await frames(lost[1]!.body.position as string))).toEqual([0, 1, 2, 3]);

    await databaseKill(options, 'immediate');
    await rename(data, `${data}.broken`);
    await rename(base, data);
    if (isPromoted) {
      await appendFile(
        join(data, 'postgresql.conf'),
        `\nrestore_command = 'false'\nrecovery_target_action = 'promote'\n`,
      );
      await writeFile(join(data, 'recovery.signal'), '');
    }
    await give(data, `${data}.broken`);
    await databaseUp(options);
    for (const server of [busy, idle])
      await eventually(async () => (await server.call('GET', '/health/ready')).status === 200);
  });

  afterAll(async () => {
    for (const server of [busy, idle]) await server.end('SIGTERM');
    // Its settings are those of this test: the next one starts a new server.
    await databaseReset(options);
    await databaseDown(options);
    await rm(`${data}.broken`, { recursive: true, force: true });
    await rm(kept, { recursive: true, force: true });
  });

  it('records a repeat of a lost command instead of repeating its answer', async () => {
    const again = await frame(2, { 'idempotency-key': 'lost-1' });
    expect(again).toMatchObject({ status: 200, body: { revision: lost[0]!.body.revision } });
    expect(again.body.position).not.toBe(lost[0]!.body.position);
    expect(BigInt(again.body.position as string)).toBeGreaterThan(BigInt(lost[2]!.body.position as string));
    expect(idsOf(await frames(again.body.position as string))).toEqual([0, 1, 2]);
    // It remembers that one, and also what was there before.
    expect((await frame(2, { 'idempotency-key': 'lost-1' })).body).toEqual(again.body);
    expect((await frame(0, { 'idempotency-key': 'kept' })).body).toEqual(first.body);
  });

  it('accepts other commands of the stream at once, and records lost ones again', async () => {
    const next = await frame(5);
    expect(next.status).toBe(200);
    const created = await busy.call('POST', '/v1/flights', aFlight('lost', 1), {
      'idempotency-key': 'lost-3',
    });
    expect(created.status).toBe(201);
    const read = await busy.call('GET', '/v1/flights/lost', undefined, {
      'waylog-min-position': created.body.position as string,
    });
    expect(read).toMatchObject({ status: 200, body: { id: 'lost' } });
  });

  it('accepts commands through a server that has seen nothing of what was lost', async () => {
    const next = await frame(6, {}, idle);
    expect(next.status).toBe(200);
    expect(idsOf(await frames(next.body.position as string, idle))).toContain(6);
  });

  it('permanently refuses the position of a lost event, to every reader', async () => {
    for (const server of [busy, idle]) {
      const { position } = lost[1]!.body as { position: string };
      expect(await frames(position, server)).toMatchObject({
        status: 409,
        body: { code: 'position.lost', detail: expect.stringContaining(`position ${position}`) as string },
      });
      expect(await server.call('GET', `/v1/events?after=${position}`)).toMatchObject({
        status: 409,
        body: { code: 'position.lost' },
      });
    }
  });

  it('reports the loss until an operator has acknowledged it', async () => {
    const { body: found } = await busy.call('GET', '/v1/admin/log/losses');
    expect(found).toHaveLength(1);
    const [loss] = found as [Record<string, unknown>];
    expect(loss).toMatchObject({
      seenPosition: lost[2]!.body.position,
      commands: 3,
      streams: expect.arrayContaining([
        { streamId: 'flight-lost', from: 0, to: expect.any(Number) as number },
        { streamId: 'flight-tail', from: lost[0]!.body.revision, to: lost[1]!.body.revision },
      ]) as unknown,
    });
    expect(busy.output()).toContain('The log went back');
    const firing = async () =>
      ((await busy.call('GET', '/v1/admin/alerts')).body as { name: string; state: string }[]).some(
        ({ name, state }) => name === 'AnswersLost' && state === 'firing',
      );
    await eventually(() => firing());
    expect((await busy.call('GET', '/metrics')).body).toMatch(/waylog_losses_open 1/);
    const acknowledged = await busy.call(
      'POST',
      `/v1/admin/log/losses/${String(loss['id'])}/acknowledgement`,
      {
        why: 'the replica was behind; clients have repeated',
      },
    );
    expect(acknowledged.status).toBe(200);
    expect((await busy.call('GET', '/v1/admin/log/losses?open=true')).body).toEqual([]);
    await eventually(async () => !(await firing()));
  });

  it('has no other gaps, and the tables match it', async () => {
    const verified = await run(process.execPath, ['dist/apps/cli/src/main.js', '--json', 'verify'], {
      env: { ...process.env, DATABASE_URL: url },
    });
    expect(JSON.parse(verified.stdout)).toMatchObject({ isSound: true });
    const audited = await run(
      process.execPath,
      ['dist/apps/cli/src/main.js', '--json', 'verify', '--audit'],
      {
        env: { ...process.env, DATABASE_URL: url },
      },
    );
    expect(JSON.parse(audited.stdout)).toMatchObject({ isSound: true });
  });
});
