import { v7 as uuidv7 } from 'uuid';
import type {
  AppendOutcome,
  AppendRequest,
  EventStore,
  ExpectedRevision,
  NewEvent,
  Position,
  RecordedEvent,
} from '../event-store.js';
import type { Vocabulary } from '../vocabulary.js';

export interface StoreUnderTest {
  readonly store: EventStore;
  readonly dispose: () => Promise<void>;
  /** A position after all events, in the form of this store; default `999999999`. */
  readonly beyond?: Position;
}

let streams = 0;
// Different from any other run: a server that serves more than one run keeps its streams.
const run = uuidv7();
const newStream = () => `contract-${run}-${++streams}`;
/** Of another category, whose name is part of a word. */
const otherStream = () => `other-${run}-${++streams}`;

/** A small event; `n` tells it from others. */
export const numbered = (n: number, id = uuidv7()): NewEvent => ({
  id,
  type: 'Numbered',
  schemaVersion: 1,
  data: { n },
  metadata: { commandId: id, command: 'Number', correlationId: id, causationId: id, actor: 'contract' },
});

/** All that an async iterable yields. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

/** All guarantees of the port, to be tested against every adapter: `open` creates a store over an empty log. */
export function describeEventStore(
  name: string,
  open: (vocabulary: Vocabulary) => Promise<StoreUnderTest>,
): void {
  describe(`${name} keeps the event store contract`, () => {
    let subject: StoreUnderTest;
    let store: EventStore;
    beforeAll(async () => {
      subject = await open({ contract: { upcasters: { Renamed: [(data) => ({ current: data['old'] })] } } });
      store = subject.store;
    });
    afterAll(() => subject.dispose());

    const append = async (streamId: string, expectedRevision: ExpectedRevision, events: NewEvent[]) =>
      (await store.append([{ streamId, expectedRevision, events }]))[0] as AppendOutcome;
    const read = async (streamId: string, options = {}) =>
      (await collect(store.readStream(streamId, options))).flat();
    const numbers = (events: RecordedEvent[]) => events.map(({ data }) => data['n']);

    describe('append', () => {
      it('records events in order with revisions from 0', async () => {
        const stream = newStream();
        expect(await append(stream, 'no-stream', [numbered(1), numbered(2)])).toMatchObject({
          accepted: true,
          firstRevision: 0,
        });
        expect(await append(stream, 1, [numbered(3)])).toMatchObject({ accepted: true, firstRevision: 2 });
        const events = await read(stream);
        expect(numbers(events)).toEqual([1, 2, 3]);
        expect(events.map(({ revision }) => revision)).toEqual([0, 1, 2]);
      });

      it('gives back exactly what was sent', async () => {
        const stream = newStream();
        const event: NewEvent = {
          ...numbered(1),
          data: {
            text: 'tab\t, newline\n, "quotes", back\\slash, {brace}, ünïcödé ✈ 🛰',
            numbers: [0.1, -1e-300, 1.7976931348623157e308, 63.4123456789012],
            nested: { empty: {}, list: [], nothing: null, yes: true },
          },
        };
        await append(stream, 'no-stream', [event]);
        expect((await read(stream))[0]).toMatchObject(event);
      });

      it.each<[ExpectedRevision, number, boolean]>([
        ['no-stream', 0, true],
        ['no-stream', 1, false],
        ['stream-exists', 0, false],
        ['stream-exists', 1, true],
        ['any', 0, true],
        ['any', 2, true],
        [0, 0, false],
        [0, 1, true],
        [0, 2, false],
        [1, 2, true],
        [7, 2, false],
      ])('expecting %s of a stream with %d events is accepted: %s', async (expected, existing, accepted) => {
        const stream = newStream();
        for (let n = 0; n < existing; n++) await append(stream, 'any', [numbered(n)]);
        const outcome = await append(stream, expected, [numbered(99)]);
        expect(outcome).toMatchObject(
          accepted ? { accepted, firstRevision: existing } : { accepted, currentRevision: existing - 1 },
        );
        expect(await read(stream)).toHaveLength(existing + (accepted ? 1 : 0));
      });

      it('records many streams in one call, each for itself', async () => {
        const [a, b, c] = [newStream(), newStream(), newStream()];
        await append(b, 'no-stream', [numbered(0)]);
        const outcomes = await store.append([
          { streamId: a, expectedRevision: 'no-stream', events: [numbered(1), numbered(2)] },
          { streamId: b, expectedRevision: 'no-stream', events: [numbered(3)] },
          { streamId: c, expectedRevision: 'any', events: [numbered(4)] },
        ]);
        expect(outcomes.map(({ accepted }) => accepted)).toEqual([true, false, true]);
        expect(numbers(await read(a))).toEqual([1, 2]);
        expect(numbers(await read(b))).toEqual([0]);
        expect(numbers(await read(c))).toEqual([4]);
      });

      it('applies two requests for one stream in one call in their order', async () => {
        const stream = newStream();
        const outcomes = await store.append([
          { streamId: stream, expectedRevision: 'no-stream', events: [numbered(1)] },
          { streamId: stream, expectedRevision: 0, events: [numbered(2)] },
        ]);
        expect(outcomes.map(({ accepted }) => accepted)).toEqual([true, true]);
        expect(numbers(await read(stream))).toEqual([1, 2]);
      });

      it('records several streams together, all or nothing, where the store can', async () => {
        if (!store.appendTogether) return;
        const [a, b, c] = [newStream(), newStream(), newStream()];
        await append(b, 'no-stream', [numbered(0)]);
        const requests = (expectedOfB: ExpectedRevision): AppendRequest[] => [
          { streamId: a, expectedRevision: 'no-stream', events: [numbered(1), numbered(2)] },
          { streamId: b, expectedRevision: expectedOfB, events: [numbered(3)] },
        ];
        expect(await store.appendTogether(requests('no-stream'))).toEqual([
          { accepted: false, currentRevision: -1 },
          { accepted: false, currentRevision: 0 },
        ]);
        expect(await read(a)).toEqual([]);
        expect(numbers(await read(b))).toEqual([0]);
        // The place of the stream that was not made goes to another one.
        await append(c, 'no-stream', [numbered(4)]);
        const sent = requests(0);
        const first = await store.appendTogether(sent);
        expect(first).toMatchObject([
          { accepted: true, firstRevision: 0, repeated: false },
          { accepted: true, firstRevision: 1, repeated: false },
        ]);
        expect(await store.appendTogether(sent)).toMatchObject(
          first.map((outcome) => ({ ...outcome, repeated: true })),
        );
        await append(a, 1, [numbered(5)]);
        await append(c, 0, [numbered(6)]);
        expect(numbers(await read(a))).toEqual([1, 2, 5]);
        expect(numbers(await read(b))).toEqual([0, 3]);
        expect(numbers(await read(c))).toEqual([4, 6]);
      });

      it.each<[string, ExpectedRevision]>([
        ['an exact revision', 0],
        ['any', 'any'],
        ['stream-exists', 'stream-exists'],
      ])('answers a repeat with the same event ids as the first time, expecting %s', async (_, expected) => {
        const stream = newStream();
        await append(stream, 'no-stream', [numbered(0)]);
        const events = [numbered(1), numbered(2)];
        const first = await append(stream, expected, events);
        await append(stream, 'any', [numbered(3)]);
        const second = await append(stream, expected, events);
        expect(second).toEqual({ ...first, repeated: true });
        expect(numbers(await read(stream))).toEqual([0, 1, 2, 3]);
      });

      it('answers a repeated creation as the first time', async () => {
        const stream = newStream();
        const events = [numbered(1)];
        const first = await append(stream, 'no-stream', events);
        expect(await append(stream, 'no-stream', events)).toEqual({ ...first, repeated: true });
        expect(await append(stream, 'no-stream', [numbered(1)])).toMatchObject({
          accepted: false,
          currentRevision: 0,
        });
      });

      it.each([
        ['no events', { events: [] }],
        [
          'one event id twice',
          {
            events: [
              numbered(1, '018f0000-0000-7000-8000-000000000001'),
              numbered(2, '018f0000-0000-7000-8000-000000000001'),
            ],
          },
        ],
        ['an empty stream id', { streamId: '' }],
        ['a stream id with a newline', { streamId: 'a\nb' }],
        ['a negative revision', { expectedRevision: -1 }],
        ['a revision that no stream reaches', { expectedRevision: 2 ** 31 - 1 }],
        ['a stream id of over 1,024 bytes', { streamId: 'x'.repeat(1_025) }],
      ])('refuses %s before anything is sent', async (_, wrong) => {
        const streamId = newStream();
        const request = { streamId, expectedRevision: 'any' as const, events: [numbered(1)], ...wrong };
        await expect(store.append([request])).rejects.toMatchObject({ code: 'append.invalid' });
        expect(await read(streamId)).toEqual([]);
      });
    });

    describe('races', () => {
      it('lets exactly one of 64 writers win each revision of a stream', async () => {
        const stream = newStream();
        for (let revision = 0; revision < 5; revision++) {
          const expected: ExpectedRevision = revision === 0 ? 'no-stream' : revision - 1;
          const outcomes = await Promise.all(
            Array.from({ length: 64 }, (_, n) => append(stream, expected, [numbered(n)])),
          );
          const winners = outcomes.flatMap(({ accepted }, n) => (accepted ? [n] : []));
          expect(winners).toHaveLength(1);
          expect(numbers(await read(stream, { fromRevision: revision }))).toEqual(winners);
        }
      });

      it('loses and doubles nothing when 32 writers append to shared streams in any order', async () => {
        const shared = Array.from({ length: 8 }, newStream);
        const written = Array.from({ length: 320 }, (_, n) => n);
        await Promise.all(written.map((n) => append(shared[n % 8] as string, 'any', [numbered(n)])));
        const events = (await Promise.all(shared.map((stream) => read(stream)))).map((stream) => {
          expect(stream.map(({ revision }) => revision)).toEqual(stream.map((_, i) => i));
          return numbers(stream);
        });
        expect(events.flat().sort((a, b) => Number(a) - Number(b))).toEqual(written);
      });
    });

    describe('reading', () => {
      it('reads a part of a stream, in pages', async () => {
        const stream = newStream();
        await append(
          stream,
          'no-stream',
          Array.from({ length: 25 }, (_, n) => numbered(n)),
        );
        expect(numbers(await read(stream, { fromRevision: 3, toRevision: 20, pageSize: 5 }))).toEqual(
          Array.from({ length: 18 }, (_, n) => n + 3),
        );
        expect(await read(stream, { fromRevision: 25 })).toEqual([]);
        expect(await read(newStream())).toEqual([]);
      });

      it('gives the global order, which is the order of each stream too', async () => {
        const after = await store.head();
        const [a, b] = [newStream(), newStream()];
        const outcomes = [
          await append(a, 'any', [numbered(1), numbered(2)]),
          await append(b, 'any', [numbered(3)]),
          await append(a, 'any', [numbered(4)]),
        ];
        const events = await store.readAll({ after, limit: 10 });
        expect(numbers(events)).toEqual([1, 2, 3, 4]);
        expect(events.map(({ position }) => position)).toEqual(
          outcomes.flatMap((o) => (o.accepted ? o.positions : [])),
        );
        expect(events.map(({ position }) => position)).toEqual(
          events.map(({ position }) => position).sort((p, q) => store.compare(p, q)),
        );
        expect(await store.head()).toBe(events.at(-1)?.position);
        expect(numbers(await store.readAll({ after: events[1]?.position as string, limit: 1 }))).toEqual([3]);
      });

      it('reads the log by event type', async () => {
        const after = await store.head();
        await append(newStream(), 'any', [numbered(1), { ...numbered(2), type: 'Other' }, numbered(3)]);
        expect(numbers(await store.readAll({ after, limit: 10, types: ['Other'] }))).toEqual([2]);
      });

      it('reads only the streams of some categories, in the global order', async () => {
        const after = await store.head();
        const [mine, other] = [newStream(), otherStream()];
        await append(other, 'any', [numbered(1)]);
        await append(mine, 'any', [numbered(2)]);
        await append(other, 'any', [numbered(3), numbered(4), { ...numbered(5), type: 'Other' }]);
        await append(mine, 'any', [numbered(6), { ...numbered(7), type: 'Other' }]);
        const ours = { after, categories: ['contract'] };
        expect(numbers(await store.readAll({ ...ours, limit: 10 }))).toEqual([2, 6, 7]);
        expect(numbers(await store.readAll({ ...ours, limit: 2 }))).toEqual([2, 6]);
        expect(numbers(await store.readAll({ ...ours, limit: 10, types: ['Other'] }))).toEqual([7]);
        expect(
          numbers(await store.readAll({ ...ours, limit: 10, categories: ['other', 'contract'] })),
        ).toEqual([1, 2, 3, 4, 5, 6, 7]);
        expect(await store.readAll({ ...ours, limit: 10, categories: ['contrac', 'contract-'] })).toEqual([]);
        expect(await store.readAll({ ...ours, after: await store.head(), limit: 10 })).toEqual([]);
      });

      it('finds an event of a category behind many others, and goes on from there', async () => {
        const after = await store.head();
        const other = otherStream();
        const many = Array.from({ length: 300 }, (_, n) => numbered(n));
        await append(other, 'any', many);
        const mine = newStream();
        await append(mine, 'any', [numbered(301)]);
        await append(other, 'any', [numbered(302)]);
        await append(mine, 'any', [numbered(303)]);
        const [first] = await store.readAll({ after, limit: 1, categories: ['contract'] });
        expect(first?.data).toEqual({ n: 301 });
        const next = { after: first?.position as string, limit: 1, categories: ['contract'] };
        expect(numbers(await store.readAll(next))).toEqual([303]);
      });

      it('counts what comes after a position in the streams of some categories', async () => {
        const ours = ['contract'];
        const after = await store.head();
        await append(otherStream(), 'any', [numbered(1), numbered(2)]);
        // Twice: what was looked through is remembered.
        for (let times = 0; times < 2; times++)
          expect(await store.backlog(after, ours)).toEqual({ events: 0, since: undefined });
        const stream = newStream();
        await append(stream, 'any', [numbered(3), numbered(4)]);
        await append(otherStream(), 'any', [numbered(5)]);
        const [first, second] = await read(stream);
        expect(await store.backlog(after, ours)).toEqual({ events: 2, since: first?.recordedAt });
        expect(await store.backlog(after, ['contract', 'other'])).toMatchObject({ events: 5 });
        expect(await store.backlog(first?.position as string, ours)).toMatchObject({ events: 1 });
        expect(await store.backlog(second?.position as string, ours)).toMatchObject({ events: 0 });
      });

      it('counts what comes after a position', async () => {
        const after = await store.head();
        expect(await store.backlog(after)).toEqual({ events: 0, since: undefined });
        const stream = newStream();
        await append(stream, 'any', [numbered(1), numbered(2)]);
        expect(await store.backlog(after)).toEqual({ events: 2, since: (await read(stream))[0]?.recordedAt });
      });

      it('refuses a text that is not a position', async () => {
        await expect(store.readAll({ after: 'yesterday', limit: 1 })).rejects.toMatchObject({
          code: 'position.invalid',
        });
      });

      it('brings old events to the current schema', async () => {
        const stream = newStream();
        await append(stream, 'any', [
          { ...numbered(1), type: 'Renamed', data: { old: 1 } },
          { ...numbered(1), type: 'Renamed', data: { current: 2 }, schemaVersion: 2 },
        ]);
        expect((await read(stream)).map(({ data, schemaVersion }) => [data, schemaVersion])).toEqual([
          [{ current: 1 }, 2],
          [{ current: 2 }, 2],
        ]);
      });

      it('refuses to guess at events from newer code', async () => {
        const stream = newStream();
        await append(stream, 'any', [{ ...numbered(1), type: 'FromTheFuture', schemaVersion: 3 }]);
        await expect(read(stream)).rejects.toMatchObject({ code: 'event.newer-than-code' });
      });
    });
    // The event from the future stays in the log, so tests that read the whole log start after it.
    describe('subscriptions', () => {
      it('catch up first and then follow, skipping and doubling nothing', async () => {
        const after = await store.head();
        const stop = new AbortController();
        const stream = newStream();
        for (let n = 0; n < 20; n++) await append(stream, 'any', [numbered(n)]);
        const seen: unknown[] = [];
        const writers = Promise.all(
          Array.from({ length: 180 }, (_, n) => append(newStream(), 'any', [numbered(20 + n)])),
        );
        for await (const batch of store.subscribe({ after, batchSize: 7, signal: stop.signal })) {
          expect(batch.length).toBeLessThanOrEqual(7);
          seen.push(...numbers(batch));
          if (seen.length >= 200) stop.abort();
        }
        await writers;
        expect(seen.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, n) => n));
        expect(seen.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 200 }, (_, n) => n));
      });

      it('of some categories pass over the events of others, however many', async () => {
        const after = await store.head();
        const stop = new AbortController();
        const other = otherStream();
        await append(
          other,
          'any',
          Array.from({ length: 50 }, (_, n) => numbered(n)),
        );
        const stream = newStream();
        await append(stream, 'any', [numbered(100)]);
        const seen: unknown[] = [];
        const options = { after, batchSize: 7, categories: ['contract'], signal: stop.signal };
        for await (const batch of store.subscribe(options)) {
          seen.push(...numbers(batch));
          // While it waits at the end of the log, and while it goes on.
          if (seen.length === 1) {
            await append(other, 'any', [numbered(200)]);
            await append(stream, 'any', [numbered(101)]);
          }
          if (seen.length === 2) stop.abort();
        }
        expect(seen).toEqual([100, 101]);
      });

      it('end when they are told to, even while they look, and wait quietly beyond the head', async () => {
        const { beyond = '999999999' } = subject;
        const stop = new AbortController();
        const subscription = store.subscribe({ after: beyond, batchSize: 1, signal: stop.signal });
        const looking = subscription[Symbol.asyncIterator]();
        const next = looking.next();
        stop.abort();
        expect(await next).toMatchObject({ done: true });

        const later = new AbortController();
        setTimeout(() => later.abort(), 20);
        expect(await collect(store.subscribe({ after: beyond, batchSize: 1, signal: later.signal }))).toEqual(
          [],
        );
      });

      it('end when they are told to, even while they wait', async () => {
        const stop = new AbortController();
        const batches = collect(
          store.subscribe({ after: await store.head(), batchSize: 1, signal: stop.signal }),
        );
        setImmediate(() => stop.abort());
        expect(await batches).toEqual([]);
      });
    });

    describe('snapshots', () => {
      it('come back by stream and version, the newest of each', async () => {
        const stream = newStream();
        expect(await store.loadSnapshot(stream, 1)).toBeUndefined();
        await store.saveSnapshot(stream, 1, { revision: 5, state: '{"at":5}' });
        await store.saveSnapshot(stream, 1, { revision: 9, state: '{"at":9}' });
        expect(await store.loadSnapshot(stream, 1)).toEqual({ revision: 9, state: '{"at":9}' });
        expect(await store.loadSnapshot(stream, 2)).toBeUndefined();
      });
    });
  });
}
