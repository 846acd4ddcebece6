import { EventStoreDBClient, jsonEvent } from '@eventstore/db-client';
import { v7 as uuidv7 } from 'uuid';
import {
  type AppendOutcome,
  type EventStore,
  type ExpectedRevision,
  type NewEvent,
  type Position,
  type RecordedEvent,
} from '#lib/event-store';
import { MAX_COUNTED_BACKLOG } from '../libs/event-store/src/eventstoredb/backlog.js';
import {
  EventStoreDbEventStore,
  type EventStoreDbOptions,
} from '../libs/event-store/src/eventstoredb/eventstoredb-event-store.js';
import { collect, numbered } from '../libs/event-store/src/testing/event-store.contract.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import {
  startDouble,
  TLS_CERTIFICATE,
  type DoubleOptions,
  type EventStoreDbDouble,
} from './support/eventstoredb-double/index.js';
import { eventually } from './support/eventually.js';

// How the adapter behaves when the server, the network or another application misbehaves. A hang is ended by the test's
// own limit. A call takes at most `deadlineMs`, which is short here, and waits a third of that for an answer.
let database: TestDatabase;
beforeAll(async () => {
  database = await testDatabase();
});
afterAll(() => database.drop());

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const UNAVAILABLE = { code: 'database.unavailable', kind: 'unavailable' };

async function double(options?: DoubleOptions): Promise<EventStoreDbDouble> {
  const started = await startDouble(options);
  closing.push(() => started.stop());
  return started;
}

function storeAt(
  connectionString: string,
  options: Partial<EventStoreDbOptions> = {},
): EventStoreDbEventStore {
  const { pool } = database;
  const store = new EventStoreDbEventStore({ connectionString, pool, deadlineMs: 3_000, ...options });
  closing.push(() => store.close());
  return store;
}

const newStream = () => `fault-${uuidv7()}`;
const append = async (store: EventStore, streamId: string, expected: ExpectedRevision, events: NewEvent[]) =>
  (await store.append([{ streamId, expectedRevision: expected, events }]))[0] as AppendOutcome;
const read = async (store: EventStore, streamId: string) =>
  (await collect(store.readStream(streamId))).flat();
const numbers = (events: readonly RecordedEvent[]) => events.map(({ data }) => data['n']);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

/** A subscription in the background, which remembers what it received. */
function follow(store: EventStore, after: Position = store.beginning) {
  const stop = new AbortController();
  const seen: RecordedEvent[] = [];
  let woken: () => void = () => undefined;
  const running = (async () => {
    for await (const batch of store.subscribe({ after, batchSize: 50, signal: stop.signal })) {
      seen.push(...batch);
      woken();
    }
  })();
  return {
    seen,
    running,
    until: async (count: number) => {
      const ended = running.then(() => {
        throw new Error(`The subscription ended after ${seen.length} events.`);
      });
      while (seen.length < count)
        await Promise.race([new Promise<void>((resolve) => (woken = resolve)), ended]);
      ended.catch(() => undefined);
    },
    end: async () => {
      stop.abort();
      await running;
    },
  };
}

