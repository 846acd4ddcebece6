import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { WaylogError } from '#lib/platform';
import type { NewEvent, RecordedEvent } from '../event-store.js';
import { InMemoryEventStore } from '../in-memory/in-memory-event-store.js';
import { collect, numbered } from '../testing/event-store.contract.js';
import { exportLog } from './export-log.js';
import { importLog } from './import-log.js';
import { compressLines } from './lines.js';

const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 300);

/** Changes to the bytes of a file, each at a fraction of its length: what disks, networks and editors do. */
const damage = fc.oneof(
  fc.record({ flip: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), bit: fc.nat(7) }),
  fc.record({ cutAt: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }) }),
  fc.record({
    drop: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    bytes: fc.integer({ min: 1, max: 300 }),
  }),
  fc.record({
    insertAt: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    what: fc.oneof(
      fc.constantFrom('\n', '\r', '\0', '{}\n', '[]\n', 'null\n', '{"end":true,"events":0}\n', '\ufeff', '}'),
      fc.string({ unit: 'binary', maxLength: 8 }),
    ),
  }),
  fc.record({
    fill: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    bytes: fc.integer({ min: 1, max: 200 }),
    byte: fc.nat(255),
  }),
);
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(whole: Buffer, by: Damage): Buffer {
  const at = (part: number) => Math.floor(part * whole.length);
  if ('flip' in by) {
    const bytes = Buffer.from(whole);
    const place = at(by.flip);
    bytes[place] = (bytes[place] ?? 0) ^ (1 << by.bit);
    return bytes;
  }
  if ('cutAt' in by) return whole.subarray(0, at(by.cutAt));
  if ('drop' in by)
    return Buffer.concat([whole.subarray(0, at(by.drop)), whole.subarray(at(by.drop) + by.bytes)]);
  if ('insertAt' in by) {
    const place = at(by.insertAt);
    return Buffer.concat([whole.subarray(0, place), Buffer.from(by.what), whole.subarray(place)]);
  }
  const bytes = Buffer.from(whole);
  return bytes.fill(by.byte, at(by.fill), Math.min(bytes.length, at(by.fill) + by.bytes));
}

/** Changes to the lines of a file, by line numbers; the lines themselves stay intact. */
const shuffle = fc.oneof(
  fc.record({ swap: fc.nat(), with: fc.nat() }),
  fc.record({ remove: fc.nat() }),
  fc.record({ repeat: fc.nat() }),
  fc.record({ move: fc.nat(), to: fc.nat() }),
);
type Shuffle = typeof shuffle extends fc.Arbitrary<infer T> ? T : never;

function shuffled(lines: readonly string[], by: Shuffle): string[] {
  const n = lines.length;
  const line = (i: number) => lines[i % n] as string;
  if ('swap' in by) return lines.with(by.swap % n, line(by.with)).with(by.with % n, line(by.swap));
  if ('remove' in by) return lines.toSpliced(by.remove % n, 1);
  if ('repeat' in by) return lines.toSpliced(by.repeat % n, 0, line(by.repeat));
  return lines.toSpliced(by.move % n, 1).toSpliced(by.to % n, 0, line(by.move));
}

describe('a damaged file of a log', () => {
  let folder: string;
  let file: string;
  let lines: string[];
  let plain: Buffer;
  let compressed: Buffer;
  let whole: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-damaged-'));
    file = join(folder, 'log');
    const source = new InMemoryEventStore();
    for (let n = 0; n < 8; n++) {
      for (const streamId of ['a', 'b', 'ü 3'])
        await source.append([{ streamId, expectedRevision: 'any', events: [numbered(n), odd(n)] }]);
    }
    lines = await collect(exportLog({ store: source, from: 'test' }));
    plain = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    compressed = Buffer.concat(await collect(compressLines(eachOf(lines))));
    whole = contentOf(await source.readAll({ limit: 1_000_000 }));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const odd = (n: number): NewEvent => ({
    ...numbered(n),
    data: { n, text: 'line\nbreak "quoted" \u2028 🚁', nested: { list: [1.5, null, true, -0.1] } },
  });
  /** What must be the same in another store, whatever the order of the streams. */
  const contentOf = (events: RecordedEvent[]) =>
    JSON.stringify(
      events
        .map(({ position: _p, recordedAt: _r, ...event }) => event)
        .sort((a, b) =>
          a.streamId === b.streamId ? a.revision - b.revision : a.streamId < b.streamId ? -1 : 1,
        ),
    );

  const tried = { refused: 0, imported: 0 };
  /** Refused with its line and nothing recorded, or imported with everything that the undamaged file has. */
  async function refusedOrWhole(bytes: Buffer): Promise<void> {
    await writeFile(file, bytes);
    const store = new InMemoryEventStore();
    const result = await importLog({ file, store, vocabulary: {} }).catch((error: unknown) => error);
    const there = await store.readAll({ limit: 1_000_000 });
    if (result instanceof WaylogError) {
      tried.refused++;
      expect(['log-file.damaged', 'log-file.unknown-format']).toContain(result.code);
      if (result.code === 'log-file.damaged') {
        expect(result.data['line']).toEqual(expect.any(Number));
        expect(result.message).toContain(`Line ${String(result.data['line'])} `);
      }
      expect(result.message.length).toBeLessThan(1_000);
      expect(there).toEqual([]);
      return;
    }
    if (result instanceof Error) throw result;
    tried.imported++;
    expect(contentOf(there)).toBe(whole);
  }
  const check = <T>(property: fc.IAsyncProperty<T>): Promise<void> => fc.assert(property, { seed, numRuns });

  it('is refused with the line, or has its old content: bytes changed in plain text', () =>
    check(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), (all) =>
        refusedOrWhole(all.reduce(damaged, plain)),
      ),
    ));

  it('is refused with the line, or has its old content: bytes changed in zstd', () =>
    check(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), (all) =>
        refusedOrWhole(all.reduce(damaged, compressed)),
      ),
    ));

  it('is refused with the line, or has its old content: lines moved, repeated or left out', () =>
    check(
      fc.asyncProperty(fc.array(shuffle, { minLength: 1, maxLength: 3 }), (all) =>
        refusedOrWhole(Buffer.from(all.reduce(shuffled, lines).join('\n') + '\n')),
      ),
    ));

  it('is refused wherever it is cut', async () => {
    for (let length = 0; length < plain.length; length += 37) await refusedOrWhole(plain.subarray(0, length));
    for (let length = 0; length < compressed.length; length += 5)
      await refusedOrWhole(compressed.subarray(0, length));
  });

  afterAll(() => {
    expect(tried.refused).toBeGreaterThan(numRuns);
    // Such as a change that the next one undid, or a line break at the very end.
    expect(tried.imported).toBeLessThan(tried.refused / 5);
  });
});

async function* eachOf(lines: readonly string[]): AsyncGenerator<string> {
  yield* await Promise.resolve(lines);
}
