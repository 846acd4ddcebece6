import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  compressLines,
  exportLog,
  importLog,
  InMemoryEventStore,
  PostgresEventStore,
  type EventStore,
  type ExportOptions,
  type RecordedEvent,
} from '#lib/event-store';
import { CreateFlight, SaveFrameResult, SaveFrameResults, streamOf, flight } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { flightOf, startWaylog, useWaylog } from './support/waylog.js';

const { vocabulary } = flight;

describe('a log in a file, between stores', () => {
  const waylog = useWaylog();
  const source = () => waylog.app.get<EventStore>(EVENT_STORE);
  let folder: string;
  let files = 0;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-log-'));
    for (const id of ['a', 'b', 'c']) {
      await waylog.execute(new CreateFlight({ flight: aFlight(id, 10) }));
      const frames = Array.from({ length: 900 }, (_, n) => aFrame(n));
      await waylog.execute(new SaveFrameResults({ flightId: id, frames, commandId: `frames of ${id}` }));
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function exported(options: Partial<ExportOptions> = {}): Promise<string> {
    const file = join(folder, `${++files}.zst`);
    await pipeline(
      compressLines(exportLog({ store: source(), from: 'test', ...options })),
      createWriteStream(file),
    );
    return file;
  }
  async function withTarget<T>(work: (store: EventStore, database: TestDatabase) => Promise<T>): Promise<T> {
    const database = await testDatabase();
    const store = new PostgresEventStore({ pool: database.pool, listener: database.listener, vocabulary });
    try {
      return await work(store, database);
    } finally {
      await store.close();
      await database.drop();
    }
  }
  /** Waits until this many more events have been recorded. */
  async function seen(count: number): Promise<void> {
    const { signal } = new AbortController();
    const after = await source().head();
    for await (const batch of source().subscribe({ after, batchSize: 100, signal })) {
      count -= batch.length;
      if (count <= 0) return;
    }
  }
  const streamsOf = async (store: EventStore) => {
    const streams: Record<string, Partial<RecordedEvent>[]> = {};
    for (const { position: _p, recordedAt: _r, ...event } of await store.readAll({ limit: 1_000_000 })) {
      (streams[event.streamId] ??= []).push(event);
    }
    return streams;
  };

  it('is copied from PostgreSQL into memory and back into PostgreSQL, and stays the same', async () => {
    const memory = new InMemoryEventStore({ vocabulary });
    await importLog({ file: await exported(), store: memory, vocabulary });
    expect(await streamsOf(memory)).toEqual(await streamsOf(source()));
    await withTarget(async (store) => {
      const file = await exported({ store: memory });
      expect(await importLog({ file, store, vocabulary })).toMatchObject({ conflicts: [], skipped: 0 });
      expect(await streamsOf(store)).toEqual(await streamsOf(source()));
      expect(await store.head()).toBe(await source().head());
      expect(await importLog({ file, store, vocabulary })).toMatchObject({ recorded: 0, conflicts: [] });
      expect(await store.head()).toBe(await source().head());
    });
  });

  it('continues after an interruption, and records every event once', async () => {
    const file = await exported();
    await withTarget(async (store) => {
      const stop = new AbortController();
      // Stopped between two appends: after the first some of it is there.
      const append = store.append.bind(store);
      store.append = async (requests) => {
        const outcomes = await append(requests);
        stop.abort(new Error('power cut'));
        return outcomes;
      };
      await expect(importLog({ file, store, vocabulary, signal: stop.signal })).rejects.toThrow('power cut');
      store.append = append;
      const before = Number(await store.head());
      expect(before).toBeGreaterThan(0);
      expect(before).toBeLessThan(Number(await source().head()));
      const result = await importLog({ file, store, vocabulary });
      expect(result).toMatchObject({ already: before, recorded: result.events - before, conflicts: [] });
      expect(await streamsOf(store)).toEqual(await streamsOf(source()));
    });
  });

  it('of one flight continues in the other store: commands, their repeats, and tables', async () => {
    const file = await exported({ streams: [streamOf('b')] });
    await withTarget(async (store, database) => {
      await importLog({ file, store, vocabulary });
      const there = await startWaylog(database.url);
      try {
        // The id of a command was copied too: its repeat is recognised there.
        const frames = Array.from({ length: 900 }, (_, n) => aFrame(n));
        const repeated = await there.execute(
          new SaveFrameResults({ flightId: 'b', frames, commandId: 'frames of b' }),
        );
        expect(repeated.position).toBe(await store.head());
        const { position } = await there.execute(new SaveFrameResult({ flightId: 'b', frame: aFrame(900) }));
        await flightOf(there.app).watch.waitFor(position, 60_000);
        expect(await there.database.getFrameResults('b')).toHaveLength(901);
        expect(await there.database.getFrameResults('a')).toEqual([]);
      } finally {
        await there.close();
      }
    });
  });

  it('that is exported during writes is a prefix of each stream', async () => {
    let stop = false;
    const writers = ['a', 'b', 'c'].map(async (flightId) => {
      for (let n = 1_000; !stop; n++) {
        await waylog.execute(new SaveFrameResult({ flightId, frame: aFrame(n) }));
      }
    });
    await seen(50);
    const [whole, some] = [await exported(), await exported({ streams: [streamOf('a'), streamOf('c')] })];
    stop = true;
    await Promise.all(writers);
    const now = await streamsOf(source());
    for (const [file, count] of [
      [whole, 3],
      [some, 2],
    ] as const) {
      const memory = new InMemoryEventStore({ vocabulary });
      const { header, ...result } = await importLog({ file, store: memory, vocabulary });
      const recorded = await source().readAll({ limit: Number(header.until) });
      const asked = recorded.filter(({ streamId }) => header.streams?.includes(streamId) ?? true);
      expect(result).toMatchObject({ streams: count, events: asked.length, conflicts: [] });
      const then = await streamsOf(memory);
      for (const [stream, events] of Object.entries(then)) {
        expect(events).toEqual(now[stream]!.slice(0, events.length));
      }
      expect(Object.values(then).flat().length).toBeGreaterThan(count * 900);
    }
  });
});
