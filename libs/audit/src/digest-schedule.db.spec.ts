import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { v7 } from 'uuid';
import { PostgresEventStore } from '#lib/event-store';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { DigestSchedule, newKeyPair, signingKey, storedDigests } from './index.js';
import { eventually } from '../../../test/support/eventually.js';

const key = signingKey(newKeyPair().privateKey);

describe('the schedule of digests', () => {
  let database: TestDatabase;
  let store: PostgresEventStore;
  let folder: string;
  let schedule: DigestSchedule | undefined;
  const append = async (streamId: string, count: number) => {
    const events = Array.from({ length: count }, () => {
      const id = v7();
      const metadata = { commandId: id, correlationId: id, causationId: id, command: 'Note', actor: 'a' };
      return { id, type: 'Noted', schemaVersion: 1, data: {}, metadata };
    });
    await store.append([{ streamId, expectedRevision: 'any', events }]);
  };
  const start = (more: { everyEvents?: number; everyMs?: number } = {}) => {
    const warnings: string[] = [];
    schedule = new DigestSchedule({
      pool: database.pool,
      key,
      folder,
      vocabulary: {},
      everyMs: 86_400_000,
      everyEvents: 0,
      roundMs: 7 * 86_400_000,
      lookMs: 5,
      log: { info: () => undefined, warn: (message) => warnings.push(message) },
      ...more,
    });
    schedule.start();
    return warnings;
  };
  const digests = async () => (await storedDigests(database.pool)).length;
  const until = async (is: () => boolean | Promise<boolean>) => {
    await eventually(() => is());
  };

  beforeEach(async () => {
    database = await testDatabase();
    store = new PostgresEventStore({ pool: database.pool, listener: database.listener });
    folder = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
    await append('a', 3);
  });
  afterEach(async () => {
    await schedule?.stop();
    await store.close();
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it('takes a digest as soon as there are enough events, before the day is over', async () => {
    start({ everyEvents: 3 });
    await until(async () => (await digests()) === 1);
    await append('a', 2);
    await append('b', 1);
    await until(async () => (await digests()) === 2);
  });

  it('takes a digest in every interval', async () => {
    start({ everyMs: 100 });
    await until(async () => (await digests()) === 1);
    await append('a', 1);
    await until(async () => (await digests()) === 2);
  });

  it('takes no digest if another process has taken it, but still checks the log', async () => {
    start();
    await until(async () => (await digests()) === 1);
    await schedule?.stop();
    await append('a', 1);
    await database.pool.query(`update log.events set data = '{"n":1}' where position = 4`);
    const warnings = start();
    await until(() => (schedule?.problems ?? 0) > 0);
    expect(warnings[0]).toContain('the event at revision 3');
    await database.pool.query(`update log.events set data = '{}' where position = 4`);
    // It is checked again until it is repaired.
    await until(() => schedule?.problems === 0);
    expect(await digests()).toBe(1);
  });

  it.each([
    ['the digest that it has taken is gone', `truncate log.digests, log.digest_heads`],
    ['the log ends before where it has seen it', `delete from log.events where position = 3`],
  ])('raises an alert when %s', async (_, tampering) => {
    start({ everyMs: 50 });
    await until(async () => (await digests()) === 1);
    await database.pool.query(tampering);
    await until(() => (schedule?.problems ?? 0) > 0);
  });

  it('reports for how long checks have failed, for any reason, and when the last one completed', async () => {
    const warnings = start({ everyMs: 50 });
    expect(schedule?.lookedMsAgo).toBeUndefined();
    await until(async () => (await digests()) === 1);
    await database.pool.query('alter table log.streams rename column stream_id to other');
    await until(() => warnings.length > 0);
    const stalled: number[] = [];
    await until(() => {
      stalled.push(schedule?.stalledMs ?? 0);
      return warnings.length > 5;
    });
    // One failure or many: the time counts from the first.
    expect(stalled).toEqual(stalled.toSorted((a, b) => a - b));
    expect(stalled.at(-1)).toBeGreaterThan(0);
    expect(schedule?.lookedMsAgo).toBeGreaterThanOrEqual(schedule?.stalledMs ?? 0);
    expect(schedule?.problems).toBe(0);
    await database.pool.query('alter table log.streams rename column other to stream_id');
    await until(() => schedule?.stalledMs === 0);
    expect(warnings[0]).toContain('stream_id');
  });

  it('reports a check that neither fails nor makes progress', async () => {
    start({ everyMs: 50 });
    await until(async () => (await digests()) === 1);
    const client = await database.pool.connect();
    await client.query('begin; lock table log.events in access exclusive mode');
    await until(() => (schedule?.stalledMs ?? 0) > 200);
    await client.query('rollback');
    client.release();
    await until(() => schedule?.stalledMs === 0);
  });

  it('raises an alert when the folder cannot be read as one of digests', async () => {
    const real = folder;
    folder = join(real, 'a-file');
    await writeFile(folder, '');
    start();
    await until(() => (schedule?.problems ?? 0) > 0);
    folder = real;
  });
});