describe('an append to EventStoreDB', () => {
  it.each<['refused' | 'silent', ExpectedRevision]>([
    ['refused', 'no-stream'],
    ['refused', 0],
    ['silent', 0],
    ['refused', 'any'],
    ['silent', 'stream-exists'],
  ])('whose acknowledgement is lost (%s, expecting %s) is recorded once', async (how, expected) => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    if (expected !== 'no-stream') await append(store, stream, 'no-stream', [numbered(0)]);
    const before = expected === 'no-stream' ? 0 : 1;
    server.faults.loseNextAppendAcknowledgement(how);
    const events = [numbered(1), numbered(2)];
    const outcome = await append(store, stream, expected, events);
    expect(outcome).toMatchObject({ accepted: true, firstRevision: before, repeated: false });
    expect((await read(store, stream)).map(({ id }) => id).slice(before)).toEqual(events.map(({ id }) => id));
    expect(await append(store, stream, expected, events)).toEqual({ ...outcome, repeated: true });
  });

  it('is recorded once if the server forgets it in a restart before it is sent again', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    server.faults.loseNextAppendAcknowledgement();
    const restart = server.log.onAppend(() => {
      server.log.forget();
      restart();
    });
    await append(store, stream, 'any', [numbered(1)]);
    expect(numbers(await read(store, stream))).toEqual([1]);
  });

  it('keeps its place when another writer follows before it is sent again', async () => {
    const server = await double();
    const [store, other] = [storeAt(server.connectionString), storeAt(server.connectionString)];
    const stream = newStream();
    server.faults.loseNextAppendAcknowledgement();
    const followed = new Promise<AppendOutcome>((resolve, reject) => {
      const off = server.log.onAppend(() => {
        off();
        append(other, stream, 0, [numbered(2)]).then(resolve, reject);
      });
    });
    expect(await append(store, stream, 'no-stream', [numbered(1)])).toMatchObject({ firstRevision: 0 });
    expect(await followed).toMatchObject({ accepted: true, firstRevision: 1 });
    expect(numbers(await read(store, stream))).toEqual([1, 2]);
  });

  it('reports an unknown outcome when the server stops answering, and a repeat settles it', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    const events = [numbered(1)];
    server.faults.stall('append');
    await expect(append(store, stream, 'no-stream', events)).rejects.toMatchObject(UNAVAILABLE);
    server.faults.resume();
    expect(await append(store, stream, 'no-stream', events)).toMatchObject({
      accepted: true,
      firstRevision: 0,
    });
    expect(numbers(await read(store, stream))).toEqual([1]);
  });

  it('that was recorded but cannot be read back reports an unknown outcome', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(0)]);
    // The answer gives the place of the last one.
    const events = [numbered(1), numbered(2)];
    server.faults.stall('read');
    await expect(append(store, stream, 0, events)).rejects.toMatchObject(UNAVAILABLE);
    server.faults.resume();
    expect(await append(store, stream, 0, events)).toMatchObject({
      accepted: true,
      repeated: true,
    });
  });

  it.each([
    ['over the call that all small ones share', 2_000],
    ['over a call of its own', 600_000],
  ])('of an event that is larger than the server accepts is refused at once, %s', async (_way, length) => {
    const server = await double({ maxAppendEventSize: 1_500 });
    const store = storeAt(server.connectionString);
    const stream = newStream();
    const large = { ...numbered(1), data: { text: 'x'.repeat(length) } };
    await expect(append(store, stream, 'no-stream', [numbered(0), large])).rejects.toMatchObject({
      code: 'append.too-large',
      kind: 'invalid',
      message: expect.stringMatching(/MaxAppendEventSize/) as string,
    });
    expect(server.calls.append).toBe(1);
    expect(await read(store, stream)).toEqual([]);
    expect(await append(store, stream, 'no-stream', [numbered(0)])).toMatchObject({ accepted: true });
  });

  it('that the server cannot parse is refused at once, with its reason', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    await expect(
      append(store, stream, 'no-stream', [{ ...numbered(0), id: 'no uuid' }]),
    ).rejects.toMatchObject({
      code: 'log.bad-request',
      kind: 'invalid',
      message: expect.stringMatching(/Unrecognized Guid format/) as string,
    });
    expect(server.calls.append).toBe(1);
  });

  it('waits out a busy server, and gives up on one that stays busy', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    server.faults.busy(2);
    expect(await append(store, stream, 'no-stream', [numbered(1)])).toMatchObject({ accepted: true });
    server.faults.busy(Infinity);
    const events = [numbered(2)];
    await expect(append(store, stream, 0, events)).rejects.toMatchObject(UNAVAILABLE);
    expect(server.log.all.filter((event) => event.stream === stream)).toHaveLength(1);
    // The last attempt can still be on its way, and be recorded now.
    server.faults.busy(0);
    expect(await append(store, stream, 0, events)).toMatchObject({ accepted: true, firstRevision: 1 });
    expect(numbers(await read(store, stream))).toEqual([1, 2]);
  });

  it('follows the leader when another node leads', async () => {
    const leader = await double();
    const follower = await double({ log: leader.log });
    follower.faults.notLeader({ host: '127.0.0.1', port: leader.port });
    const store = storeAt(follower.connectionString);
    const stream = newStream();
    expect(await append(store, stream, 'no-stream', [numbered(1)])).toMatchObject({ accepted: true });
    expect(await append(store, stream, 0, [numbered(2)])).toMatchObject({ accepted: true });
    expect(leader.calls.append).toBe(2);
    expect(numbers(await read(store, stream))).toEqual([1, 2]);
  });

  it.each(['refused', 'silent'] as const)(
    'keeps its place among others of one call, also when an answer is lost in between (%s)',
    async (how) => {
      const server = await double();
      const store = storeAt(server.connectionString);
      const streams = upTo(7).map(newStream);
      // One, two and three events in turn, of each stream several times.
      const requests = upTo(50).map((n) => {
        const before = upTo(Math.floor(n / 7)).reduce(
          (sum, round) => sum + 1 + ((round * 7 + (n % 7)) % 3),
          0,
        );
        return {
          streamId: streams[n % 7] as string,
          expectedRevision: before === 0 ? ('no-stream' as const) : before - 1,
          events: upTo(1 + (n % 3)).map((i) => numbered(10 * n + i)),
        };
      });
      let recorded = 0;
      server.log.onAppend(() => {
        if (++recorded === 20) server.faults.loseNextAppendAcknowledgement(how);
      });
      const outcomes = await store.append(requests);
      const positions = outcomes.flatMap((outcome) => (outcome.accepted ? outcome.positions : []));
      const events = requests.flatMap(({ events }) => events);
      expect(positions).toHaveLength(events.length);
      expect(positions.toSorted((a, b) => store.compare(a, b))).toEqual(positions);
      expect((await store.readAll({ limit: 1_000 })).map(({ id }) => id)).toEqual(events.map(({ id }) => id));
    },
  );

  it('shares one call with all small appends, of which each can fail alone; a large one gets its own call', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const [lost, ...others] = upTo(30).map(newStream) as [string, ...string[]];
    await append(store, lost, 'no-stream', [numbered(0)]);
    server.faults.loseNextAppendAcknowledgement('silent');
    const waiting = append(store, lost, 0, [numbered(1)]);
    // These have their answers while the first one has none.
    let isSettled = false;
    const settled = waiting.finally(() => (isSettled = true));
    const outcomes = await Promise.all(
      others.map((stream) => append(store, stream, 'no-stream', [numbered(2)])),
    );
    expect(outcomes.every(({ accepted }) => accepted)).toBe(true);
    expect(isSettled).toBe(false);
    expect(await append(store, others[0] as string, 'no-stream', [numbered(3)])).toMatchObject({
      accepted: false,
      currentRevision: 0,
    });
    expect(await settled).toMatchObject({ accepted: true, firstRevision: 1 });
    expect(server.calls.batched).toBe(server.calls.append);
    const large = { ...numbered(4), data: { text: 'x'.repeat(600_000) } };
    expect(await append(store, lost, 1, [large])).toMatchObject({ accepted: true, firstRevision: 2 });
    expect(server.calls.batched).toBe(server.calls.append - 1);
    expect((await read(store, lost)).at(-1)?.data).toEqual(large.data);
  });

  it('is refused while the server is down, and works again with the same store afterwards', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(1)]);
    await server.stop();
    await expect(append(store, stream, 0, [numbered(2)])).rejects.toMatchObject(UNAVAILABLE);
    await expect(read(store, stream)).rejects.toMatchObject(UNAVAILABLE);
    await server.restart();
    expect(await append(store, stream, 0, [numbered(3)])).toMatchObject({ accepted: true, firstRevision: 1 });
    expect(numbers(await read(store, stream))).toEqual([1, 3]);
  });

  it('loses and doubles nothing when the server restarts during a hundred appends', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const events = upTo(100).map((n) => numbered(n));
    const streams = upTo(10).map(newStream);
    let restarted: Promise<void> | undefined;
    server.log.onAppend(() => {
      if (!restarted && server.calls.append > 30) restarted = server.restart();
    });
    // Like a client of Waylog: sends again what has no answer.
    const record = async (n: number): Promise<AppendOutcome> => {
      try {
        return await append(store, streams[n % 10] as string, 'any', [events[n] as NewEvent]);
      } catch (error) {
        expect(error).toMatchObject(UNAVAILABLE);
        return record(n);
      }
    };
    await Promise.all(upTo(100).map(record));
    await restarted;
    expect(restarted).toBeDefined();
    const recorded = (await Promise.all(streams.map((stream) => read(store, stream)))).flat();
    expect(recorded.map(({ id }) => id).sort()).toEqual(events.map(({ id }) => id).sort());
  });
});

