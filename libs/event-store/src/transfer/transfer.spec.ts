import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decompress } from 'fzstd';
import { v7 as uuidv7 } from 'uuid';
import type { AppendRequest, EventStore, NewEvent, RecordedEvent } from '../event-store.js';
import { InMemoryEventStore } from '../in-memory/in-memory-event-store.js';
import { collect, numbered } from '../testing/event-store.contract.js';
import { exportLog, type ExportOptions } from './export-log.js';
import { checksum, eventLine } from './format.js';
import { importLog } from './import-log.js';
import { compressLines, linesOf } from './lines.js';

describe('a log as a file', () => {
  let folder: string;
  let source: InMemoryEventStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-transfer-'));
    source = new InMemoryEventStore();
    // Interleaved, as in real use.
    for (let n = 0; n < 30; n++) {
      for (const stream of ['a', 'b', 'ü 3']) await append(source, stream, [numbered(n), odd(n)]);
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  const odd = (n: number): NewEvent => ({
    ...numbered(n),
    data: { n, text: 'line\nbreak "quoted" \u2028 🚁', nested: { list: [1.5, null, true, -0.1] } },
  });
  const append = async (store: EventStore, streamId: string, events: NewEvent[]) =>
    store.append([{ streamId, expectedRevision: 'any', events }]);
  const all = (store: EventStore) => store.readAll({ limit: 1_000_000 });
  /** What must be the same in another store. */
  const kept = (events: RecordedEvent[]) => events.map(({ position: _p, recordedAt: _r, ...event }) => event);
  const byStream = (events: RecordedEvent[]) =>
    Object.fromEntries(
      [...new Set(events.map(({ streamId }) => streamId))].map((id) => [
        id,
        kept(events.filter(({ streamId }) => streamId === id)),
      ]),
    );
  let files = 0;
  const newFile = () => join(folder, `${++files}.ndjson.zst`);
  const linesFrom = (options: Partial<ExportOptions> = {}) =>
    collect(exportLog({ store: source, from: 'test', ...options }));
  async function fileOf(lines: readonly string[]): Promise<string> {
    const file = newFile();
    const given = (async function* () {
      yield* await Promise.resolve(lines);
    })();
    await writeFile(file, Buffer.concat(await collect(compressLines(given))));
    return file;
  }
  const importFile = (file: string, store: EventStore = new InMemoryEventStore()) =>
    importLog({ file, store, vocabulary: { thing: {} } });
  it('counts what an import does not bring: what claims keep unique, and files', async () => {
    const clips = new InMemoryEventStore();
    const [clip, taken] = ['ClipStored', 'ClaimTaken'].map((type, n) => ({ ...numbered(n), type }));
    await append(clips, 'clip-1', [clip as NewEvent]);
    await append(clips, 'claim-name-12ab', [taken as NewEvent, { ...numbered(2), type: 'ClaimReleased' }]);
    const file = await fileOf(await linesFrom({ store: clips }));
    const vocabulary = { clip: { files: { ClipStored: () => [] } } };
    expect(await importLog({ file, store: new InMemoryEventStore(), vocabulary })).toMatchObject({
      recorded: 3,
      claims: 1,
      files: 1,
    });
  });

  const refused = async (file: string) => {
    const target = new InMemoryEventStore();
    const error = await importFile(file, target).then(
      () => undefined,
      (e: unknown) => e as Error & { code: string; data: { line?: number } },
    );
    expect(await all(target)).toEqual([]);
    return { code: error?.code, line: error?.data.line, message: error?.message };
  };

  it('is imported into another store with streams, revisions, ids, data and metadata as they were', async () => {
    const file = await fileOf(await linesFrom());
    const target = new InMemoryEventStore();
    expect(await importFile(file, target)).toMatchObject({
      events: 180,
      streams: 3,
      recorded: 180,
      already: 0,
      skipped: 0,
      conflicts: [],
      position: '180',
    });
    expect(byStream(await all(target))).toEqual(byStream(await all(source)));
  });

  it('is zstd that another library reads, and has JSON in every line', async () => {
    const file = await fileOf(await linesFrom());
    const text = Buffer.from(decompress(await readFile(file))).toString();
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toMatchObject({ waylogLog: 1, from: 'test', until: '180' });
    expect(lines.at(-1)).toMatchObject({ end: true, events: 180, streams: 3 });
    const [event] = await all(source);
    expect(lines[1]).toMatchObject({ ...event });
  });

  it('can be plain, too', async () => {
    const file = await fileOf(await linesFrom());
    await writeFile(`${file}.plain`, decompress(await readFile(file)));
    expect(await importFile(`${file}.plain`)).toMatchObject({ recorded: 180 });
  });

  it('that is larger than a block comes back complete, frame by frame', async () => {
    const store = new InMemoryEventStore();
    for (let n = 0; n < 60; n++) {
      const text = Array.from({ length: 2_000 }, () => uuidv7()).join();
      await append(store, `s${n % 7}`, [{ ...numbered(n), data: { text } }]);
    }
    const file = await fileOf(await linesFrom({ store }));
    const target = new InMemoryEventStore();
    expect(await importFile(file, target)).toMatchObject({ recorded: 60 });
    expect(byStream(await all(target))).toEqual(byStream(await all(store)));
  });

  it('holds only what was requested', async () => {
    const one = await importFile(await fileOf(await linesFrom({ streams: ['b'] })));
    expect(one).toMatchObject({ streams: 1, recorded: 60 });
    const lines = await linesFrom({ after: '170' });
    expect(lines).toHaveLength(12);
    await expect(linesFrom({ streams: ['b', 'nobody'] })).rejects.toMatchObject({
      code: 'log.no-such-stream',
    });
  });

  it('imported twice is recorded once', async () => {
    const file = await fileOf(await linesFrom());
    const target = new InMemoryEventStore();
    await importFile(file, target);
    expect(await importFile(file, target)).toMatchObject({ recorded: 0, already: 180, conflicts: [] });
    expect(await all(target)).toHaveLength(180);
  });

  it('continues an interrupted import, and an earlier export', async () => {
    const target = new InMemoryEventStore();
    const stop = new Error('cut off');
    // Dies after the first request of the first append: some streams are there in part, and some not at all.
    const dying = Object.assign(Object.create(target) as EventStore, {
      append: async ([first]: readonly AppendRequest[]) => {
        const half = first!.events.slice(0, 7);
        await target.append([{ ...first!, events: half }]);
        throw stop;
      },
    });
    const file = await fileOf(await linesFrom());
    await expect(importFile(file, dying)).rejects.toBe(stop);
    expect(await all(target)).toHaveLength(7);
    expect(await importFile(file, target)).toMatchObject({ recorded: 173, already: 7, conflicts: [] });
    expect(byStream(await all(target))).toEqual(byStream(await all(source)));

    await append(source, 'a', [numbered(99)]);
    expect(await importFile(await fileOf(await linesFrom()), target)).toMatchObject({
      recorded: 1,
      already: 180,
    });
    expect(byStream(await all(target))).toEqual(byStream(await all(source)));
  });

  it('does not touch a stream that has other events, reports where, and continues with the others', async () => {
    const target = new InMemoryEventStore();
    const events = (await all(source)).filter(({ streamId }) => streamId === 'b');
    await append(target, 'b', [...events.slice(0, 3), numbered(-1)]);
    const result = await importFile(await fileOf(await linesFrom()), target);
    expect(result.conflicts).toEqual([
      {
        streamId: 'b',
        revision: 3,
        line: expect.any(Number),
        reason: expect.stringContaining('the store has another event there'),
      },
    ]);
    expect(result).toMatchObject({ already: 3, skipped: 57 });
    const there = byStream(await all(target));
    expect(there['b']).toHaveLength(4);
    expect(there['a']).toEqual(byStream(await all(source))['a']);
  });

  it('that begins in the middle of a stream needs the events before it', async () => {
    const file = await fileOf(await linesFrom({ after: '170' }));
    const target = new InMemoryEventStore();
    const result = await importFile(file, target);
    expect(result.conflicts.map(({ reason }) => reason)).toEqual(
      Array(result.streams).fill(expect.stringContaining('does not have this stream')),
    );
    expect(await all(target)).toEqual([]);
  });

  it('with one bit changed is refused with the line, before anything is recorded', async () => {
    const lines = await linesFrom();
    const changed = lines.with(17, lines[17]!.replace('"n":', '"m":'));
    expect(await refused(await fileOf(changed))).toMatchObject({ code: 'log-file.damaged', line: 18 });
    const broken = lines.with(20, lines[20]!.slice(5));
    expect(await refused(await fileOf(broken))).toMatchObject({ code: 'log-file.damaged', line: 21 });
    const compressed = await fileOf(lines);
    const bytes = await readFile(compressed);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(compressed, bytes);
    expect(await refused(compressed)).toMatchObject({
      code: 'log-file.damaged',
      line: expect.any(Number),
    });
  });

  it('that lacks its end, a line or its header is refused', async () => {
    const lines = await linesFrom();
    expect(await refused(await fileOf(lines.slice(0, -1)))).toMatchObject({
      code: 'log-file.damaged',
      line: lines.length - 1,
      message: expect.stringContaining('cut off'),
    });
    expect(await refused(await fileOf(lines.toSpliced(40, 1)))).toMatchObject({ code: 'log-file.damaged' });
    // The last event of a stream: only the footer shows it.
    expect(await refused(await fileOf(lines.toSpliced(-2, 1)))).toMatchObject({
      message: expect.stringContaining('lines are missing or were changed'),
    });
    expect(await refused(await fileOf(lines.slice(1)))).toMatchObject({ line: 1 });
    expect(await refused(await fileOf([...lines, lines[1]!]))).toMatchObject({ line: lines.length + 1 });
    const cut = await fileOf(lines);
    await writeFile(cut, (await readFile(cut)).subarray(0, -20));
    expect(await refused(cut)).toMatchObject({ code: 'log-file.damaged' });
    await writeFile(cut, '');
    expect(await refused(cut)).toMatchObject({ code: 'log-file.damaged', line: 1 });
  });

  it('of a newer Waylog, or with content that no store records, is refused', async () => {
    const lines = await linesFrom();
    const [event] = await all(source);
    const withEvent = (changes: object) => fileOf(lines.with(1, eventLine({ ...event!, ...changes })));
    expect(await refused(await withEvent({ streamId: 'thing-1', schemaVersion: 2 }))).toMatchObject({
      code: 'log-file.newer-than-code',
      line: 2,
    });
    expect(await refused(await withEvent({ id: 'no uuid' }))).toMatchObject({ line: 2 });
    expect(await refused(await withEvent({ type: 'a\nb' }))).toMatchObject({ line: 2 });
    expect(await refused(await withEvent({ metadata: {} }))).toMatchObject({
      line: 2,
      message: expect.stringContaining('metadata.commandId'),
    });
    const newer = lines.with(0, lines[0]!.replace('"waylogLog":1', '"waylogLog":2'));
    expect(await refused(await fileOf(newer))).toMatchObject({ code: 'log-file.unknown-format' });
  });

  it('of data that is nested deeper than any program writes is refused with the line', async () => {
    const lines = await linesFrom();
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const open = (lines[3] ?? '')
      .replace(/,"crc32":"[^"]*"}$/, '')
      .replace(/"data":\{/, `"data":{"deep":${deep},`);
    lines[3] = `${open},"crc32":"${checksum(open)}"}`;
    expect(await refused(await fileOf(lines))).toMatchObject({
      code: 'log-file.damaged',
      line: 4,
      message: expect.stringContaining('Line 4 of the file is nested in more than 1000 levels') as string,
    });
  });

  it('is refused without being unpacked, if few bytes expand to gigabytes without a newline', async () => {
    // A frame with a window of 2 MiB, of blocks that each say one byte 131,072 times: a gigabyte in 32 KB.
    const block = Buffer.from([...threeBytes((131_072 << 3) | (1 << 1)), 0x61]);
    const file = join(folder, 'bomb.zst');
    const frame = [
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]),
      ...Array.from({ length: 8_000 }, () => block),
    ];
    await writeFile(file, Buffer.concat(frame));
    const before = process.resourceUsage().maxRSS;
    const refusal = await collect(linesOf(file, () => undefined)).catch((error: unknown) => error);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(400_000);
    expect(refusal).toMatchObject({
      code: 'log-file.damaged',
      message: expect.stringContaining('Line 1 of the file is longer than 16 MiB') as string,
    });
  });
});

const threeBytes = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255];
