import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DataKeys, openEventStore } from '#lib/event-store';
import { collectGarbage, DiskFileStore } from '#lib/files';
import { ReferencesInLog } from '#lib/waylog';
import { albums, filesAt } from '../libs/files/src/testing/albums.js';
import { eventsOfCategory } from '../libs/event-store/src/testing/persons.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';

const DAY = 86_400_000;
const ROUNDS = 14;
/** What a client sends again: a collection without any grace was quicker. */
const EXPECTED = ['file.taken-meanwhile', 'file.not-finished'];

describe.each(logs)('files of processes that are killed and frozen, with the log in %s', (log) => {
  let database: TestDatabase;
  let folder: string;
  const children = new Set<ChildProcess>();
  let stored: { readonly streamId: string; readonly sha256: string }[];
  let erasing: Set<string>;
  let removed: number;
  let refused: string[];
  beforeEach(async () => {
    [stored, erasing, removed, refused] = [[], new Set(), 0, []];
    database = await testDatabase(log);
    folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await eventually(() => children.size === 0);
    await database.drop();
    await rm(folder, { recursive: true });
  });

  function start(what: 'store' | 'collect', graceMs: number): ChildProcess {
    const args = ['dist/test/support/storing-process.js', what, database.url, database.eventStore ?? ''];
    const child = spawn(process.execPath, [...args, folder, String(graceMs)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.add(child);
    child.once('exit', () => children.delete(child));
    createInterface(child.stdout).on('line', (line) => {
      const [said, subject = '', sha256 = ''] = line.split(' ');
      if (said === 'stored') stored.push({ streamId: subject, sha256 });
      if (said === 'erasing') erasing.add(subject);
      if (said === 'removed') removed += Number(subject);
      if (said === 'refused') refused.push(subject);
    });
    return child;
  }
  const more = async (count: number) => {
    const before = stored.length;
    await eventually(
      () => stored.length >= before + count,
      () => stored.length,
    );
  };
  const endAll = async () => {
    for (const child of children) child.kill('SIGKILL');
    await eventually(() => children.size === 0);
  };

  /** What the events of the log need, read as anybody can, and what lies in the folder. */
  const look = async () => {
    const store = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      vocabulary: albums,
      keys: new DataKeys(database.pool),
    });
    const events = await eventsOfCategory(store, 'album');
    const erased = new Set(events.flatMap(({ type, streamId }) => (type === 'Erased' ? [streamId] : [])));
    const needed = events.flatMap(({ type, streamId, data }) =>
      type === 'Stored' && !erased.has(streamId) ? [data['sha256'] as string] : [],
    );
    const files = await filesAt(folder);
    const there = new Set(files.map(({ name }) => name));
    return { store, events, erased, needed, files, there };
  };

  it('are whole, and there for every event, while processes are killed at any point', async () => {
    const processes = [start('store', DAY), start('store', DAY), start('collect', DAY)];
    await more(10);
    for (let round = 0; round < ROUNDS; round++) {
      const which = round % 3;
      processes[which]?.kill('SIGKILL');
      processes[which] = start(which === 2 ? 'collect' : 'store', DAY);
      await more(3 + Math.floor(Math.random() * 5));
    }
    await endAll();
    const { store, events, needed, files, there } = await look();
    expect(needed.length).toBeGreaterThan(20);
    expect(files.filter(({ isWhole }) => !isWhole)).toEqual([]);
    expect(needed.filter((sha256) => !there.has(sha256))).toEqual([]);
    for (const { streamId } of stored) expect(events.some((event) => event.streamId === streamId)).toBe(true);
    expect(refused).toEqual([]);
    // Two days later, what no event needs goes, and nothing else does.
    const references = new ReferencesInLog(store, albums);
    await collectGarbage(new DiskFileStore(folder), references, { graceMs: DAY, now: Date.now() + 2 * DAY });
    expect((await filesAt(folder)).map(({ name }) => name).sort()).toEqual([...new Set(needed)].sort());
    await store.close();
  });

  it('are there for everybody who was told so, although they are collected without any grace', async () => {
    const processes = [start('store', 0), start('store', 0), start('collect', 0), start('collect', 0)];
    await more(10);
    for (let round = 0; round < ROUNDS; round++) {
      const which = round % 4;
      if (round % 3 === 0) {
        processes[which]?.kill('SIGKILL');
        processes[which] = start(which >= 2 ? 'collect' : 'store', 0);
        await more(5);
      } else {
        processes[which]?.kill('SIGSTOP');
        await more(5);
        processes[which]?.kill('SIGCONT');
      }
    }
    await more(10);
    await endAll();
    const { store, erased, files } = await look();
    expect(removed).toBeGreaterThan(0);
    expect(files.filter(({ isWhole }) => !isWhole)).toEqual([]);
    // What a killed collection has left out of sight, whoever asks for it finds.
    const place = new DiskFileStore(folder);
    const lost = [];
    for (const { streamId, sha256 } of stored)
      if (!erased.has(streamId) && !erasing.has(streamId) && !(await place.stat(sha256))) lost.push(sha256);
    expect(lost).toEqual([]);
    expect(refused.filter((code) => !EXPECTED.includes(code))).toEqual([]);
    await store.close();
  });
});