describe('a read from EventStoreDB', () => {
  it.each<[string, (store: EventStore) => Promise<unknown>]>([
    ['of a stream', (store) => read(store, 'any-stream')],
    ['of the log', (store) => store.readAll({ limit: 10 })],
    ['of the head', (store) => store.head()],
    ['of the backlog', (store) => store.backlog(store.beginning)],
  ])('%s ends with an error when the server stops answering', async (_, read) => {
    const server = await double();
    const store = storeAt(server.connectionString, { deadlineMs: 1_000 });
    server.faults.stall('read');
    await expect(read(store)).rejects.toMatchObject(UNAVAILABLE);
    expect(server.calls.read).toBeLessThanOrEqual(3);
    server.faults.resume();
    await read(store);
  });

  it('continues where the stream continues, with many pages', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { deadlineMs: 60_000 });
    const stream = newStream();
    const many = upTo(2_500).map((n) => numbered(n));
    expect(await append(store, stream, 'no-stream', many)).toMatchObject({
      accepted: true,
      firstRevision: 0,
    });
    expect(numbers(await read(store, stream))).toEqual(upTo(2_500));
    const all = await store.readAll({ limit: 2_200 });
    expect(numbers(all)).toEqual(upTo(2_200));
    const after = all.at(-1)?.position as Position;
    expect(numbers(await store.readAll({ limit: 2_200, after }))).toEqual(upTo(2_500).slice(2_200));
  });

  it('of the backlog counts up to its limit and no further', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { deadlineMs: 10_000 });
    const proposed = (n: number) => ({
      id: uuidv7(),
      type: 'Numbered',
      contentType: 'application/json',
      data: Buffer.from(JSON.stringify({ n })),
      metadata: Buffer.from(JSON.stringify({ schemaVersion: 1, appendId: 'a' })),
    });
    server.log.append('long', 'any', upTo(MAX_COUNTED_BACKLOG - 1).map(proposed));
    const { since } = await store.backlog(store.beginning);
    expect(await store.backlog(store.beginning)).toEqual({ events: MAX_COUNTED_BACKLOG - 1, since });
    server.log.append('long', 'any', upTo(1_500).map(proposed));
    expect(await store.backlog(store.beginning)).toEqual({ events: MAX_COUNTED_BACKLOG, since });

    // What was read for it is not read again while the position moves on.
    const [, second] = await store.readAll({ limit: 2 });
    const readBefore = server.calls.read;
    expect((await store.backlog(second?.position as Position)).events).toBe(MAX_COUNTED_BACKLOG);
    const ahead = (await store.readAll({ limit: 2_000 })).at(-1) as RecordedEvent;
    expect((await store.backlog(ahead.position)).events).toBe(MAX_COUNTED_BACKLOG - 1 + 1_500 - 2_000);
    expect(server.calls.read - readBefore).toBeLessThanOrEqual(8);
    expect((await store.backlog(store.beginning)).events).toBe(MAX_COUNTED_BACKLOG);
    expect(await store.backlog(await store.head())).toEqual({ events: 0, since: undefined });
  });
});

