import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { WaylogError } from '#lib/platform';
import { testDatabase, type TestDatabase } from '../../../../test/support/database.js';
import type { RecordedEvent } from '../event-store.js';
import { PostgresEventStore } from '../postgres/postgres-event-store.js';
import { collect } from '../testing/event-store.contract.js';
import { Content, eventLine } from './format.js';
import { importLog } from './import-log.js';

const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 300);

const text = fc.oneof(
  fc.constantFrom(
    '',
    '\0',
    'a\nb',
    '\ud800',
    'x\udfff',
    '__proto__',
    'constructor',
    'toString',
    ' ',
    '\u2028',
    '🚁',
  ),
  fc.constantFrom('a'.repeat(1_024), 'a'.repeat(1_025), '\u{1f681}'.repeat(256), 'b'.repeat(100_000)),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
const whole = fc.constantFrom(0, 1, 2, -1, 1.5, 2 ** 31 - 1, 2 ** 31, 2 ** 53, 1e300, '0', null);
const value = fc.oneof(text, whole, fc.jsonValue({ stringUnit: 'binary', maxDepth: 3 }));
const data = fc
  .array(fc.tuple(text, value), { maxLength: 3 })
  .map((entries) => Object.fromEntries(entries) as object);
/** The differences from a valid event. */
const oddity = fc.oneof(
  fc.record({ type: text }),
  fc.record({ streamId: text }),
  fc.record({ revision: whole }),
  fc.record({ schemaVersion: whole }),
  fc.record({ data: fc.oneof({ weight: 5, arbitrary: data }, { weight: 1, arbitrary: value }) }),
  fc.record({
    id: fc.oneof(
      fc.uuid().map((id) => id.toUpperCase()),
      text,
      fc.constant('same'),
    ),
  }),
  fc.record({ metadata: data }),
  fc.record({ actor: text }),
  fc.record({ commandId: text }),
  fc.record({ more: fc.tuple(text, value) }),
  fc.constant({}),
);
type Oddity = typeof oddity extends fc.Arbitrary<infer T> ? T : never;

describe('a forged file of a log, with every checksum right', () => {
  let folder: string;
  let database: TestDatabase;
  let store: PostgresEventStore;
  let files = 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-hostile-'));
    database = await testDatabase();
    store = new PostgresEventStore({ pool: database.pool, listener: database.listener, vocabulary: {} });
  });
  afterAll(async () => {
    await store.close();
    await database.drop();
    await rm(folder, { recursive: true });
  });

  /** Three events of a stream; the middle one may be odd. */
  function madeUp(odd: Oddity): { events: RecordedEvent[]; text: string } {
    const stream = `made up ${++files}`;
    const event = (revision: number): RecordedEvent => {
      const id = uuidv7();
      return {
        streamId: stream,
        revision,
        position: String(revision + 1),
        recordedAt: '2026-05-01T12:00:00.000Z',
        id,
        type: 'Happened',
        schemaVersion: 1,
        data: { revision },
        metadata: { commandId: id, command: 'C', correlationId: id, causationId: id, actor: 'a' },
      };
    };
    const events = [event(0), event(1), event(2)];
    let middle: Record<string, unknown> = { ...(events[1] as RecordedEvent) };
    const meta = middle['metadata'] as Record<string, unknown>;
    if ('more' in odd) middle['metadata'] = { ...Object.fromEntries([odd.more]), ...meta };
    else if ('actor' in odd || 'commandId' in odd) middle['metadata'] = { ...meta, ...odd };
    else if ('metadata' in odd) middle['metadata'] = odd.metadata;
    else middle = { ...middle, ...odd, ...('id' in odd && odd.id === 'same' && { id: events[0]?.id }) };
    events[1] = middle as unknown as RecordedEvent;

    const content = new Content();
    const header = JSON.stringify({ waylogLog: 1, exportedAt: 'x', from: 'x', until: '3' });
    const lines = [header, ...events.map(eventLine)];
    for (const line of lines) content.add(line);
    content.events = events.length;
    for (const { streamId, revision } of events) content.revisions.set(streamId, revision);
    return { events, text: [...lines, JSON.stringify(content.footer()), ''].join('\n') };
  }

  const kept = ({ id, streamId, revision, type, schemaVersion, data: said, metadata }: RecordedEvent) =>
    JSON.stringify([
      id.toLowerCase(),
      streamId,
      revision,
      type,
      schemaVersion,
      said,
      Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)),
    ]);

  it('is refused before anything is recorded, or recorded as it is, and recognised when it comes again', async () => {
    const file = join(folder, 'log');
    const tried = { refused: 0, imported: 0, conflicts: 0 };
    await fc.assert(
      fc.asyncProperty(oddity, async (odd) => {
        const before = await store.head();
        const { events, text: lines } = madeUp(odd);
        await writeFile(file, lines);
        const result = await importLog({ file, store, vocabulary: {} }).catch((error: unknown) => error);
        const there = await store.readAll({ after: before, limit: 10 });
        if (result instanceof WaylogError) {
          tried.refused++;
          expect(['log-file.damaged', 'log-file.newer-than-code']).toContain(result.code);
          expect(result.data['line']).toEqual(expect.any(Number));
          expect(there).toEqual([]);
          return;
        }
        if (result instanceof Error) throw result;
        const { recorded, conflicts, skipped } = result as Awaited<ReturnType<typeof importLog>>;
        expect(there).toHaveLength(recorded);
        expect(recorded + skipped).toBe(events.length);
        if (conflicts.length > 0) tried.conflicts++;
        else tried.imported++;
        const given = new Set(
          events.map((event) => kept(JSON.parse(JSON.stringify(event)) as RecordedEvent)),
        );
        expect(there.map(kept).filter((event) => !given.has(event))).toEqual([]);
        for (const { streamId } of events) {
          const pages = await collect(store.readStream(streamId));
          const mine = there.filter((event) => event.streamId === streamId);
          expect(pages.flat().map(kept)).toEqual(mine.map(kept));
        }
        expect(await importLog({ file, store, vocabulary: {} })).toMatchObject({
          recorded: 0,
          already: recorded,
        });
      }),
      { seed, numRuns },
    );
    expect(tried.refused).toBeGreaterThan(numRuns / 10);
    expect(tried.imported).toBeGreaterThan(numRuns / 10);
    expect(await store.check()).toEqual([]);
  });
});
