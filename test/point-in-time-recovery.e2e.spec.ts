import { execFile, spawnSync } from 'node:child_process';
import { appendFile, chown, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import {
  databaseDown,
  databaseKill,
  type DatabaseOptions,
  databaseReset,
  databaseStatus,
  databaseUp,
  serverTool,
} from '#lib/timescale';
import { migrate } from '../migrations/index.js';
import { aFlight, aFrame } from './support/samples.js';
import { serverProcess } from './support/server-process.js';
import { eventually } from './support/eventually.js';

const run = promisify(execFile);

// docs/how-to/recover-to-a-point-in-time.md, step by step, on a separate server.
describe('point-in-time recovery', () => {
  const { DATABASE_URL: _, ...env } = process.env;
  const options: DatabaseOptions = { root: process.cwd(), instance: 'recovery', env };

  async function sql<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Gives everything in a folder to the server's user, if this process is root. */
  async function give(path: string, like: string): Promise<void> {
    const { uid, gid } = await stat(like);
    const entries = await readdir(path, { recursive: true });
    if (process.getuid?.() !== 0) return;
    for (const entry of ['', ...entries]) await chown(join(path, entry), uid, gid);
  }

  // With Docker, the data folder cannot be replaced from here; the steps are the same there.
  const docker = spawnSync('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: 5_000 });
  const notPrivate = docker.status === 0 && docker.stdout.toString().trim() !== '';
  const onPrivate = notPrivate ? it.skip : it;
  const skipped = notPrivate
    ? ' (SKIPPED: the server of this machine is a container, not a private one)'
    : '';

  onPrivate(
    `brings back exactly what was recorded before a moment, and Waylog goes on from there${skipped}`,
    async () => {
      const { url, source } = await databaseUp(options);
      expect(source).toBe('private');
      const { dataFolder } = await databaseStatus(options);
      const data = dataFolder!;
      const kept = await mkdtemp('/tmp/waylog-recovery-');
      try {
        // 1. The server keeps its write-ahead log.
        const archive = join(kept, 'wal');
        await mkdir(archive);
        await give(kept, data);
        await appendFile(
          join(data, 'postgresql.conf'),
          `\narchive_mode = on\narchive_command = 'test ! -f ${archive}/%f && cp %p ${archive}/%f.part && mv ${archive}/%f.part ${archive}/%f'\narchive_timeout = 60\n`,
        );
        await databaseDown(options);
        await databaseUp(options);
        await migrate(url);

        // 2. A base backup, while it is in use.
        let server = await serverProcess(url);
        const frame = async (flight: string, n: number) => {
          const answer = await server.call('PUT', `/v1/flights/${flight}/frames/${n}`, aFrame(n));
          expect(answer.status).toBe(200);
          return Number(answer.body.position);
        };
        await server.call('POST', '/v1/flights', aFlight('before', 5));
        const base = join(kept, 'base');
        const {
          program,
          args,
          env: secret,
        } = await serverTool(
          url,
          'pg_basebackup',
          ['--pgdata', base, '--wal-method=stream', '--checkpoint=fast', '--no-password'],
          { root: options.root, env },
        );
        await run(program, args, { env: secret });

        // 3. More commands; then the mistake.
        for (let n = 0; n < 20; n++) await frame('before', n);
        const last = await frame('before', 20);
        const [moment] = await sql<{ at: string }>(url, `select clock_timestamp()::text as at`);
        await server.call('DELETE', '/v1/flights/before');
        await server.call('POST', '/v1/flights', aFlight('after', 5));
        expect(await frame('after', 0)).toBeGreaterThan(last);
        await server.end('SIGTERM');
        const [{ wal } = { wal: '' }] = await sql<{ wal: string }>(
          url,
          `select pg_walfile_name(pg_switch_wal()) as wal`,
        );
        await eventually(async () => (await readdir(archive)).includes(wal));
        await databaseKill(options, 'immediate');

        // 4. Back to the moment before.
        await rename(data, `${data}.broken`);
        await rename(base, data);
        await appendFile(
          join(data, 'postgresql.conf'),
          `\nrestore_command = 'cp ${archive}/%f %p'\nrecovery_target_time = '${moment!.at}'\nrecovery_target_action = 'promote'\narchive_mode = off\n`,
        );
        await writeFile(join(data, 'recovery.signal'), '');
        await give(data, `${data}.broken`);
        const recovered = await databaseUp(options);
        const recovering = async () =>
          (await sql<{ yes: boolean }>(recovered.url, `select pg_is_in_recovery() as yes`))[0]!.yes;
        await eventually(async () => !(await recovering()));

        // Exactly what was before, without a gap.
        const [log] = await sql<{ events: number; last: number }>(
          recovered.url,
          `select count(*)::int as events, max(position)::int as last from log.events`,
        );
        expect(log).toEqual({ events: last, last });
        expect(await sql(recovered.url, `select stream_id from log.streams`)).toEqual([
          { stream_id: 'flight-before' },
        ]);

        // Waylog starts on it and continues, at a position that no client was ever given; the tables are a fold of the
        // log.
        server = await serverProcess(recovered.url);
        const next = await frame('before', 21);
        expect(next).toBeGreaterThan(1e15);
        const { body } = await server.call('GET', '/v1/flights/before/frames', undefined, {
          'waylog-min-position': String(next),
        });
        expect(body).toHaveLength(22);
        const verified = await run(process.execPath, ['dist/apps/cli/src/main.js', '--json', 'verify'], {
          env: { ...process.env, DATABASE_URL: recovered.url },
        });
        const { isSound, tables } = JSON.parse(verified.stdout) as { isSound: boolean; tables: unknown[] };
        expect(isSound).toBe(true);
        expect(tables.length).toBeGreaterThan(5);
        await server.end('SIGTERM');
      } finally {
        // Its settings are those of this test: the next one starts a new server.
        await databaseReset(options);
        await databaseDown(options);
        await rm(`${data}.broken`, { recursive: true, force: true });
        await rm(kept, { recursive: true, force: true });
      }
    },
  );
});