describe('a subscription to EventStoreDB', () => {
  it.each<['clean' | 'cancelled' | 'restart']>([['clean'], ['cancelled'], ['restart']])(
    'is opened again after the server ended it (%s), skipping and doubling nothing',
    async (how) => {
      const server = await double();
      const warnings: string[] = [];
      const onWarning = (message: string) => warnings.push(message);
      const store = storeAt(server.connectionString, { onWarning });
      const writer = storeAt(server.connectionString);
      const stream = newStream();
      await append(
        writer,
        stream,
        'no-stream',
        upTo(120).map((n) => numbered(n)),
      );
      const subscription = follow(store);
      await subscription.until(1);
      if (how === 'restart') await server.restart();
      else server.faults.closeSubscriptions(how);
      await append(writer, stream, 119, [numbered(120)]);
      await subscription.until(121);
      server.faults.closeSubscriptions(how === 'restart' ? 'clean' : how);
      await append(writer, stream, 120, [numbered(121)]);
      await subscription.until(122);
      await subscription.end();
      expect(numbers(subscription.seen)).toEqual(upTo(122));
      expect(warnings.length).toBeGreaterThan(0);
      expect(warnings[0]).toMatch(/subscription to EventStoreDB broke .* made again/);
    },
  );

  it('waits for a server that is not there yet, or does not answer', async () => {
    const server = await double();
    await append(storeAt(server.connectionString), newStream(), 'any', [numbered(1)]);
    server.faults.stall('read');
    let warn: (message: string) => void = () => undefined;
    const warned = new Promise<string>((resolve) => (warn = resolve));
    const subscription = follow(storeAt(server.connectionString, { deadlineMs: 100, onWarning: warn }));
    expect(await warned).toMatch(/no answer for 34 ms/);
    server.faults.resume();
    await subscription.until(1);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([1]);
  });

  it('that was made before the first event and broke later misses nothing', async () => {
    const server = await double();
    const writer = storeAt(server.connectionString);
    const subscription = follow(storeAt(server.connectionString));
    // The server says then that it has looked up to a place before all events.
    await eventually(() => server.calls.subscribe === 1);
    const stream = newStream();
    await append(writer, stream, 'no-stream', [numbered(0)]);
    await subscription.until(1);
    server.faults.closeSubscriptions('clean');
    await append(writer, stream, 0, [numbered(1)]);
    await subscription.until(2);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([0, 1]);
  });

  it('that receives nothing any more is opened again', async () => {
    const server = await double();
    const warnings: string[] = [];
    const store = storeAt(server.connectionString, {
      deadlineMs: 300,
      onWarning: (message) => warnings.push(message),
    });
    const writer = storeAt(server.connectionString);
    const stream = newStream();
    await append(writer, stream, 'no-stream', [numbered(0)]);
    const subscription = follow(store);
    await subscription.until(1);
    server.faults.muteSubscriptions();
    await append(writer, stream, 0, [numbered(1)]);
    await subscription.until(2);
    server.faults.muteSubscriptions();
    await append(writer, stream, 1, [numbered(2)]);
    await subscription.until(3);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([0, 1, 2]);
    expect(warnings.filter((text) => text.includes('stands still'))).toHaveLength(2);
  });

  it('is kept while there are only events of the server', async () => {
    const server = await double();
    const warnings: string[] = [];
    const store = storeAt(server.connectionString, {
      deadlineMs: 900,
      onWarning: (message) => warnings.push(message),
    });
    const writer = storeAt(server.connectionString);
    await append(writer, newStream(), 'no-stream', [numbered(0)]);
    const subscription = follow(store);
    await subscription.until(1);
    const statistics = { id: uuidv7(), type: '$statsCollected', contentType: 'application/json' };
    for (let look = 0; look < 4; look++) {
      server.log.append('$stats', 'any', [
        { ...statistics, data: Buffer.from('{}'), metadata: Buffer.from('') },
      ]);
      const before = server.calls.read;
      await eventually(() => server.calls.read !== before);
    }
    await subscription.end();
    expect([warnings, server.calls.subscribe]).toEqual([[], 1]);
  });

  it('reports when it breaks and when it continues, and nothing in between', async () => {
    const server = await double();
    const warnings: string[] = [];
    let warned: () => void = () => undefined;
    const store = storeAt(server.connectionString, {
      deadlineMs: 900,
      onWarning: (message) => {
        warnings.push(message);
        warned();
      },
    });
    const until = async (count: number) => {
      while (warnings.length < count) await new Promise<void>((resolve) => (warned = resolve));
    };
    const writer = storeAt(server.connectionString);
    await append(writer, newStream(), 'no-stream', [numbered(0)]);
    const subscription = follow(store);
    await subscription.until(1);
    server.faults.stall('read');
    // Each attempt begins by reading what is there.
    const attempts = () => server.calls.subscribe + server.calls.read;
    const before = attempts();
    server.faults.closeSubscriptions('cancelled');
    await until(1);
    await eventually(() => attempts() >= before + 3);
    server.faults.resume();
    await until(2);
    await subscription.end();
    expect(warnings).toEqual([
      expect.stringMatching(/^The subscription to EventStoreDB broke .* made again from/),
      expect.stringMatching(/^The subscription to EventStoreDB goes on from/),
    ]);
  });

  it('leaves nothing open on the server when its consumer stops', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    await append(store, newStream(), 'any', [numbered(1)]);
    const stop = new AbortController();
    for await (const _ of store.subscribe({ after: store.beginning, batchSize: 1, signal: stop.signal })) {
      expect(server.faults.subscriptions).toBe(1);
      break;
    }
    // The cancellation reaches the server after what was sent before it.
    while (server.faults.subscriptions > 0) await store.head();
  });

  it('ends when the store is closed', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    await append(store, newStream(), 'any', [numbered(1)]);
    const subscription = follow(store);
    await subscription.until(1);
    await store.close();
    await subscription.running;
  });

  it('slows the server down when its events are not read', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { deadlineMs: 10_000 });
    const data = { text: 'x'.repeat(1_000) };
    for (let n = 0; n < 20; n++) {
      await append(
        store,
        newStream(),
        'any',
        upTo(500).map((i) => ({ ...numbered(i), data })),
      );
    }
    const stop = new AbortController();
    let seen = 0;
    for await (const batch of store.subscribe({
      after: store.beginning,
      batchSize: 20,
      signal: stop.signal,
    })) {
      if (seen === 0) {
        // Long enough to have sent everything.
        for (let i = 0; i < 200; i++) await store.head();
        expect(server.calls.sent).toBeLessThan(2_000);
      }
      seen += batch.length;
      if (seen === 10_000) stop.abort();
    }
    expect(seen).toBe(10_000);
  });

  it('continues after the server events that it has passed when it is opened again', async () => {
    const server = await double();
    const store = storeAt(server.connectionString);
    const stream = newStream();
    await append(store, stream, 'any', [numbered(1)]);
    const from = await store.head();
    const statistics = upTo(20_000).map(() => ({
      id: uuidv7(),
      type: '$statsCollected',
      contentType: 'application/json',
      data: Buffer.from('{}'),
      metadata: Buffer.from(''),
    }));
    server.log.append('$stats-of-a-quiet-night', 'any', statistics);
    let warn: (message: string) => void = () => undefined;
    const warned = new Promise<string>((resolve) => (warn = resolve));
    const quiet = storeAt(server.connectionString, { onWarning: warn });
    const subscription = follow(quiet, from);
    while (server.calls.checkpoints < 2) await store.head();
    server.faults.closeSubscriptions('clean');
    const [again] = /\d+:\d+/.exec(await warned) ?? [];
    expect(store.compare(again as string, from)).toBeGreaterThan(0);
    expect(await store.head()).toBe(from);
    await append(store, stream, 0, [numbered(2)]);
    await subscription.until(1);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([2]);
  });
});

/** Events of another application. */
const foreign = (count: number, type = 'OrderPlaced') =>
  upTo(count).map(() => ({
    id: uuidv7(),
    type,
    contentType: 'application/json',
    data: Buffer.from('{}'),
    metadata: Buffer.from('{}'),
  }));

