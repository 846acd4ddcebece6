import { unavailable } from '#lib/platform';
import type { AppendRequest, EventStore, NewEvent, RecordedEvent } from '../event-store.js';
import { InMemoryEventStore } from '../in-memory/in-memory-event-store.js';
import { numbered } from '../testing/event-store.contract.js';
import { asRecorded } from '../vocabulary.js';
import { copyLog } from './copy-log.js';

describe('a copied log', () => {
  const open = () => new InMemoryEventStore({ vocabulary: asRecorded });
  const append = async (store: EventStore, streamId: string, ...events: NewEvent[]) =>
    store.append([{ streamId, expectedRevision: 'any', events }]);
  const all = (store: EventStore) => store.readAll({ limit: 1_000_000 });
  const kept = (events: RecordedEvent[]) => events.map(({ position: _p, recordedAt: _r, ...event }) => event);
  const odd = (n: number): NewEvent => ({
    ...numbered(n),
    schemaVersion: 7,
    data: { n, text: 'line\nbreak "quoted" \u2028 🚁', nested: { list: [1.5, null, true, -0.1] } },
  });
  /** A store with other appends. */
  const withAppend = (store: EventStore, append: EventStore['append']): EventStore =>
    new Proxy(store, {
      get(inner, name) {
        if (name === 'append') return append;
        const value = Reflect.get(inner, name) as unknown;
        return typeof value === 'function' ? (value.bind(inner) as unknown) : value;
      },
    });
  /** Three streams, interleaved as in real use. */
  async function aSource(rounds = 400): Promise<InMemoryEventStore> {
    const source = open();
    for (let n = 0; n < rounds; n++)
      for (const stream of ['a', 'b', 'ü 3']) await append(source, stream, numbered(n), odd(n));
    return source;
  }

  it('is the same by hash, event for event and in the same order', async () => {
    const source = await aSource();
    const target = open();
    const steps: string[] = [];
    const copied = await copyLog({ from: source, to: target, onProgress: (step) => steps.push(step) });
    expect(copied).toMatchObject({
      recorded: 2_400,
      already: 0,
      sameOrder: true,
      differences: [],
      identical: true,
    });
    expect(copied.source).toEqual(copied.target);
    expect(copied.source).toMatchObject({ events: 2_400, streams: 3 });
    expect(kept(await all(target))).toEqual(kept(await all(source)));
    expect([...new Set(steps)]).toEqual(['copying', 'comparing']);
  });

  it('records nothing twice, and adds what the source has got since', async () => {
    const source = await aSource(20);
    const target = open();
    await copyLog({ from: source, to: target });
    await append(source, 'b', numbered(1_000));
    await append(source, 'new', numbered(1));
    expect(await copyLog({ from: source, to: target })).toMatchObject({
      recorded: 2,
      already: 120,
      identical: true,
      sameOrder: true,
    });
    expect(await copyLog({ from: source, to: target })).toMatchObject({ recorded: 0, already: 122 });
    expect(kept(await all(target))).toEqual(kept(await all(source)));
  });

  it.each([1, 2, 5])('continues after an interruption at append %i, doubling nothing', async (cut) => {
    const source = await aSource(100);
    const target = open();
    let appends = 0;
    const failing = new Proxy(target, {
      get(store, name) {
        const value = Reflect.get(store, name) as unknown;
        if (name !== 'append') return typeof value === 'function' ? (value.bind(store) as unknown) : value;
        return async (requests: readonly AppendRequest[]) => {
          const outcomes = await store.append(requests);
          // Recorded, and the acknowledgement is lost: the worst moment.
          if (++appends === cut) throw new Error('lost');
          return outcomes;
        };
      },
    });
    await expect(copyLog({ from: source, to: failing })).rejects.toThrow('lost');
    const there = (await all(target)).length;
    const done = await copyLog({ from: source, to: target });
    expect(done).toMatchObject({ already: there, recorded: 600 - there, identical: true, sameOrder: true });
  });

  it('writes several streams at once if only their own order counts, and each event once', async () => {
    const source = await aSource();
    const mostAtOnce = async (order: 'log' | 'stream') => {
      const target = open();
      let [atOnce, most] = [0, 0];
      const to = withAppend(target, async (requests) => {
        most = Math.max(most, ++atOnce);
        await new Promise(setImmediate);
        atOnce--;
        return target.append(requests);
      });
      const copied = await copyLog({ from: source, to, order });
      expect(copied).toMatchObject({ recorded: 2_400, differences: [], identical: true });
      expect(copied.sameOrder).toBe(order === 'log');
      return most;
    };
    expect(await mostAtOnce('stream')).toBe(3);
    expect(await mostAtOnce('log')).toBe(1);
  });

  it('waits for logs that do not answer for a while, and reports it', async () => {
    const source = await aSource(100);
    const target = open();
    let [reads, appends] = [0, 0];
    const away = () => unavailable('database.unavailable', 'No answer.');
    const from = new Proxy(source, {
      get(store, name) {
        const value = Reflect.get(store, name) as unknown;
        if (typeof value !== 'function') return value;
        const call = value.bind(store) as (...args: unknown[]) => unknown;
        const isRead = name === 'readAll' || name === 'head' || name === 'backlog';
        return isRead ? (...args: unknown[]) => (++reads % 2 ? Promise.reject(away()) : call(...args)) : call;
      },
    });
    const to = withAppend(target, async (requests) => {
      const outcomes = await target.append(requests);
      // Recorded, and the acknowledgement is lost.
      if (++appends === 5 || appends === 6) throw away();
      return outcomes;
    });
    const warnings: string[] = [];
    const done = await copyLog({ from, to, onWarning: (message) => warnings.push(message) });
    expect(done).toMatchObject({ recorded: 600, already: 0, identical: true, sameOrder: true });
    expect(warnings[0]).toMatch(/does not answer .*No answer.* waited for, up to 120 s/);
    expect(warnings[1]).toMatch(/goes on/);
    const never = withAppend(open(), () => Promise.reject(away()));
    await expect(copyLog({ from: source, to: never, patienceMs: 1 })).rejects.toMatchObject({
      code: 'database.unavailable',
    });
  });

  it('gives the number of events, if known', async () => {
    const source = await aSource(400);
    const totals = new Set<number | undefined>();
    await copyLog({ from: source, to: open(), onProgress: (_step, _events, total) => totals.add(total) });
    expect([...totals]).toEqual([2_400]);
    totals.clear();
    // Like EventStoreDB, which counts no further.
    const capped = Object.assign(Object.create(source) as InMemoryEventStore, {
      backlog: () => Promise.resolve({ events: 10, since: undefined }),
      head: () => source.head(),
      readAll: (options: Parameters<EventStore['readAll']>[0]) => source.readAll(options),
      compare: (a: string, b: string) => source.compare(a, b),
      beginning: source.beginning,
    });
    await copyLog({
      from: capped,
      to: open(),
      onProgress: (step, _events, total) => step === 'copying' && totals.add(total),
    });
    expect([...totals]).toEqual([undefined]);
  });

  it('can be limited to some streams', async () => {
    const source = await aSource(10);
    const target = open();
    await append(target, 'own', numbered(1));
    expect(await copyLog({ from: source, to: target, streams: ['b'] })).toMatchObject({
      recorded: 20,
      identical: true,
      source: { events: 20, streams: 1 },
    });
    expect(new Set((await all(target)).map(({ streamId }) => streamId))).toEqual(new Set(['own', 'b']));
    await expect(copyLog({ from: source, to: target, streams: ['b', 'nowhere'] })).rejects.toMatchObject({
      code: 'log.no-such-stream',
    });
  });

  it('leaves out a stream that has other events in the target, and reports it; the others continue', async () => {
    const source = await aSource(10);
    const target = open();
    await append(target, 'a', numbered(77));
    const ofB = (await all(source)).filter(({ streamId }) => streamId === 'b') as [
      RecordedEvent,
      RecordedEvent,
    ];
    // The same ids, which an append would take for a repeat, with other content.
    await append(target, 'b', { ...ofB[0], data: { n: 'other' } }, ofB[1]);
    const copied = await copyLog({ from: source, to: target });
    expect(copied).toMatchObject({
      recorded: 20,
      identical: false,
      differences: [
        { streamId: 'a', source: 20, target: 1, what: 'other events' },
        { streamId: 'b', source: 20, target: 2, what: 'other events' },
      ],
    });
    expect(copied.source.sha256).not.toBe(copied.target.sha256);
    expect((await all(target)).filter(({ streamId }) => streamId === 'a')).toHaveLength(1);
  });

  it.each([0, 1, 7])('has a stream that lacks revision %i up to there, and reports it', async (gone) => {
    const source = await aSource(10);
    const without = new Proxy(source, {
      get(store, name) {
        const value = Reflect.get(store, name) as unknown;
        if (name !== 'readAll') return typeof value === 'function' ? (value.bind(store) as unknown) : value;
        return async (options: Parameters<EventStore['readAll']>[0]) =>
          (await store.readAll(options)).filter((e) => e.streamId !== 'b' || e.revision !== gone);
      },
    });
    const target = open();
    for (const recorded of [40 + gone, 0])
      expect(await copyLog({ from: without, to: target })).toMatchObject({
        recorded,
        identical: false,
        sameOrder: true,
        differences: [{ streamId: 'b', source: gone, target: gone, what: 'gap' }],
      });
    expect((await all(target)).filter(({ streamId }) => streamId === 'b')).toHaveLength(gone);
  });

  it('fails if the target changes the order, unless only the order of each stream counts', async () => {
    const source = await aSource(10);
    for (const order of ['log', 'stream'] as const) {
      const target = open();
      const to = withAppend(target, async (requests) =>
        (await target.append(requests.toReversed())).toReversed(),
      );
      const copy = copyLog({ from: source, to, order });
      if (order === 'log') await expect(copy).rejects.toMatchObject({ code: 'log.order-lost' });
      else expect(await copy).toMatchObject({ identical: true });
    }
  });

  it('reports a stream that has continued in the target', async () => {
    const source = await aSource(10);
    const target = open();
    await copyLog({ from: source, to: target });
    await append(target, 'a', numbered(77));
    expect(await copyLog({ from: source, to: target })).toMatchObject({
      recorded: 0,
      already: 60,
      identical: false,
      differences: [{ streamId: 'a', source: 20, target: 21, what: 'longer' }],
    });
  });

  it('is compared by hash, which finds what a target has lost or changed', async () => {
    const source = await aSource(10);
    const target = open();
    const forgetful = new Proxy(target, {
      get(store, name) {
        const value = Reflect.get(store, name) as unknown;
        if (name !== 'readAll') return typeof value === 'function' ? (value.bind(store) as unknown) : value;
        return async (options: Parameters<EventStore['readAll']>[0]) =>
          (await store.readAll(options))
            .filter(({ streamId }) => streamId !== 'ü 3')
            .map((e) =>
              e.streamId === 'b' && e.revision === 3 ? { ...e, metadata: { ...e.metadata, actor: 'x' } } : e,
            );
      },
    });
    expect(await copyLog({ from: source, to: forgetful })).toMatchObject({
      identical: false,
      differences: [
        { streamId: 'b', what: 'other events' },
        { streamId: 'ü 3', source: 20, target: 0, what: 'missing' },
      ],
    });
  });
});
