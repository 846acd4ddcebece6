import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { hashTable } from '#lib/projections';
import {
  Archives,
  Hypertables,
  retainedSince,
  type ArchiveStep,
  type Manifest,
  type TableModel,
} from '#lib/timescale';
import { testDatabase, type TestDatabase } from './support/database.js';

const DAY = 86_400_000;
const EPOCH = Date.UTC(2026, 0, 1);
const day = (n: number): string => new Date(EPOCH + n * DAY).toISOString();

/** Archives in a separate process, which kills itself after this many steps. */
const ARCHIVE_UNTIL = `
  const [url, directory, table, olderThan, steps] = process.argv.slice(1);
  const { Archives } = await import(process.cwd() + '/dist/libs/timescale/src/index.js');
  const { createPool } = await import(process.cwd() + '/dist/libs/platform/src/index.js');
  const pool = createPool({ connectionString: url, size: 2, applicationName: 'victim', statementTimeoutMs: 0, connectTimeoutMs: 5000 });
  const [schema, name] = table.split('.');
  let done = 0;
  await new Archives(pool, [{ schema, name }]).run({ olderThan: new Date(olderThan), directory, onProgress: async () => {
    if (++done < Number(steps)) return;
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => setInterval(() => {}, 1000));
  } });
  await pool.end();`;