describe('beside other applications in EventStoreDB', () => {
  const categories = ['ours'];
  const ours = () => `ours-${uuidv7()}`;

  /** Two of our events, with many others before, between and after them. */
  async function between(server: EventStoreDbDouble, store: EventStore) {
    const stream = ours();
    server.log.append('orders-1', 'any', foreign(3_000));
    await append(store, stream, 'no-stream', [numbered(0)]);
    server.log.append('orders-2', 'any', foreign(3_000));
    await append(store, stream, 0, [numbered(1)]);
    server.log.append('orders-1', 'any', foreign(3_000));
    return stream;
  }

  it('the server skips their events, in every kind of read', async () => {
    const server = await double();
    await between(server, storeAt(server.connectionString, { categories }));
    const store = storeAt(server.connectionString, { categories });
    const head = await store.head();
    const events = await store.readAll({ limit: 10 });
    expect(numbers(events)).toEqual([0, 1]);
    expect(events.at(-1)?.position).toBe(head);
    expect(await store.readAll({ limit: 10, after: head })).toEqual([]);
    expect(await store.backlog(store.beginning)).toMatchObject({ events: 2 });
    expect(await store.backlog(head)).toMatchObject({ events: 0 });
    const subscription = follow(store);
    await subscription.until(2);
    await subscription.end();
    expect(server.calls.events).toBeLessThan(200);
    expect(server.calls.sent).toBe(2);
  });

  it('their new events are scanned once, for all readers', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { categories });
    await between(server, store);
    await store.head();
    server.log.append('orders-1', 'any', foreign(3_000));
    const before = server.calls.read;
    const heads = Promise.all(upTo(30).map(() => store.head()));
    const backlogs = await Promise.all(upTo(30).map(() => store.backlog(store.beginning)));
    expect(new Set(backlogs.map(({ events }) => events))).toEqual(new Set([2]));
    expect(new Set(await heads)).toEqual(new Set([await store.head()]));
    expect(server.calls.read - before).toBeLessThan(12);
  });

  it('a long scan is waited for while the server is there, and no longer', async () => {
    const server = await double();
    await between(server, storeAt(server.connectionString, { categories }));
    const store = storeAt(server.connectionString, { categories, deadlineMs: 600 });
    const release = server.faults.holdLooks();
    const looking = store.head();
    const before = server.calls.read;
    // Each asks whether the server is still there, every tenth of a second: longer than a call could take otherwise.
    await eventually(() => server.calls.read >= before + 10);
    release();
    const head = await looking;
    server.faults.holdLooks();
    const other = storeAt(server.connectionString, { categories, deadlineMs: 600 });
    const vain = other.head();
    vain.catch(() => undefined);
    const asked = server.calls.read;
    await eventually(() => server.calls.read >= asked + 3);
    server.faults.stall('all');
    await expect(vain).rejects.toMatchObject(UNAVAILABLE);
    server.faults.resume();
    expect(await store.head()).toBe(head);
  });

  it('a subscription that scans their events does not count as dead', async () => {
    const server = await double();
    const writer = storeAt(server.connectionString, { categories });
    const stream = await between(server, writer);
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    // A third of it without an answer counts as dead: more than a busy machine pauses.
    const store = storeAt(server.connectionString, { categories, deadlineMs: 2_000, onWarning });
    const subscription = follow(store);
    await subscription.until(2);
    server.faults.muteSubscriptions();
    server.log.append('orders-1', 'any', foreign(3_000));
    const looks = server.calls.read;
    await eventually(() => server.calls.read >= looks + 8);
    expect(warnings).toEqual([]);
    await append(writer, stream, 1, [numbered(2)]);
    await subscription.until(3);
    await subscription.end();
    expect(warnings[0]).toContain('stands still');
  });

  it('their changes to our streams are searched for from the end, within the time limit', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { categories });
    server.log.append('ours-old', 'any', foreign(1_500));
    server.log.append('ours-new', 'any', foreign(1));
    const of = async (withinMs?: number) => {
      const found = await store.check(withinMs === undefined ? {} : { withinMs });
      return found.map(({ code, streamId, severity }) => [code, streamId, severity]);
    };
    const foreigners = [
      ['foreign-event', 'ours-new', 'error'],
      ['foreign-event', 'ours-old', 'error'],
    ];
    expect(await of()).toEqual(foreigners);
    expect(await of(0)).toEqual([...foreigners, ['partly-checked', undefined, 'warning']]);
    server.log.append('ours-newest', 'any', foreign(1_500));
    expect(await of(0)).toEqual([
      ['foreign-event', 'ours-newest', 'error'],
      ['partly-checked', undefined, 'warning'],
    ]);
  });

  it('an event that could never be found again is not recorded', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { categories });
    await expect(append(store, 'orders-1', 'any', [numbered(1)])).rejects.toMatchObject({
      code: 'append.invalid',
      kind: 'invalid',
    });
    expect(server.calls.append).toBe(0);
  });
});

