import { applyRetention, capabilities, Hypertables, retainedSince, type TableModel } from '#lib/timescale';
import { testDatabase, type TestDatabase } from './support/database.js';

const DAY = 86_400_000;
/** A Thursday, on which chunks of a week begin. */
const EPOCH = Date.UTC(2026, 0, 1);
const day = (n: number): string => new Date(EPOCH + n * DAY).toISOString();

describe('operating hypertables', () => {
  let database: TestDatabase;
  let tables = 0;
  let hypertables: Hypertables;
  const models: TableModel[] = [{ schema: 'flight', name: 'frame_results', timeColumn: 'timestamp' }];
  beforeAll(async () => {
    database = await testDatabase();
    hypertables = new Hypertables(database.pool, models);
  });
  afterAll(() => database.drop());
  const sql = async <T extends object>(text: string, values: unknown[] = []) =>
    (await database.pool.query<T>(text, values)).rows;

  /** A plain table of a registered model with a row per day. */
  const aTable = async (days = 0, key = 'device, at') => {
    const name = `readings_${++tables}`;
    await sql(
      `create table public.${name} (device text not null, at timestamptz not null, value double precision, primary key (${key}))`,
    );
    await sql(
      `insert into public.${name} select 'd', $1::timestamptz + n * interval '1 day', n from generate_series(0, $2 - 1) n`,
      [day(0), days],
    );
    models.push({ schema: 'public', name, timeColumn: 'at' });
    return `public.${name}`;
  };
  const aHypertable = async (days = 0, more: object = {}) => {
    const tableName = await aTable(days);
    await hypertables.create({ tableName, timeColumn: 'at', migrateData: true, ...more });
    return tableName;
  };
  const count = async (table: string) =>
    Number((await sql<{ n: string }>(`select count(*) as n from ${table}`))[0]?.n);
  const edition = async () => capabilities(database.pool);

  it('lists them with size, chunks, compression and retention', async () => {
    const tableName = await aHypertable(30, { chunkInterval: '7 days' });
    await sql(`analyze ${tableName}`);
    const info = await hypertables.get(tableName);
    expect(info).toMatchObject({
      tableName,
      timeColumn: 'at',
      chunkInterval: '7 days',
      compressionEnabled: false,
      chunkCount: 5,
      compressedChunks: 0,
      rowEstimate: 30,
      retention: { enabled: false, retentionPeriodDays: 0 },
    });
    const [{ bytes } = { bytes: '' }] = await sql<{ bytes: string }>(
      `select sum(pg_total_relation_size(c))::text as bytes from show_chunks($1::text::regclass) c`,
      [tableName],
    );
    // The empty root has a few pages of its own.
    expect(info.sizeBytes).toBeGreaterThanOrEqual(Number(bytes));
    expect((await hypertables.list()).map((table) => table.tableName)).toContain('flight.frame_results');
    expect(info.compression.available).toBe((await edition()).compression.available);
    if (!info.compression.available) expect(info.compression.reason).toMatch(/Apache edition/);
  });

  it('shows the chunks with their ranges and bytes', async () => {
    const tableName = await aHypertable(10, { chunkInterval: '1 week' });
    const chunks = await hypertables.chunks(tableName);
    expect(chunks).toMatchObject([
      { tableName, rangeStart: day(0), rangeEnd: day(7), compressed: false },
      { tableName, rangeStart: day(7), rangeEnd: day(14), compressed: false },
    ]);
    for (const { sizeBytes } of chunks) expect(sizeBytes).toBeGreaterThan(8_000);
  });

  it('makes one of an empty table, and of one with rows only if told to move them', async () => {
    const empty = await aTable();
    expect(await hypertables.create({ tableName: empty, timeColumn: 'at' })).toMatchObject({
      success: true,
      hypertableCreated: true,
      chunkInterval: '7 days',
      retentionPolicy: { enabled: false },
    });
    const full = await aTable(20);
    await expect(hypertables.create({ tableName: full, timeColumn: 'at' })).rejects.toMatchObject({
      code: 'hypertable.has-rows',
      message: expect.stringContaining('migrateData') as string,
    });
    await hypertables.create({
      tableName: full,
      timeColumn: 'at',
      chunkInterval: '1 day',
      migrateData: true,
    });
    expect(await count(full)).toBe(20);
    expect(await hypertables.chunks(full)).toHaveLength(20);
  });

  it('refuses a table that is not a registered model, is missing, or is one already', async () => {
    await sql(`create table public.stranger (at timestamptz primary key)`);
    await expect(
      hypertables.create({ tableName: 'public.stranger', timeColumn: 'at' }),
    ).rejects.toMatchObject({ code: 'hypertable.unknown-model', kind: 'not-found' });
    models.push({ schema: 'public', name: 'nowhere' });
    await expect(hypertables.create({ tableName: 'nowhere', timeColumn: 'at' })).rejects.toMatchObject({
      code: 'hypertable.table-missing',
    });
    const tableName = await aHypertable();
    await expect(hypertables.create({ tableName, timeColumn: 'at' })).rejects.toMatchObject({
      code: 'hypertable.exists',
      kind: 'conflict',
    });
    const plain = await aTable();
    await expect(hypertables.get(plain)).rejects.toMatchObject({ code: 'hypertable.not-found' });
  });

  it('refuses a unique key without the time column, and names it', async () => {
    const tableName = await aTable(0, 'device');
    await expect(hypertables.create({ tableName, timeColumn: 'at' })).rejects.toMatchObject({
      code: 'hypertable.key-without-time',
      message: expect.stringMatching(/unique key readings_\d+_pkey \(device\) lacks that column/) as string,
    });
  });

  it('refuses a column that is not a time, and an invalid interval', async () => {
    const tableName = await aTable();
    for (const [request, field] of [
      [{ timeColumn: 'value' }, 'timeColumn'],
      [{ timeColumn: 'nothing' }, 'timeColumn'],
      [{ timeColumn: 'at', chunkInterval: 'a while' }, 'chunkInterval'],
      [{ timeColumn: 'at', chunkInterval: '10000 years' }, 'chunkInterval'],
      [{ timeColumn: 'at', retentionPeriod: '-3 days' }, 'retentionPeriod'],
    ] as const) {
      await expect(hypertables.create({ tableName, ...request })).rejects.toMatchObject({
        code: 'input.invalid',
        data: { errors: [{ field }] },
      });
    }
    await expect(hypertables.get(tableName)).rejects.toMatchObject({ code: 'hypertable.not-found' });
  });

  it('changes the chunk interval for new chunks', async () => {
    const tableName = await aHypertable(7);
    expect(await hypertables.change(tableName, { chunkInterval: '1 day' })).toMatchObject({
      success: true,
      chunkInterval: '1 day',
    });
    await sql(`insert into ${tableName} values ('d', $1, 1)`, [day(100)]);
    expect((await hypertables.chunks(tableName)).at(-1)).toMatchObject({
      rangeStart: day(100),
      rangeEnd: day(101),
    });
  });

  it('says why nothing is compressed, if the edition cannot', async () => {
    const can = await edition();
    const tableName = await aTable(10);
    const made = await hypertables.create({
      tableName,
      timeColumn: 'at',
      migrateData: true,
      compressionEnabled: true,
    });
    expect(made).toMatchObject(
      can.compression.available
        ? { success: true, hypertableCreated: true, compressionPolicy: { enabled: true } }
        : {
            success: false,
            hypertableCreated: true,
            errorMessage: expect.stringMatching(/not compressed: the Apache edition/) as string,
            compressionPolicy: { enabled: false, available: false },
          },
    );
  });

  it('drops chunks only when confirmed, and lists them on a dry run', async () => {
    const tableName = await aHypertable(30);
    const olderThan = day(15);
    const plan = await hypertables.dropChunks(tableName, { olderThan, dryRun: true });
    expect(plan).toMatchObject({ dryRun: true, chunks: [{ rangeEnd: day(7) }, { rangeEnd: day(14) }] });
    for (const confirm of [undefined, 'yes', tableName.replace('public.', '')]) {
      await expect(hypertables.dropChunks(tableName, { olderThan, confirm })).rejects.toMatchObject({
        code: 'hypertable.unconfirmed',
      });
    }
    expect(await count(tableName)).toBe(30);
    expect((await retainedSince(database.pool)).has(tableName)).toBe(false);

    const done = await hypertables.dropChunks(tableName, { olderThan, confirm: tableName });
    expect({ ...done, dryRun: true, notes: [] }).toEqual({ ...plan, notes: [] });
    expect(done.notes.join()).toMatch(/The log keeps every event/);
    expect(await count(tableName)).toBe(16);
    expect((await retainedSince(database.pool)).get(tableName)).toEqual(new Date(day(14)));
    expect(await hypertables.get(tableName)).toMatchObject({ chunkCount: 3, retainedSince: day(14) });
  });

  it('gives up on a chunk that a long transaction reads, without a change', async () => {
    const tableName = await aHypertable(10);
    const reader = await database.pool.connect();
    try {
      await reader.query('begin');
      await reader.query(`select from ${tableName}`);
      await expect(
        hypertables.dropChunks(tableName, { olderThan: day(20), confirm: tableName }),
      ).rejects.toMatchObject({ code: 'hypertable.in-use' });
    } finally {
      await reader.query('rollback');
      reader.release();
    }
    expect(await count(tableName)).toBe(10);
    expect((await retainedSince(database.pool)).has(tableName)).toBe(false);
  });

  it('scheduled retention drops what is too old, records it, and continues after a table that fails', async () => {
    const can = await edition();
    const tableName = await aHypertable(30);
    const changed = await hypertables.change(tableName, { retentionPeriod: '10 days' });
    expect(changed).toMatchObject({
      success: true,
      retentionPolicy: {
        enabled: true,
        retentionPeriodDays: 10,
        mechanism: can.retentionPolicies.available ? 'policy' : 'schedule',
      },
    });
    expect(changed.notes.join()).toMatch(/A rebuild of .* brings them back/);
    if (can.retentionPolicies.available) return;
    await sql(
      `insert into timescale.hypertables (table_schema, table_name, retention) values ('public', 'gone', '1 day')`,
    );

    const runs = await applyRetention(database.pool, new Date(day(25)));
    expect(runs).toMatchObject([
      { tableName: 'public.gone', dropped: [], error: expect.stringContaining('does not exist') as string },
      { tableName, dropped: [{ rangeStart: day(0) }, { rangeStart: day(7), rangeEnd: day(14) }] },
    ]);
    expect(runs[1]).not.toHaveProperty('error');
    expect(await count(tableName)).toBe(16);
    expect(await hypertables.get(tableName)).toMatchObject({
      retainedSince: day(14),
      retention: { lastRunAt: expect.any(String) as string },
    });
    expect(await sql(`select last_error from timescale.hypertables where table_name = 'gone'`)).toEqual([
      { last_error: expect.stringContaining('does not exist') as string },
    ]);

    await hypertables.change(tableName, { retentionPeriod: 'none' });
    await sql(`delete from timescale.hypertables where table_name = 'gone'`);
    expect(await applyRetention(database.pool, new Date(day(400)))).toEqual([]);
    expect(await count(tableName)).toBe(16);
  });

  it('creates removed policies and compression again, and reports it', async () => {
    if (!(await edition()).compression.available) return;
    const tableName = await aHypertable(10);
    expect(await hypertables.change(tableName, { retentionPeriod: '5000 days' })).toMatchObject({
      success: true,
    });
    // Alone it means that chunks are to be compressed.
    expect(await hypertables.change(tableName, { compressAfter: '20 days' })).toMatchObject({
      compressionPolicy: { enabled: true, compressAfter: '20 days' },
    });
    expect(await applyRetention(database.pool)).toEqual([]);
    await sql(`select compress_chunk(c) from show_chunks($1::text::regclass) c`, [tableName]);
    await sql(`select remove_retention_policy($1::text::regclass)`, [tableName]);
    await sql(`select remove_compression_policy($1::text::regclass)`, [tableName]);
    expect(await applyRetention(database.pool)).toEqual([
      { tableName, dropped: [], restored: ['retention of 5000 days', 'compression after 20 days'] },
    ]);
    expect(
      await sql(
        `select proc_name from timescaledb_information.jobs where hypertable_schema || '.' || hypertable_name = $1`,
        [tableName],
      ),
    ).toHaveLength(2);
    expect(await applyRetention(database.pool)).toEqual([]);
    expect(await hypertables.change(tableName, { compressAfter: '25 days' })).toMatchObject({
      compressionPolicy: { enabled: true, compressAfter: '25 days' },
    });
    await hypertables.change(tableName, { compressionEnabled: false, retentionPeriod: 'none' });
    expect(await count(tableName)).toBe(10);
  });

  it('knows which chunks a policy has dropped, also when it is shortened, and nothing else', async () => {
    if (!(await edition()).retentionPolicies.available) return;
    const tableName = await aHypertable(30);
    await hypertables.change(tableName, { retentionPeriod: '1 day' });
    await sql(
      `select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where proc_name = 'policy_retention'`,
    );
    const notes = () =>
      sql<{ range_end: Date }>(
        `select range_end from timescale.dropped_ranges where table_schema || '.' || table_name = $1 order by 1`,
        [tableName],
      );
    const [job] = await sql<{ id: number }>(
      `select job_id as id from timescaledb_information.jobs
        where proc_name = 'policy_retention' and hypertable_schema || '.' || hypertable_name = $1`,
      [tableName],
    );
    // Lets it drop only the first two weeks.
    const reach = Math.ceil((Date.now() - EPOCH) / DAY) - 15;
    await sql(
      `select alter_job($1, config => config || jsonb_build_object('drop_after', $2::text))
                 from timescaledb_information.jobs where job_id = $1`,
      [job?.id, `${reach} days`],
    );
    await sql(`call run_job(${job?.id})`);
    expect(await count(tableName)).toBe(16);
    await hypertables.change(tableName, { retentionPeriod: `${reach + 1000} days` });
    expect((await notes()).map(({ range_end }) => range_end.toISOString())).toEqual([day(7), day(14)]);
    // By hand, outside the range of the policy: it does not count as dropped on purpose.
    await sql(`select drop_chunks($1::text::regclass, older_than => $2::timestamptz)`, [tableName, day(21)]);
    await applyRetention(database.pool);
    await hypertables.change(tableName, { retentionPeriod: 'none' });
    expect(await notes()).toHaveLength(2);
    expect((await retainedSince(database.pool)).get(tableName)).toEqual(new Date(day(14)));
  });

  it('scheduled retention leaves the work to the process that already does it', async () => {
    if ((await edition()).retentionPolicies.available) return;
    const tableName = await aHypertable(10);
    await hypertables.change(tableName, { retentionPeriod: '1 day' });
    const other = await database.pool.connect();
    try {
      await other.query(`select pg_advisory_lock(7239100406)`);
      expect(await applyRetention(database.pool)).toEqual([]);
      expect(await count(tableName)).toBe(10);
    } finally {
      await other.query(`select pg_advisory_unlock(7239100406)`);
      other.release();
    }
    expect(await applyRetention(database.pool)).toHaveLength(1);
    expect(await count(tableName)).toBe(0);
  });
});