describe('archived chunks', () => {
  let database: TestDatabase;
  let directory: string;
  let archives: Archives;
  let tables = 0;
  const models: TableModel[] = [];
  beforeAll(async () => {
    database = await testDatabase();
    archives = new Archives(database.pool, models);
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'waylog-archive-'));
  });
  afterEach(() => rm(directory, { recursive: true }));
  const sql = async <T extends object>(text: string, values: unknown[] = []) =>
    (await database.pool.query<T>(text, values)).rows;

  /** A hypertable with three chunks of a week and awkward values. */
  const aHypertable = async () => {
    const name = `samples_${++tables}`;
    await sql(
      `create table public.${name} (
         device text not null, at timestamptz not null, value double precision, note text, more jsonb, primary key (device, at))`,
    );
    models.length = 0;
    models.push({ schema: 'public', name, timeColumn: 'at' });
    await new Hypertables(database.pool, models).create({ tableName: name, timeColumn: 'at' });
    await sql(
      `insert into public.${name}
       select 'd' || n % 3, $1::timestamptz + n * interval '1 hour' + n * interval '1 microsecond', sqrt(n) / 3,
              case n % 4 when 0 then null when 1 then '' when 2 then E'a "quoted",\\n line\\t\\\\ \\\\.' else 'plain' end,
              jsonb_build_object('n', n, 'text', E'"\\n')
         from generate_series(0, 24 * 21 - 1) n`,
      [day(0)],
    );
    return `public.${name}`;
  };
  const contents = async (table: string) => {
    const client = await database.pool.connect();
    try {
      return await hashTable(client, table);
    } finally {
      client.release();
    }
  };
  const count = async (table: string) => (await contents(table)).rows;
  const run = (more: Partial<Parameters<Archives['run']>[0]> = {}) =>
    archives.run({ olderThan: new Date(day(15)), directory, ...more });
  const files = async (table: string) => (await readdir(join(directory, table))).sort();

  it('are written, verified and dropped, and come back as they were', async () => {
    const table = await aHypertable();
    const before = await contents(table);
    const steps: ArchiveStep[] = [];
    const [done, ...others] = await run({ onProgress: ({ step }) => void steps.push(step) });
    expect(others).toEqual([]);
    expect(done).toMatchObject({ status: 'completed', chunks: 2, rows: 336, lakehousePath: directory });
    expect(steps).toEqual([1, 2].flatMap(() => ['copied', 'verified', 'written', 'dropped']));
    expect(await count(table)).toBe(168);
    expect((await retainedSince(database.pool)).get(table)).toEqual(new Date(day(14)));

    const [data, manifestFile, ...rest] = await files(table);
    expect(rest).toHaveLength(2);
    expect(manifestFile).toBe(`${data}.json`);
    for (const file of [data, manifestFile])
      expect((await stat(join(directory, table, file ?? ''))).mode & 0o777).toBe(0o600);
    const manifest = JSON.parse(
      await readFile(join(directory, table, manifestFile ?? ''), 'utf8'),
    ) as Manifest;
    expect(manifest).toMatchObject({
      format: 'waylog-archive-1',
      table,
      rangeStart: day(0),
      rangeEnd: day(7),
      rows: 168,
      columns: expect.arrayContaining([{ name: 'at', type: 'timestamp with time zone' }]) as unknown[],
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    const csv = gunzipSync(await readFile(join(directory, table, data ?? ''))).toString();
    expect(csv).toMatch(/^device,at,value,note,more\nd0,2026-01-01 00:00:00\+00,0,,/);
    expect(await archives.list()).toMatchObject([
      {
        eventId: done?.eventId,
        tableName: table,
        status: 'completed',
        chunks: [{ state: 'dropped' }, { state: 'dropped' }],
      },
    ]);

    const eventId = done?.eventId ?? '';
    expect(await archives.restore(eventId)).toMatchObject({
      chunks: 2,
      restored: 336,
      present: 0,
      outdated: 0,
    });
    expect(await contents(table)).toEqual(before);
    expect((await retainedSince(database.pool)).has(table)).toBe(false);
    // A second restore changes nothing.
    expect(await archives.restore(eventId)).toMatchObject({ restored: 0, present: 336 });
    expect(await contents(table)).toEqual(before);
    // And they can be archived again, into other files.
    expect(await run()).toMatchObject([{ status: 'completed', chunks: 2 }]);
    expect(await files(table)).toHaveLength(8);
  });

  it('do not exist if nothing is old enough', async () => {
    const table = await aHypertable();
    expect(await run({ olderThan: new Date(day(6)) })).toEqual([]);
    expect(await count(table)).toBe(504);
  });

  // Two chunks of four steps each.
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('are complete after a kill at step %i and another run', async (steps) => {
    const table = await aHypertable();
    const before = await contents(table);
    const victim = spawn(
      process.execPath,
      ['--input-type=module', '-e', ARCHIVE_UNTIL, database.url, directory, table, day(15), String(steps)],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    expect(await once(victim, 'exit')).toEqual([null, 'SIGKILL']);
    const [event] = await archives.list();
    expect(event?.status).not.toBe('completed');
    const dropped = event?.chunks.filter(({ state }) => state === 'dropped') ?? [];
    expect(dropped).toHaveLength(Math.floor(steps / 4));
    expect(await count(table)).toBe(504 - 168 * dropped.length);

    // The server notices the lost connection, and releases the lock, a moment later.
    await released();
    const [done] = await run();
    expect(done).toMatchObject({ eventId: event?.eventId, status: 'completed', chunks: 2, rows: 336 });
    expect(await count(table)).toBe(168);
    expect((await files(table)).filter((name) => name.endsWith('.partial'))).toEqual([]);
    await archives.restore(event?.eventId ?? '');
    expect(await contents(table)).toEqual(before);
  });
  const released = async () => {
    for (;;) {
      const rows = await sql(
        `select from pg_stat_activity where application_name = 'waylog archive' and datname = current_database()`,
      );
      if (rows.length === 0) return;
    }
  };

  it('are written again if rows change while they are written', async () => {
    const table = await aHypertable();
    let changes = 0;
    const steps: ArchiveStep[] = [];
    const [done] = await run({
      onProgress: async ({ step }) => {
        steps.push(step);
        if (step === 'written' && ++changes === 1)
          await sql(`update ${table} set note = 'late' where at = $1::timestamptz`, [day(0)]);
        if (step === 'written' && changes === 2)
          await sql(`insert into ${table} values ('new', $1::timestamptz + interval '5 minutes')`, [day(0)]);
      },
    });
    expect(steps.filter((step) => step === 'changed')).toHaveLength(2);
    expect(done).toMatchObject({ status: 'completed', rows: 337 });
    await archives.restore(done?.eventId ?? '');
    expect(await sql(`select note from ${table} where at = $1::timestamptz`, [day(0)])).toEqual([
      { note: 'late' },
    ]);
    expect(await count(table)).toBe(505);
  });

  it('stay in the table if they never stop changing, and the next run continues', async () => {
    const table = await aHypertable();
    let n = 0;
    const [failed] = await run({
      onProgress: async ({ step }) => {
        if (step === 'written')
          await sql(`update ${table} set value = $2 where at = $1::timestamptz`, [day(0), ++n]);
      },
    });
    expect(failed).toMatchObject({
      status: 'failed',
      chunks: 0,
      errorMessage: expect.stringMatching(/changed each of the 3 times/) as string,
    });
    expect(await count(table)).toBe(504);
    expect(await run()).toMatchObject([{ eventId: failed?.eventId, status: 'completed', chunks: 2 }]);
  });

  it('are recorded as gone if another process dropped them before', async () => {
    const table = await aHypertable();
    const stop = new AbortController();
    await expect(run({ signal: stop.signal, onProgress: () => stop.abort() })).rejects.toThrow(/abort/);
    await sql(`select drop_chunks($1::text::regclass, older_than => $2::timestamptz)`, [table, day(7)]);
    expect(await run()).toMatchObject([{ status: 'completed', chunks: 1 }]);
    expect((await archives.list())[0]?.chunks.map(({ state }) => state)).toEqual(
      // The first was written only as far as its file, which no manifest describes.
      ['gone', 'dropped'],
    );
  });

  it('are written by one process at a time', async () => {
    await aHypertable();
    const other = await database.pool.connect();
    try {
      await other.query(`select pg_advisory_lock(7239100407)`);
      await expect(run()).rejects.toMatchObject({ code: 'archive.running' });
    } finally {
      await other.query(`select pg_advisory_unlock(7239100407)`);
      other.release();
    }
  });

  it('fail visibly if the folder cannot be written', async () => {
    const table = await aHypertable();
    await writeFile(join(directory, table), 'a file where the folder should be');
    expect(await run()).toMatchObject([
      { status: 'failed', errorMessage: expect.stringMatching(/EEXIST|ENOTDIR/) as string },
    ]);
    expect(await count(table)).toBe(504);
    await rm(join(directory, table));
    expect(await run()).toMatchObject([{ status: 'completed' }]);
  });

  describe('cannot be restored', () => {
    const archived = async () => {
      const table = await aHypertable();
      const [done] = await run();
      const [data = ''] = await files(table);
      return { table, eventId: done?.eventId ?? '', path: join(directory, table, data) };
    };
    const refused = async (table: string, eventId: string, code: string, why: RegExp) => {
      await expect(archives.restore(eventId)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(why) as string,
      });
      expect(await count(table)).toBe(168);
    };

    it('if a byte of the file differs', async () => {
      const { table, eventId, path } = await archived();
      const bytes = await readFile(path);
      bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
      await writeFile(path, bytes);
      await refused(table, eventId, 'archive.tampered', /SHA-256 is another/);
    });

    it('if something was added to the file', async () => {
      const { table, eventId, path } = await archived();
      await appendFile(path, 'x');
      await refused(table, eventId, 'archive.tampered', /SHA-256 is another/);
    });

    it('if the manifest was changed with it', async () => {
      const { table, eventId, path } = await archived();
      const manifest = JSON.parse(await readFile(`${path}.json`, 'utf8')) as Manifest;
      await writeFile(`${path}.json`, JSON.stringify({ ...manifest, sha256: '0'.repeat(64) }));
      await refused(table, eventId, 'archive.tampered', /another sha256 than the database/);
    });

    it('if its rows do not match the fingerprint', async () => {
      const { table, eventId, path } = await archived();
      // As if an attacker had also changed the hash of the file in the database and the manifest.
      const manifest = JSON.parse(await readFile(`${path}.json`, 'utf8')) as Manifest;
      await writeFile(`${path}.json`, JSON.stringify({ ...manifest, rowHash: '1:2' }));
      await sql(`update timescale.archived_chunks set row_hash = '1:2' where event_id = $1`, [eventId]);
      await refused(table, eventId, 'archive.tampered', /168 rows are not the 168 that were archived/);
    });

    it('if a file is missing, unless its place is given', async () => {
      const { table, eventId } = await archived();
      const moved = `${directory}-moved`;
      await rename(directory, moved);
      await refused(table, eventId, 'archive.file-missing', /cannot be read/);
      expect(await archives.restore(eventId, { directory: moved })).toMatchObject({ restored: 336 });
      await rename(moved, directory);
    });

    it('if there is no such archive, or it has no archived chunks', async () => {
      await expect(archives.restore('none')).rejects.toMatchObject({ code: 'archive.not-found' });
    });
  });

  it('do not bring back rows that were written again, moved or lost their owner meanwhile', async () => {
    const table = await aHypertable();
    await sql(`create table if not exists public.devices (id text primary key)`);
    await sql(`insert into public.devices values ('d0'), ('d1') on conflict do nothing`);
    const [model] = models;
    models[0] = {
      ...(model as TableModel),
      identity: ['device', 'note'],
      owner: { table: 'public.devices', key: 'id', column: 'device' },
    };
    await sql(`delete from ${table} where at < $1`, [day(14)]);
    await sql(
      `insert into ${table} values ('d0', $1, 1, 'same'), ('d0', $2, 1, 'moved'), ('d1', $1, 1, 'stays'), ('d2', $1, 1, 'orphan')`,
      [day(1), day(2)],
    );
    const [done] = await run();
    expect(done).toMatchObject({ status: 'completed', rows: 4 });
    await sql(`insert into ${table} values ('d0', $1, 2, 'newer'), ('d0', $2, 1, 'moved')`, [
      day(1),
      day(20),
    ]);
    const result = await archives.restore(done?.eventId ?? '');
    expect(result).toMatchObject({ restored: 1, present: 1, outdated: 2 });
    expect(result.notes.join()).toMatch(/2 rows were left out/);
    expect(await sql(`select device, note from ${table} where at < $1 order by 1`, [day(14)])).toEqual([
      { device: 'd0', note: 'newer' },
      { device: 'd1', note: 'stays' },
    ]);
  });
});