describe('the connection to EventStoreDB', () => {
  it('with wrong credentials is refused everywhere, and no message has the password', async () => {
    const server = await double({ users: { waylog: 'right' } });
    const store = storeAt(server.connectionString.replace(':right@', ':s3cret@'));
    // Without TLS the client sends no credentials at all, which such a server refuses as well.
    const refused = { code: 'log.access-denied', kind: 'unavailable' };
    const calls = [
      () => append(store, newStream(), 'any', [numbered(1)]),
      () => append(store, newStream(), 'no-stream', [numbered(1)]),
      () => read(store, newStream()),
      () => store.head(),
      () => follow(store).running,
    ];
    for (const call of calls) {
      const error: unknown = await call().catch((error: unknown) => error);
      expect(error).toMatchObject(refused);
      expect(String(error)).not.toContain('s3cret');
    }
  });

  it('over TLS checks the password, and trusts the configured certificate', async () => {
    const server = await double({ tls: true, users: { waylog: 'p@ss/w:rd' } });
    const store = storeAt(server.connectionString);
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(1)]);
    expect(numbers(await read(store, stream))).toEqual([1]);
    const subscription = follow(store);
    await subscription.until(1);
    await subscription.end();

    const wrongPassword = storeAt(server.connectionString.replace('p%40ss', 'wrong'));
    await expect(read(wrongPassword, stream)).rejects.toMatchObject({ code: 'log.access-denied' });
    const noAuthority = server.connectionString.replace(/&tlsCAFile=.*/, '');
    const noTrust = storeAt(noAuthority);
    await expect(read(noTrust, stream)).rejects.toMatchObject({
      code: 'log.certificate',
      kind: 'unavailable',
    });
    const plain = await double();
    const secure = `esdb://waylog:x@127.0.0.1:${plain.port}?tls=true&tlsCAFile=${encodeURIComponent(TLS_CERTIFICATE)}`;
    const noTls = { code: 'log.no-tls', kind: 'unavailable' };
    await expect(read(storeAt(secure), stream)).rejects.toMatchObject(noTls);
    await expect(append(storeAt(secure), stream, 'any', [numbered(2)])).rejects.toMatchObject(noTls);
    await expect(follow(storeAt(noAuthority)).running).rejects.toMatchObject({ code: 'log.certificate' });
  });

  it('finds the living leader when the gossip names a dead one and a seed is dead', async () => {
    const dead = await double();
    await dead.stop();
    const live: EventStoreDbDouble = await double({
      members: () => [
        { host: '127.0.0.1', port: dead.port, isAlive: false, state: 'leader' },
        { host: '127.0.0.1', port: live.port, isAlive: true, state: 'leader' },
      ],
    });
    const store = storeAt(`esdb://127.0.0.1:${dead.port},127.0.0.1:${live.port}?tls=false`);
    const stream = newStream();
    expect(await append(store, stream, 'no-stream', [numbered(1)])).toMatchObject({ accepted: true });
    expect(numbers(await read(store, stream))).toEqual([1]);
  });

  it('moves to the node that takes over', async () => {
    const state = { leader: 0 };
    const nodes: EventStoreDbDouble[] = [];
    const members = () =>
      nodes.map(({ port }, i) => ({
        host: '127.0.0.1',
        port,
        isAlive: i >= state.leader,
        state: i === state.leader ? ('leader' as const) : ('follower' as const),
      }));
    const first = await double({ members });
    const second = await double({ members, log: first.log });
    nodes.push(first, second);
    const store = storeAt(
      `esdb://127.0.0.1:${first.port},127.0.0.1:${second.port}?tls=false&discoveryInterval=10`,
    );
    const subscription = follow(store);
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(0)]);
    await subscription.until(1);
    state.leader = 1;
    await first.stop();
    await append(store, stream, 0, [numbered(1)]);
    await subscription.until(2);
    await subscription.end();
    expect(second.calls.append).toBe(1);
    expect(numbers(subscription.seen)).toEqual([0, 1]);
  });

  it('survives a time without a leader, whatever fails while it looks for one', async () => {
    const stray: unknown[] = [];
    const noted = (error: unknown) => stray.push(error);
    process.on('unhandledRejection', noted);
    try {
      let leads = true;
      let asked = 0;
      const node: EventStoreDbDouble = await double({
        members: () => {
          asked++;
          return [{ host: '127.0.0.1', port: node.port, isAlive: leads, state: 'leader' }];
        },
      });
      const store = storeAt(`esdb+discover://127.0.0.1:${node.port}?tls=false&discoveryInterval=10`);
      const subscriptions = [follow(store), follow(store)];
      const stream = newStream();
      await append(store, stream, 'no-stream', [numbered(0)]);
      for (const { until } of subscriptions) await until(1);
      leads = false;
      const before = asked;
      node.faults.closeSubscriptions('cancelled', 1);
      // The connection is opened again, which looks for a leader. What fails on the old connection meanwhile also finds
      // no leader.
      await eventually(() => asked >= before + 2);
      node.faults.closeSubscriptions('cancelled', 1);
      await expect(append(store, stream, 0, [numbered(1)])).rejects.toMatchObject(UNAVAILABLE);
      expect(stray).toEqual([]);
      leads = true;
      await append(store, stream, 'any', [numbered(2)]);
      for (const { until, end } of subscriptions) {
        await until(2);
        await end();
      }
      expect(numbers(await read(store, stream))).toEqual([0, 2]);
      expect(stray).toEqual([]);
    } finally {
      process.off('unhandledRejection', noted);
    }
  });

  it('asks who leads when the leader stops answering, within the time of the call without an answer', async () => {
    let frozen = false;
    let elected = false;
    const nodes: EventStoreDbDouble[] = [];
    const members = () => {
      // The remaining nodes take over some time after the leader stops answering: here, once one of them is asked.
      elected = frozen;
      return nodes.map(({ port }, i) => ({
        host: '127.0.0.1',
        port,
        isAlive: true,
        state: i === (elected ? 1 : 0) ? ('leader' as const) : ('follower' as const),
      }));
    };
    const first = await double({ members });
    const second = await double({ members, log: first.log });
    const third = await double({ members, log: first.log });
    nodes.push(first, second, third);
    const seeds = nodes.map(({ port }) => `127.0.0.1:${port}`).join();
    const store = storeAt(`esdb://${seeds}?tls=false`);
    const subscription = follow(store);
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(0)]);
    await subscription.until(1);
    frozen = true;
    first.faults.stall('all');
    first.faults.muteSubscriptions();
    expect(await append(store, stream, 0, [numbered(1)])).toMatchObject({ accepted: true, repeated: false });
    await subscription.until(2);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([0, 1]);
    expect(second.calls.append).toBe(1);
  });

  it('believes the nodes that most others follow, and not the isolated one', async () => {
    const nodes: EventStoreDbDouble[] = [];
    const seenBy = (leader: number, alive: readonly number[]) => () =>
      nodes.map(({ port }, i) => ({
        host: '127.0.0.1',
        port,
        isAlive: alive.includes(i),
        state: i === leader ? ('leader' as const) : ('follower' as const),
      }));
    const cutOff = await double({ members: seenBy(0, [0]) });
    const leader = await double({ members: seenBy(1, [1, 2]), log: cutOff.log });
    const follower = await double({ members: seenBy(1, [1, 2]), log: cutOff.log });
    nodes.push(cutOff, leader, follower);
    for (const seeds of [nodes, [...nodes].reverse()]) {
      const store = storeAt(`esdb://${seeds.map(({ port }) => `127.0.0.1:${port}`).join()}?tls=false`);
      await append(store, newStream(), 'no-stream', [numbered(0)]);
    }
    expect([cutOff, leader, follower].map(({ calls }) => calls.append)).toEqual([0, 2, 0]);
  });

  it('sends no append whose time ends before its turn', async () => {
    const server = await double();
    const store = storeAt(server.connectionString, { deadlineMs: 1_500 });
    server.faults.stall('append');
    const all = await Promise.allSettled(
      upTo(200).map((n) => append(store, newStream(), 'no-stream', [numbered(n)])),
    );
    for (const outcome of all) expect(outcome).toMatchObject({ status: 'rejected', reason: UNAVAILABLE });
    // 64 at once, three attempts each.
    expect(server.calls.append).toBeLessThanOrEqual(64 * 3);
  });

  it('ends calls that wait for a leader when the store is closed', async () => {
    const dead = await double();
    await dead.stop();
    const store = storeAt(`esdb://127.0.0.1:${dead.port},127.0.0.1:${dead.port}?tls=false`, {
      deadlineMs: 3_600_000,
    });
    const waiting = [store.head(), append(store, newStream(), 'any', [numbered(1)])];
    const refused = Promise.allSettled(waiting);
    await store.close();
    for (const outcome of await refused)
      expect(outcome).toMatchObject({ status: 'rejected', reason: UNAVAILABLE });
  });

  it('whose user cannot read $all is refused there, with what to do', async () => {
    const server = await double({ tls: true, users: { waylog: 'x' }, guardsAll: true });
    const store = storeAt(server.connectionString);
    const denied = { code: 'log.access-denied', kind: 'unavailable' };
    await append(store, newStream(), 'no-stream', [numbered(1)]);
    await expect(store.head()).rejects.toMatchObject(denied);
    await expect(follow(store).running).rejects.toMatchObject(denied);
  });

  it('reports that the nodes do not answer, and records once what is sent again until they do', async () => {
    const silent = await double();
    silent.faults.stall('all');
    const store = storeAt(`esdb+discover://127.0.0.1:${silent.port}?tls=false&gossipTimeout=1`, {
      deadlineMs: 100,
    });
    const stream = newStream();
    const events = [numbered(1)];
    await expect(store.head()).rejects.toMatchObject(UNAVAILABLE);
    await expect(append(store, stream, 'no-stream', events)).rejects.toMatchObject(UNAVAILABLE);
    const message = new Promise((resolve) => {
      const subscription = follow(storeAt(silent.connectionString, { deadlineMs: 100, onWarning: resolve }));
      closing.push(() => subscription.end());
    });
    expect(await message).toMatch(/no answer/);
    silent.faults.resume();
    // The client is still asking the node that did not answer.
    const send = (): Promise<AppendOutcome> =>
      append(store, stream, 'no-stream', events).catch((error: unknown) => {
        expect(error).toMatchObject(UNAVAILABLE);
        return send();
      });
    expect(await send()).toMatchObject({ accepted: true, firstRevision: 0 });
    expect(numbers(await read(store, stream))).toEqual([1]);
  });

  it('reports that no node can be found', async () => {
    const dead = await double();
    await dead.stop();
    const store = storeAt(
      `esdb+discover://127.0.0.1:${dead.port}?tls=false&maxDiscoverAttempts=2&discoveryInterval=10`,
    );
    await expect(store.head()).rejects.toMatchObject(UNAVAILABLE);
    await expect(append(store, newStream(), 'any', [numbered(1)])).rejects.toMatchObject(UNAVAILABLE);
  });

  it('to a server that is too old to give positions is refused with that reason', async () => {
    const store = storeAt((await double({ hidesPositions: true })).connectionString);
    const tooOld = { code: 'log.server-too-old', kind: 'unavailable' };
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(1)]);
    await expect(read(store, stream)).rejects.toMatchObject(tooOld);
  });

  it.each([
    ['names no user', 'esdb://127.0.0.1:2113'],
    ['is for something else', 'http://user:s3cret@127.0.0.1:2113'],
    ['has no port number', 'esdb://user:s3cret@127.0.0.1:http'],
    ['has a password that is not encoded', 'esdb://user:s3cret@home@127.0.0.1:2113'],
    ['has a broken escape in the password', 'esdb://user:s3cret%zz@127.0.0.1:2113'],
    ['leaves calls no time', 'esdb://user:s3cret@127.0.0.1:2113?defaultDeadline=0'],
    ['leaves calls next to no time', 'esdb://user:s3cret@127.0.0.1:2113?defaultDeadline=99'],
    ['leaves a ping no time', 'esdb://user:s3cret@127.0.0.1:2113?keepAliveTimeout=0'],
    ['leaves calls all time', 'esdb://user:s3cret@127.0.0.1:2113?default-deadline=-1'],
  ])('is refused for a string that %s, which no message repeats', (_, connectionString) => {
    const open = () => new EventStoreDbEventStore({ connectionString, pool: database.pool });
    expect(open).toThrow(expect.objectContaining({ code: 'log.connection-string' }) as Error);
    expect(open).not.toThrow(/s3cret/);
  });
  it('names the options of its string that have no effect, and no password', () => {
    const warnings: string[] = [];
    const warn = jest.spyOn(console, 'warn').mockImplementation((text: string) => warnings.push(text));
    try {
      storeAt('esdb://user:s3cret@127.0.0.1:2113?tls=false&tls-verify-cert=false&unknown=1', {
        onWarning: (message) => warnings.push(message),
      });
      expect(warnings.join()).toContain('tls-verify-cert, unknown');
      expect(warnings.join()).not.toContain('s3cret');
    } finally {
      warn.mockRestore();
    }
  });
});

