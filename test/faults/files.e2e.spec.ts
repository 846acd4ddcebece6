import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataKeys, openEventStore } from '#lib/event-store';
import { collectGarbage, DiskFileStore } from '#lib/files';
import { ReferencesInLog } from '#lib/waylog';
import { albums, filesAt } from '../../libs/files/src/testing/albums.js';
import { eventsOfCategory } from '../../libs/event-store/src/testing/persons.js';
import { migrate } from '../../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { OwnServer } from '../support/own-server.js';
import { Programs, restartAgainAndAgain, ROUNDS, stepsOf, untilMore, whileFrozen } from './programs.js';

const DAY = 86_400_000;
/** What a client sends again: a collection without any grace was quicker. */
const TAKEN_MEANWHILE = ['file.taken-meanwhile', 'file.not-finished'];
const OUTAGES = ['database.unavailable'];

/** Where a process can die that stores a file: written, flushed, renamed, its folders flushed, recorded, looked at again. */
const STEPS_OF_STORING = [
  'during file write',
  'before file sync',
  'after file sync',
  'before file rename .unfinished',
  'during file rename .unfinished',
  'after file rename .unfinished',
  'before append Stored',
  'during append Stored',
  'after append Stored',
  'after append Erased',
];
/** And one that removes files: taken out of sight, needed after all or deleted, brought back in two steps. */
const STEPS_OF_COLLECTING = [
  'before file rename .removed',
  'after file rename .removed',
  'before file unlink .removed',
  'after file unlink .removed',
  'before file link .removed',
  'after file link .removed',
  'before file rmdir .removed',
  'after file rmdir .removed',
];

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.named('fault-files');
});
afterAll(() => server.down());

describe.each(logs)('files with the log in %s', (log) => {
  let database: TestDatabase;
  let folder: string;
  let programs: Programs;
  let stored: { readonly streamId: string; readonly sha256: string }[];
  let erasing: Set<string>;
  let removed: number;
  let refused: Set<string>;
  beforeEach(async () => {
    [stored, erasing, removed, refused] = [[], new Set(), 0, new Set()];
    database = await testDatabase(log, migrate, server.url);
    folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    programs = new Programs((said, subject = '', sha256 = '') => {
      if (said === 'stored') stored.push({ streamId: subject, sha256 });
      if (said === 'erasing') erasing.add(subject);
      if (said === 'removed') removed += Number(subject);
      if (said === 'refused') refused.add(subject);
    });
  });
  afterEach(async () => {
    await programs.killAll();
    await database.drop();
    await rm(folder, { recursive: true });
  });

  const PROGRAM = 'storing-process';
  type Part = 'store' | 'collect';
  const args = (part: Part, graceMs: number) => [
    ...[part, database.url, database.eventStore ?? ''],
    ...[folder, String(graceMs)],
  ];
  const start = (part: Part, graceMs: number) => programs.start(PROGRAM, args(part, graceMs));
  const more = (count: number) => untilMore(count, () => stored.length);

  /** What the events of the log need, read as anybody can, and what lies in the folder. */
  const look = async () => {
    await programs.killAll();
    expect(programs.ended).toEqual([]);
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
    expect(files.filter(({ isWhole }) => !isWhole)).toEqual([]);
    return { store, events, erased, needed, files };
  };

  /** Every event has its file, if collections leave new files alone. */
  async function checkNeeded(codes: readonly string[] = []): Promise<void> {
    const { store, events, needed, files } = await look();
    const there = new Set(files.map(({ name }) => name));
    expect(needed.length).toBeGreaterThan(20);
    expect(needed.filter((sha256) => !there.has(sha256))).toEqual([]);
    const streams = new Set(events.map(({ streamId }) => streamId));
    expect(stored.filter(({ streamId }) => !streams.has(streamId))).toEqual([]);
    expect([...refused].filter((code) => !codes.includes(code))).toEqual([]);
    // Two days later, what no event needs goes, and nothing else does.
    const references = new ReferencesInLog(store, albums);
    await collectGarbage(new DiskFileStore(folder), references, { graceMs: DAY, now: Date.now() + 2 * DAY });
    expect((await filesAt(folder)).map(({ name }) => name).sort()).toEqual([...new Set(needed)].sort());
    await store.close();
  }

  /** Who was told that a file is there has it, whatever collections do. */
  async function checkTold(codes: readonly string[] = TAKEN_MEANWHILE): Promise<void> {
    const { store, erased } = await look();
    expect(removed).toBeGreaterThan(0);
    // What a killed collection has left out of sight, whoever asks for it finds.
    const place = new DiskFileStore(folder);
    const lost = [];
    for (const { streamId, sha256 } of stored)
      if (!erased.has(streamId) && !erasing.has(streamId) && !(await place.stat(sha256))) lost.push(sha256);
    expect(lost).toEqual([]);
    expect([...refused].filter((code) => !codes.includes(code))).toEqual([]);
    await store.close();
  }

  describe('are whole, and there for every event, while', () => {
    it('processes are killed at any point', async () => {
      const processes = [start('store', DAY), start('store', DAY), start('collect', DAY)];
      await more(10);
      for (let round = 0; round < ROUNDS; round++) {
        const which = round % 3;
        processes[which]?.kill('SIGKILL');
        processes[which] = start(which === 2 ? 'collect' : 'store', DAY);
        await more(3 + Math.floor(Math.random() * 5));
      }
      await checkNeeded();
    });

    it('processes die at every step', async () => {
      start('store', DAY);
      start('collect', DAY);
      for (const step of stepsOf(log, STEPS_OF_STORING))
        await programs.dieAt(step, PROGRAM, args('store', DAY));
      await more(20);
      await checkNeeded();
    });

    it('the database restarts and crashes', async () => {
      for (const part of ['store', 'store', 'collect'] as const) start(part, DAY);
      await more(10);
      await programs.ready();
      await restartAgainAndAgain(server, () => more(10));
      await checkNeeded(OUTAGES);
    });
  });

  describe('are there for everybody who was told so, although they are collected without any grace, while', () => {
    it('processes are killed and frozen', async () => {
      const processes = [start('store', 0), start('store', 0), start('collect', 0), start('collect', 0)];
      await more(10);
      for (let round = 0; round < ROUNDS; round++) {
        const which = round % 4;
        if (round % 3 === 0) {
          processes[which]?.kill('SIGKILL');
          processes[which] = start(which >= 2 ? 'collect' : 'store', 0);
          await more(5);
        } else {
          await whileFrozen(processes[which], () => more(5));
        }
      }
      await more(10);
      await checkTold();
    });

    it('processes die at every step', async () => {
      // What is to die alone collects, so that there is something to collect.
      for (const part of ['store', 'store'] as const) start(part, 0);
      for (const step of stepsOf(log, STEPS_OF_COLLECTING))
        await programs.dieAt(step, PROGRAM, args('collect', 0), 1);
      start('collect', 0);
      await more(10);
      await eventually(() => removed > 0);
      await checkTold();
    });

    it('the database restarts and crashes', async () => {
      for (const part of ['store', 'store', 'collect', 'collect'] as const) start(part, 0);
      await more(10);
      await programs.ready();
      await restartAgainAndAgain(server, () => more(10));
      await checkTold([...TAKEN_MEANWHILE, ...OUTAGES]);
    });
  });
});
