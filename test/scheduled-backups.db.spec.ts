import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backUp, BackupSchedule, listBackups, type BackupManifest, type FindTool } from '#lib/backup';
import { serverTool } from '#lib/timescale';
import { testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';

const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: process.cwd(), env: process.env });

const HOUR = 3_600_000;

describe('scheduled backups', () => {
  let database: TestDatabase;
  let folder: string;
  let schedules: BackupSchedule[];
  const said: string[] = [];
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-schedule-'));
    schedules = [];
    said.length = 0;
  });
  afterEach(async () => {
    await Promise.all(schedules.map((schedule) => schedule.stop()));
    await rm(folder, { recursive: true });
  });
  const start = (changes: Partial<ConstructorParameters<typeof BackupSchedule>[0]> = {}) => {
    const schedule = new BackupSchedule({
      url: database.url,
      folder,
      everyMs: HOUR,
      keep: 2,
      recipients: [],
      findTool,
      waylog: 'test',
      log: { info: (text) => said.push(text), warn: (text) => said.push(text) },
      lookMs: 5,
      retryMs: 5,
      ...changes,
    });
    schedules.push(schedule);
    schedule.start();
    return schedule;
  };
  const complete = async () => (await listBackups(folder)).filter(({ manifest }) => manifest);
  const sessions = async () =>
    (
      await database.pool.query(
        `select from pg_stat_activity where datname = current_database() and application_name = 'waylog backups'`,
      )
    ).rowCount;
  /** As if a backup had been made this long ago. */
  const age = async (file: string, hours: number) => {
    const manifest = JSON.parse(await readFile(`${file}.json`, 'utf8')) as BackupManifest;
    const createdAt = new Date(Date.now() - hours * HOUR).toISOString();
    // At once: the schedule checks all the time.
    await writeFile(`${file}.new`, JSON.stringify({ ...manifest, createdAt }));
    await rename(`${file}.new`, `${file}.json`);
    return createdAt;
  };

  it('are made when one is due, and the configured number is kept', async () => {
    const schedule = start();
    await eventually(async () => (await complete()).length === 1);
    await eventually(() => schedule.standing?.newestAt);
    const [first] = await complete();
    expect(first?.manifest).toMatchObject({ scheduled: true, server: expect.stringMatching(/^\d+$/) });
    expect(schedule.standing).toEqual({ newestAt: first?.manifest?.createdAt });
    for (const hours of [3, 2]) {
      const [newest] = await complete();
      await age(newest!.file, hours);
      await eventually(async () => (await complete())[0]?.file !== newest!.file);
    }
    await eventually(async () => (await complete()).length === 2);
    expect((await complete()).map(({ file }) => file)).not.toContain(first?.file);
    expect(schedule.standing).not.toHaveProperty('problem');
  });

  it('are made by one of several servers', async () => {
    const [one, two] = [start(), start()];
    await eventually(async () => (await complete()).length === 1);
    await eventually(() => one.standing?.newestAt ?? two.standing?.newestAt);
    // Both have checked by then.
    await eventually(async () => (await sessions()) === 1);
    expect([one, two].map(({ standing }) => standing).filter(Boolean)).toHaveLength(1);
    expect(await complete()).toHaveLength(1);
  });

  it('that fail are reported and retried, and leave the older ones alone', async () => {
    const before = await backUp({ url: database.url, to: folder, findTool, scheduled: true, waylog: 'test' });
    await age(before.file, 30);
    let isBroken = true;
    const failing: FindTool = (url, tool, args) =>
      findTool(url, tool, [...args, ...(isBroken ? ['--no-such-option'] : [])]);
    const schedule = start({ findTool: failing, keep: 1 });
    await eventually(() => schedule.standing?.problem?.includes('failed'));
    expect(schedule.standing?.problem).toMatch(/^The last scheduled backup failed: .*no-such-option/s);
    expect((await complete()).map(({ file }) => file)).toEqual([before.file]);
    isBroken = false;
    await eventually(() => schedule.standing && !schedule.standing.problem);
    await eventually(async () => (await complete()).length === 1);
    expect((await complete())[0]?.file).not.toBe(before.file);
  });

  it('report a missing folder, and create none', async () => {
    const gone = join(folder, 'not-mounted');
    const schedule = start({ folder: gone });
    await eventually(() => schedule.standing?.problem);
    expect(schedule.standing?.problem).toContain(gone);
    expect(await readdir(folder)).toEqual([]);
    await mkdir(gone);
    await eventually(() => schedule.standing && !schedule.standing.problem);
  });

  it('report a damaged one until it is moved away', async () => {
    const schedule = start();
    const next = async (count: number) => {
      await eventually(async () => (await complete()).length === count);
      return (await complete())[0]!.file;
    };
    const first = await next(1);
    await age(first, 4);
    const second = await next(2);
    const bytes = await readFile(second);
    bytes[100]! ^= 1;
    await writeFile(second, bytes);
    await age(second, 2);
    const third = await next(3);
    await eventually(() => schedule.standing?.problem?.includes(`do not count: ${second}.`));
    expect((await complete()).map(({ file }) => file)).toEqual([third, second, first]);
    await rm(second);
    await eventually(() => !schedule.standing?.problem);
  });

  it('that do not end are reported when they are late', async () => {
    const before = await backUp({ url: database.url, to: folder, findTool, scheduled: true, waylog: 'test' });
    const createdAt = await age(before.file, 30);
    // pg_dump waits as long as another session locks a table.
    const client = await database.pool.connect();
    await client.query('begin; lock table flight.flights in access exclusive mode');
    try {
      const schedule = start({ everyMs: 24 * HOUR });
      await eventually(() => schedule.standing?.newestAt);
      expect(schedule.standing).not.toHaveProperty('problem');
      await schedule.stop();
      const late = start({ everyMs: 12 * HOUR });
      await eventually(() => late.standing?.newestAt);
      expect(late.standing?.problem).toContain(`The newest complete backup is of ${createdAt}`);
      // It does not delay a stop either.
      await late.stop();
    } finally {
      await client.query('rollback');
      client.release();
    }
    expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('are reported missing if the owner is not known', async () => {
    const schedule = start({ url: undefined });
    expect(said).toEqual([
      expect.stringMatching(/^WAYLOG_BACKUP_INTERVAL asks this server for backups, and it makes none/),
    ]);
    expect(schedule.standing).toEqual({ problem: said[0] });
    await schedule.stop();
  });
});