describe('an event that is missing from EventStoreDB', () => {
  /**
   * A store that has seen an event as its last; `look` makes it compare what it has seen with the log, over a new
   * connection.
   */
  async function seen() {
    const server = await double();
    const losses: unknown[] = [];
    const store = storeAt(server.connectionString, { onLoss: (loss) => losses.push(loss) });
    const [kept, gone] = [newStream(), newStream()];
    await append(store, kept, 'no-stream', [numbered(0)]);
    const back = server.log.copy();
    const outcome = await append(store, gone, 'no-stream', [numbered(1), numbered(2)]);
    const position = (outcome.accepted && outcome.positions.at(-1)) || '';
    const at = Date.now();
    while (Date.now() === at) await new Promise(setImmediate);
    const look = async () => {
      await server.restart();
      const isThere = await store.confirm().then(
        () => true,
        () => false,
      );
      return { isThere, losses: losses.length, epoch: store.epoch };
    };
    return { server, store, kept, gone, position, at, back, look };
  }

  it('is not a sign of a log that went back if a scavenge has removed it', async () => {
    const { server, store, kept, gone, position, at, look } = await seen();
    server.log.tombstone(gone);
    server.log.scavenge();
    expect(await store.readAll({ limit: 10 })).toHaveLength(1);
    expect(store.compare(await store.head(), position)).toBeLessThan(0);
    expect(await look()).toEqual({ isThere: true, losses: 0, epoch: 0 });
    expect(await store.reaches(position, at)).toBe(true);
    const subscription = follow(store, position);
    await append(store, kept, 0, [numbered(3)]);
    await subscription.until(1);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([3]);
  });

  it('is such a sign if the log went back and has grown beyond it', async () => {
    const { server, store, position, at, back, look } = await seen();
    back();
    for (const event of foreign(20)) server.log.append('orders-1', 'any', [event]);
    server.log.scavenge();
    expect(await store.reaches(position, at)).toBe(false);
    expect(await look()).toEqual({ isThere: false, losses: 1, epoch: 1 });
  });
});

const server = process.env['ESDB_TEST_URL'];

// Tests that need no fault switch in the server also run against a real one.
describe.each<[string, string | undefined]>([
  ['the double', undefined],
  ...(server ? [['the server of ESDB_TEST_URL', server] as [string, string]] : []),
])('the EventStoreDB store over %s', (_, url) => {
  let connectionString: string;
  let store: EventStore;
  let client: EventStoreDBClient;
  beforeEach(async () => {
    connectionString = url ?? (await double()).connectionString;
    store = storeAt(connectionString, { deadlineMs: 10_000 });
    client = EventStoreDBClient.connectionString(connectionString);
    closing.push(() => client.dispose());
  });
  const credentials = { username: 'admin', password: 'changeit' };

  it("skips events that are not Waylog's", async () => {
    const after = await store.head();
    const stream = newStream();
    await append(store, stream, 'any', [numbered(1)]);
    const foreign = jsonEvent({ type: 'OrderPlaced', data: { n: -1 }, metadata: { by: 'somebody else' } });
    await client.appendToStream(`orders-${uuidv7()}`, [foreign], { credentials });
    await client.setStreamMetadata(stream, { maxAge: 1_000_000 }, { credentials });
    await append(store, stream, 'any', [numbered(2)]);
    expect(numbers(await store.readAll({ after, limit: 10 }))).toEqual([1, 2]);
    expect((await store.backlog(after)).events).toBe(2);
    const subscription = follow(store, after);
    await subscription.until(2);
    await subscription.end();
    expect(numbers(subscription.seen)).toEqual([1, 2]);
  });

  it('names a foreign event at the end of a stream, after which nothing can be recorded', async () => {
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(0)]);
    expect(await append(store, stream, 'no-stream', [numbered(1)])).toMatchObject({ accepted: false });
    const foreign = jsonEvent({ type: 'OrderPlaced', data: {} });
    await client.appendToStream(stream, [foreign], { credentials });
    await expect(append(store, stream, 0, [numbered(1)])).rejects.toMatchObject({
      code: 'log.foreign-event',
      kind: 'conflict',
      data: { streamId: stream, revision: 1, type: 'OrderPlaced' },
    });
  });

  it('does not restart a deleted stream, and refuses one with a tombstone', async () => {
    const stream = newStream();
    await append(store, stream, 'no-stream', [numbered(0), numbered(1)]);
    await client.deleteStream(stream, { credentials });
    expect(await read(store, stream)).toEqual([]);
    await expect(append(store, stream, 'no-stream', [numbered(2)])).rejects.toMatchObject({
      code: 'log.stream-cut-short',
      kind: 'conflict',
    });
    expect(await read(store, stream)).toEqual([]);
    await client.tombstoneStream(stream, { credentials });
    const buried = { code: 'log.stream-tombstoned' };
    await expect(read(store, stream)).rejects.toMatchObject(buried);
    await expect(append(store, stream, 'any', [numbered(3)])).rejects.toMatchObject(buried);
  });

  it('finds what others have done to its streams', async () => {
    const category = `c${uuidv7().replaceAll('-', '')}`;
    const ours = storeAt(connectionString, { deadlineMs: 10_000, categories: [category] });
    const streams = ['whole', 'written', 'between', 'cut', 'deleted', 'buried', 'limited', 'aged', 'allowed'];
    const at = (name: string) => `${category}-${name}`;
    for (const name of streams)
      await append(ours, at(name), 'no-stream', [numbered(0), numbered(1), numbered(2)]);
    expect(await ours.check()).toEqual([]);

    const foreign = jsonEvent({ type: 'OrderPlaced', data: {} });
    await client.appendToStream(at('written'), [foreign, foreign], { credentials });
    await client.appendToStream(at('between'), foreign, { credentials });
    await append(ours, at('between'), 'any', [numbered(3)]);
    await client.appendToStream(at('theirs'), foreign, { credentials });
    await client.setStreamMetadata(at('cut'), { truncateBefore: 2 }, { credentials });
    await client.deleteStream(at('deleted'), { credentials });
    await client.tombstoneStream(at('buried'), { credentials });
    await client.setStreamMetadata(at('limited'), { maxCount: 2 }, { credentials });
    await client.setStreamMetadata(at('limited'), { maxCount: 1_000 }, { credentials });
    await client.setStreamMetadata(at('aged'), { maxAge: 1_000_000 }, { credentials });
    await client.setStreamMetadata(at('allowed'), { maxAge: 1_000_000 }, { credentials });
    await client.setStreamMetadata(at('allowed'), { acl: { readRoles: ['$all'] } }, { credentials });
    const found = await ours.check();
    const as = (code: string, name: string, detail: RegExp) => ({
      severity: 'error',
      code,
      streamId: at(name),
      detail: expect.stringMatching(detail) as string,
    });
    expect(found).toHaveLength(8);
    expect(found).toEqual(
      expect.arrayContaining([
        as('foreign-event', 'written', /at revision 4 .* not of Waylog \(OrderPlaced\), and 1 before it$/),
        as('foreign-event', 'between', /at revision 3 .*\(OrderPlaced\)$/),
        as('foreign-event', 'theirs', /at revision 0 .*; nothing in it is$/),
        as('stream-limit', 'cut', /^has \$tb 2 in its metadata/),
        as('stream-limit', 'deleted', /^was deleted/),
        as('stream-tombstoned', 'buried', /hard-deleted/),
        as('stream-limit', 'limited', /\$maxCount 1000 /),
        as('stream-limit', 'aged', /\$maxAge 1000000 /),
      ]),
    );
  });

  it('reads the rest of a truncated stream', async () => {
    const stream = newStream();
    await append(
      store,
      stream,
      'no-stream',
      upTo(30).map((n) => numbered(n)),
    );
    await client.setStreamMetadata(stream, { truncateBefore: 12 }, { credentials });
    const pages = await collect(store.readStream(stream, { pageSize: 5 }));
    expect(numbers(pages.flat())).toEqual(upTo(30).slice(12));
    expect(await append(store, stream, 29, [numbered(30)])).toMatchObject({ firstRevision: 30 });
  });

  it('refuses positions that are not of an event, and returns nothing beyond the end', async () => {
    const stream = newStream();
    const events = [numbered(1), numbered(2)];
    const outcome = await append(store, stream, 'any', events);
    const [commit = ''] = ((outcome.accepted && outcome.positions.at(-1)) || '').split(':');
    const invalid = { code: 'position.invalid', kind: 'invalid' };
    const beside = String(BigInt(commit) - 1n);
    for (const after of [
      `${beside}:${beside}`,
      '5:3',
      '3:5',
      `${2n ** 63n}:${2n ** 63n}`,
      `${2n ** 64n}:0`,
    ]) {
      await expect(store.readAll({ after, limit: 10 })).rejects.toMatchObject(invalid);
      await expect(store.backlog(after)).rejects.toMatchObject(invalid);
      await expect(follow(store, after).running).rejects.toMatchObject(invalid);
    }
    const beyond = `${BigInt(commit) + 100_000n}:${BigInt(commit) + 100_000n}`;
    expect(await store.readAll({ after: beyond, limit: 10 })).toEqual([]);
    expect(await store.readAll({ after: '9223372036854775807:9223372036854775807', limit: 10 })).toEqual([]);
  });

  it('refuses an append that is larger than the server accepts, recording nothing', async () => {
    const stream = newStream();
    const events = upTo(20).map((n) => ({ ...numbered(n), data: { text: 'x'.repeat(1_000_000) } }));
    await expect(append(store, stream, 'any', events)).rejects.toMatchObject({ code: 'append.too-large' });
    expect(await read(store, stream)).toEqual([]);
  });

  it.each([
    ['a bigint', { n: 1n }],
    ['a circle', Object.assign(Object.create(null) as object, {})],
  ])('refuses data that is not JSON (%s) instead of waiting for it', async (kind, data) => {
    const event = numbered(1);
    if (kind === 'a circle') (data as Record<string, unknown>)['self'] = data;
    const broken = { ...event, data } as unknown as NewEvent;
    await expect(append(store, newStream(), 'any', [broken])).rejects.toMatchObject({
      code: 'append.invalid',
    });
  });
});
