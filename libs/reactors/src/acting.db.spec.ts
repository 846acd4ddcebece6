import { v7 as uuidv7 } from 'uuid';
import { conflict, unavailable } from '#lib/platform';
import { openEventStore, PartOfLog, type EventStore, type RecordedEvent } from '#lib/event-store';
import { InMemoryEventStore } from '../../event-store/src/in-memory/in-memory-event-store.js';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { eventually } from '../../../test/support/eventually.js';
import { Acting, type ActingOptions } from './acting.js';
import { nameOfLog } from './recorded.js';
import { Hopeless } from './failures.js';
import {
  pauseReactor,
  resetReactor,
  resumeReactor,
  retryReactions,
  discardReaction,
  waitingReactions,
} from './operate.js';
import { reactorState } from './states.js';

const server = process.env['ESDB_TEST_URL'];
const logs = [
  'in memory',
  'PostgreSQL',
  'EventStoreDB',
  ...(server ? ['on the server of ESDB_TEST_URL'] : []),
];
const run = uuidv7();
/** A category without events, also on a server that was used before. */
const horn = `horn${Date.now().toString(36)}`;

describe.each(logs)('a reactor, with the log %s', (log) => {
  let database: TestDatabase;
  let whole: EventStore;
  let store: PartOfLog;
  beforeAll(async () => {
    database = await testDatabase(log === 'EventStoreDB' ? log : 'PostgreSQL');
    const { pool, listener, eventStore: double } = database;
    const eventStore = log.startsWith('on') ? server : double;
    whole =
      log === 'in memory'
        ? new InMemoryEventStore()
        : await openEventStore({
            eventStore:
              eventStore && `${eventStore}${eventStore.includes('?') ? '&' : '?'}defaultDeadline=60000`,
            pool,
            listener,
            vocabulary: { bell: {}, [horn]: {} },
          });
    store = new PartOfLog(whole, ['bell']);
  });
  afterAll(async () => {
    await whole.close();
    await database.drop();
  });

  let running: Acting[] = [];
  let name = '';
  let acted: string[] = [];
  let names = 0;
  beforeEach(() => {
    name = `ringer-${++names}-${run}`;
    acted = [];
  });
  afterEach(async () => {
    await Promise.all(running.map((one) => one.stop()));
    running = [];
  });

  const events = (streamId: string, from: number, ...types: string[]) =>
    whole.append([
      {
        streamId,
        expectedRevision: from === 0 ? 'no-stream' : from - 1,
        events: types.map((type) => ({
          id: uuidv7(),
          type,
          schemaVersion: 1,
          data: {},
          metadata: {
            commandId: uuidv7(),
            command: 'Ring',
            correlationId: 'c',
            causationId: 'c',
            actor: 'test',
          },
        })),
      },
    ]);
  /** A stream that no other test has. */
  const bell = (what: string) => `bell-${what}-${name}`;
  const said = ({ streamId, revision }: RecordedEvent) => `${streamId} ${revision}`;
  const act = (event: RecordedEvent): Promise<void> => {
    acted.push(said(event));
    return Promise.resolve();
  };
  const warnings: string[] = [];
  const options = (more: Partial<ActingOptions> = {}): ActingOptions => ({
    name,
    version: 1,
    store,
    concerns: ({ streamId, type }) => streamId.endsWith(name) && type === 'Rung',
    act,
    pool: database.pool,
    connectionString: database.url,
    log: { info: () => undefined, warn: (message) => void warnings.push(message) },
    standbyIntervalMs: 20,
    ...more,
  });
  /** Runs one, once it has taken its place. */
  const started = async (more: Partial<ActingOptions> = {}): Promise<Acting> => {
    const acting = new Acting(options(more));
    running.push(acting);
    acting.start();
    await eventually(() => acting.status.state === 'active');
    return acting;
  };
  const ended = async (acting: Acting) => {
    await acting.stop();
    running = running.filter((one) => one !== acting);
  };
  const state = () => reactorState(database.pool, { name, version: 1, hears: store });
  const isAtEnd = async () => {
    const { position } = await state();
    return position !== undefined && store.compare(position, await store.head()) >= 0;
  };
  const waiting = () => waitingReactions(database.pool, [name]);
  const by = { reason: 'test', by: 'test' };

  it('acts on what comes after its first start, in the order of each stream', async () => {
    await events(bell('a'), 0, 'Rung');
    const acting = await started();
    await events(bell('a'), 1, 'Rung', 'Muffled', 'Rung');
    await events(bell('b'), 0, 'Rung');
    await eventually(isAtEnd);
    expect(acted.filter((one) => one.startsWith(bell('a')))).toEqual([`${bell('a')} 1`, `${bell('a')} 3`]);
    expect(acted).toHaveLength(3);
    expect(acting.status.eventsFolded).toBe(3);
  });

  it('begins at the beginning of the log when it is told to', async () => {
    await events(bell('a'), 0, 'Rung', 'Rung');
    await started({ startsAt: 'beginning' });
    await eventually(isAtEnd);
    expect(acted).toHaveLength(2);
  });

  it('goes on where it was, and acts on nothing twice after an orderly stop', async () => {
    const first = await started();
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    await ended(first);
    await events(bell('a'), 1, 'Rung');
    expect(await state()).toMatchObject({ state: 'stopped', lagEvents: 1 });
    await started();
    await eventually(isAtEnd);
    expect(acted).toEqual([`${bell('a')} 0`, `${bell('a')} 1`]);
    expect(await state()).toMatchObject({ state: 'active', lagEvents: 0, waiting: 0, parked: 0 });
  });

  it('stops between two events, and records those before', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const first = await started({ act: (event) => act(event).then(() => held) });
    await events(bell('a'), 0, 'Rung', 'Rung', 'Rung');
    await eventually(() => acted.length === 1);
    const stopped = ended(first);
    release();
    await stopped;
    await started();
    await eventually(isAtEnd);
    expect(acted).toEqual([0, 1, 2].map((revision) => `${bell('a')} ${revision}`));
  });

  it('blames no event for being told to stop, and does not wait for ever for one that does not heed it', async () => {
    const heeds = await started({
      act: (event, signal) =>
        new Promise((_, reject) => {
          acted.push(said(event));
          signal.addEventListener('abort', () => reject(new Error('aborted')));
        }),
    });
    await events(bell('a'), 0, 'Rung');
    await eventually(() => acted.length === 1);
    await ended(heeds);
    expect(await waiting()).toEqual([]);
    const hangs = await started({ act: (event) => new Promise(() => acted.push(said(event))) });
    await eventually(() => acted.length === 2);
    await ended(hangs);
    expect(await waiting()).toEqual([]);
    await started();
    await eventually(isAtEnd);
    expect(acted).toEqual(Array(3).fill(`${bell('a')} 0`));
  });

  it('sets a stream aside whose event fails, and catches up with it in order', async () => {
    let isBroken = true;
    await started({
      act: async (event) => {
        if (isBroken && event.streamId === bell('a') && event.revision === 1)
          throw conflict('bell.broken', 'The bell is broken.');
        await act(event);
      },
    });
    await events(bell('a'), 0, 'Rung', 'Rung', 'Rung');
    await events(bell('b'), 0, 'Rung', 'Rung');
    await eventually(isAtEnd);
    expect(acted.toSorted()).toEqual([`${bell('a')} 0`, `${bell('b')} 0`, `${bell('b')} 1`]);
    expect(await waiting()).toMatchObject([
      { of: bell('a'), revision: 1, type: 'Rung', error: 'The bell is broken.', attempts: 1 },
    ]);
    expect((await waiting())[0]?.nextAttemptAt).toBeDefined();
    await events(bell('a'), 3, 'Rung');
    await eventually(isAtEnd);
    isBroken = false;
    await retryReactions(database.pool, name, bell('a'));
    await eventually(async () => (await waiting()).length === 0);
    expect(acted.filter((one) => one.startsWith(bell('a')))).toEqual(
      [0, 1, 2, 3].map((revision) => `${bell('a')} ${revision}`),
    );
    await events(bell('a'), 4, 'Rung');
    await eventually(() => acted.includes(`${bell('a')} 4`));
  });

  it('parks a stream whose event fails again and again, until an operator has it tried or discarded', async () => {
    let tried = 0;
    await started({
      attempts: 2,
      act: async (event) => {
        if (event.revision === 0 && event.streamId === bell('a')) {
          tried++;
          throw new Error('It never rings.');
        }
        await act(event);
      },
    });
    await events(bell('a'), 0, 'Rung', 'Rung');
    const parked = { revision: 0, attempts: 2, error: 'It never rings.' };
    await eventually(async () => (await state()).parked === 1);
    const [found] = await waiting();
    expect(found).toMatchObject(parked);
    expect(found).not.toHaveProperty('nextAttemptAt');
    expect(tried).toBe(2);
    expect(warnings.at(-1)).toContain(`waylog reactors waiting ${name}`);
    expect(await retryReactions(database.pool, name)).toBe(1);
    await eventually(async () => tried === 4 && (await state()).parked === 1);
    await discardReaction(database.pool, name, bell('a'), by);
    await eventually(async () => (await waiting()).length === 0);
    expect(acted).toEqual([`${bell('a')} 1`]);
    const { rows } = await database.pool.query(
      `select revision, type, reason, discarded_by from projection.discarded_reactions where reactor = $1`,
      [name],
    );
    expect(rows).toEqual([{ revision: 0, type: 'Rung', reason: 'test', discarded_by: 'test' }]);
    await expect(discardReaction(database.pool, name, bell('a'), by)).rejects.toMatchObject({
      code: 'reactor.nothing-waits',
    });
  });

  it('discards what has failed, and not what comes after it and was not tried yet', async () => {
    const acting = await started({
      act: (event) => (event.revision === 0 ? Promise.reject(new Error('broken')) : act(event)),
    });
    await events(bell('a'), 0, 'Rung', 'Rung', 'Rung');
    await eventually(async () => (await waiting()).length === 1);
    await pauseReactor(database.pool, name, by);
    await eventually(() => acting.status.state === 'paused');
    await discardReaction(database.pool, name, bell('a'), by);
    await expect(discardReaction(database.pool, name, bell('a'), by)).rejects.toMatchObject({
      code: 'reactor.nothing-waits',
    });
    expect(await waiting()).toMatchObject([
      { revision: 1, error: expect.stringMatching(/not been tried yet/) },
    ]);
    await resumeReactor(database.pool, name);
    await eventually(() => acted.length === 2);
    expect(acted).toEqual([`${bell('a')} 1`, `${bell('a')} 2`]);
  });

  it.each([
    ['no text', Object.create(null) as unknown, 'It failed without saying why.'],
    ['no message', Object.assign(new Error(), { message: undefined }), 'It failed without saying why.'],
    ['a text that no database takes', new Error('a\0b \ud800'), 'a\ufffdb \ufffd'],
    ['a text without end', new Error('x'.repeat(5_000_000)), `${'x'.repeat(2_000)}...`],
  ])('keeps what was thrown with %s', async (_, thrown, kept) => {
    await started({
      act: (event) =>
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what others throw is anything
        event.streamId === bell('a') ? Promise.reject(thrown) : act(event),
    });
    await events(bell('a'), 0, 'Rung');
    await events(bell('b'), 0, 'Rung');
    await eventually(isAtEnd);
    expect(await waiting()).toMatchObject([{ of: bell('a'), error: kept }]);
    expect(acted).toEqual([`${bell('b')} 0`]);
  });

  it('is paused in the middle of many events', async () => {
    const acting = await started({
      act: (event) => act(event).then(() => new Promise((resolve) => setTimeout(resolve, 100))),
    });
    await events(bell('a'), 0, ...Array<string>(100).fill('Rung'));
    await eventually(() => acted.length > 2);
    await pauseReactor(database.pool, name, by);
    await eventually(() => acting.status.state === 'paused');
    const before = acted.length;
    expect(before).toBeLessThan(100);
    await resumeReactor(database.pool, name);
    await eventually(isAtEnd);
    expect(acted).toEqual(Array.from({ length: 100 }, (_, revision) => `${bell('a')} ${revision}`));
  });

  it('knows its log, also if that was empty when it began', async () => {
    const later = new PartOfLog(whole, [horn]);
    await started({ store: later, concerns: () => true });
    await events(`${horn}-${name}`, 0, 'Rung');
    await eventually(() => acted.length === 1);
    const ofLog = async () =>
      (await database.pool.query(`select log from projection.reactors where name = $1`, [name])).rows[0]
        .log as string | null;
    await eventually(async () => (await ofLog()) !== null);
    expect(await ofLog()).toBe(await nameOfLog(whole));
  });

  it('waits with everything while what it needs does not answer', async () => {
    let isAway = true;
    let tried = 0;
    await started({
      act: async (event) => {
        tried++;
        if (isAway) throw unavailable('bell-tower.away', 'The tower does not answer.');
        await act(event);
      },
    });
    await events(bell('a'), 0, 'Rung');
    await events(bell('b'), 0, 'Rung');
    await eventually(() => tried > 4);
    expect(await waiting()).toEqual([]);
    await eventually(async () => (await state()).lastError === 'The tower does not answer.');
    // Also in what the last report of a lead has left.
    await eventually(async () => {
      const { rows } = await database.pool.query(`select state from projection.projectors where name = $1`, [
        `reactor:${name}`,
      ]);
      return rows[0]?.state === 'failed';
    });
    isAway = false;
    await eventually(isAtEnd);
    expect(acted.toSorted()).toEqual([`${bell('a')} 0`, `${bell('b')} 0`]);
  });

  it('of a new version acts past the place of the old one, which does not act any more', async () => {
    const old = await started();
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    await ended(old);
    await events(bell('a'), 1, 'Rung');
    const ofNew: string[] = [];
    const next = await started({
      version: 2,
      act: (event) => Promise.resolve(void ofNew.push(said(event))),
    });
    await eventually(isAtEnd);
    expect([acted, ofNew]).toEqual([[`${bell('a')} 0`], [`${bell('a')} 1`]]);
    await ended(next);
    const again = new Acting(options());
    running.push(again);
    again.start();
    await eventually(() => again.status.lastError?.message.includes('a newer version'));
    await events(bell('a'), 2, 'Rung');
    expect(acted).toHaveLength(1);
  });

  it('is paused and resumed by anybody, and moved to act again', async () => {
    const acting = await started();
    const start = (await state()).position as string;
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    await pauseReactor(database.pool, name, by);
    await eventually(() => acting.status.state === 'paused');
    expect(await state()).toMatchObject({ state: 'paused', pausedBy: 'test', pauseReason: 'test' });
    await events(bell('a'), 1, 'Rung');
    await resetReactor(database.pool, name, store, start);
    expect(acted).toHaveLength(1);
    await resumeReactor(database.pool, name);
    await eventually(isAtEnd);
    expect(acted).toEqual([0, 0, 1].map((revision) => `${bell('a')} ${revision}`));
    // While it runs and has nothing to do.
    await resetReactor(database.pool, name, store, start);
    await eventually(() => acted.length === 5);
    await expect(resetReactor(database.pool, 'nobody', store, start)).rejects.toMatchObject({
      code: 'reactor.never-ran',
    });
  });

  it('forgets with a reset what waits of later events, and keeps what waits of earlier ones', async () => {
    let isBroken = true;
    await started({
      act: (event) => (isBroken ? Promise.reject(new Error('broken')) : act(event)),
    });
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    const between = (await state()).position as string;
    await events(bell('b'), 0, 'Rung');
    await eventually(isAtEnd);
    expect(await waiting()).toHaveLength(2);
    await pauseReactor(database.pool, name, by);
    await resetReactor(database.pool, name, store, between);
    expect(await waiting()).toMatchObject([{ of: bell('a') }]);
    isBroken = false;
    await resumeReactor(database.pool, name);
    await retryReactions(database.pool, name);
    await eventually(() => acted.length === 2);
    expect(acted.toSorted()).toEqual([`${bell('a')} 0`, `${bell('b')} 0`]);
  });

  it('is led by one process at a time, and by the other one when that ends', async () => {
    const first = await started();
    const second = new Acting(options());
    running.push(second);
    second.start();
    await eventually(() => second.status.state === 'standby');
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    await ended(first);
    await events(bell('a'), 1, 'Rung');
    await eventually(() => acted.length === 2);
    expect(second.status.eventsFolded).toBe(1);
  });

  it('lets go of a stream that can no longer be read once what failed of it is discarded', async () => {
    let isGone = false;
    const gone = new Proxy(store, {
      get: (target, key) => {
        if (key === 'readStream' && isGone)
          return () => {
            throw conflict('log.stream-tombstoned', 'The stream was deleted.');
          };
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    await started({
      store: gone,
      act: (event) => (event.streamId === bell('b') ? act(event) : Promise.reject(new Error('broken'))),
    });
    await events(bell('a'), 0, 'Rung');
    await eventually(async () => (await waiting()).length === 1);
    isGone = true;
    await retryReactions(database.pool, name);
    await eventually(async () => (await waiting())[0]?.error === 'The stream was deleted.');
    await events(bell('b'), 0, 'Rung');
    await eventually(() => acted.length === 1);
    await discardReaction(database.pool, name, bell('a'), by);
    await eventually(async () => (await waiting()).length === 0);
  });

  it('does not act on a copy of its log until it is told where', async () => {
    const first = await started();
    await events(bell('a'), 0, 'Rung', 'Rung');
    await eventually(isAtEnd);
    await ended(first);
    const copy = new InMemoryEventStore();
    const all = await whole.readAll({ limit: 1_000 });
    for (const { streamId, revision, id, type, schemaVersion, data, metadata } of [...all, ...all].slice(
      1,
      1 + all.length,
    ))
      await copy.append([
        {
          streamId: `${streamId}-c`,
          expectedRevision: 'any',
          events: [{ id: revision === 0 ? id : uuidv7(), type, schemaVersion, data, metadata }],
        },
      ]);
    const acting = new Acting(options({ store: new PartOfLog(copy, ['bell']) }));
    running.push(acting);
    acting.start();
    await eventually(() => acting.status.lastError?.message.includes('The log is another one'));
    expect(acted).toHaveLength(2);
  });

  it('does not act on another log until it is told where', async () => {
    const first = await started();
    await events(bell('a'), 0, 'Rung');
    await eventually(isAtEnd);
    await ended(first);
    const other = new InMemoryEventStore();
    const kept = whole;
    whole = other;
    try {
      const positionBefore = other.beginning;
      await events(bell('a'), 0, 'Rung', 'Rung');
      const there = new PartOfLog(other, ['bell']);
      const acting = new Acting(options({ store: there }));
      running.push(acting);
      acting.start();
      await eventually(() => acting.status.lastError?.message.includes('waylog reactors reset'));
      expect(acted).toHaveLength(1);
      expect(await reactorState(database.pool, { name, version: 1, hears: there })).toMatchObject({
        isOfOtherLog: true,
      });
      await resetReactor(database.pool, name, there, positionBefore);
      await eventually(() => acted.length === 3);
    } finally {
      whole = kept;
    }
  });

  describe('whose failures are those of its receiver', () => {
    const rung = (what: string, ...revisions: number[]) =>
      revisions.map((revision) => `${bell(what)} ${revision}`);
    const of = (what: string) => acted.filter((one) => one.startsWith(`${bell(what)} `));
    let isAway: (event: RecordedEvent) => boolean;
    let tried: string[];
    beforeEach(() => {
      isAway = () => false;
      tried = [];
    });
    const startedWhole = (more: Partial<ActingOptions> = {}) =>
      started({
        waitsAsAWhole: true,
        act: async (event) => {
          tried.push(said(event));
          if (isAway(event)) throw new Error('Nobody is there.');
          await act(event);
        },
        ...more,
      });

    it('acts on nothing while one event waits, and then on all, in the order of each stream', async () => {
      isAway = ({ streamId }) => streamId === bell('b');
      await startedWhole({ concurrency: 2 });
      await events(bell('a'), 0, 'Rung');
      await events(bell('b'), 0, 'Rung', 'Rung');
      await events(bell('a'), 1, 'Rung', 'Rung');
      await events(bell('c'), 0, 'Rung');
      await eventually(() => tried.filter((one) => one === `${bell('b')} 0`).length > 1);
      const before = [...acted];
      await events(bell('d'), 0, 'Rung');
      await eventually(() => tried.filter((one) => one === `${bell('b')} 0`).length > 2);
      expect(acted).toEqual(before);
      expect(await waiting()).toMatchObject([{ of: bell('b'), revision: 0 }]);
      isAway = () => false;
      await retryReactions(database.pool, name);
      await eventually(isAtEnd);
      await eventually(() => of('d').length === 1);
      expect(of('a')).toEqual(rung('a', 0, 1, 2));
      expect(of('b')).toEqual(rung('b', 0, 1));
      expect(of('c')).toEqual(rung('c', 0));
      expect(await waiting()).toEqual([]);
    });

    it('leaves out nothing of a batch in which an event of a later stream fails', async () => {
      let failures = 0;
      const acting = await startedWhole({
        concurrency: 2,
        act: async (event) => {
          if (event.streamId === bell('z') && failures++ === 0) throw new Error('Once.');
          await act(event);
        },
      });
      // All of it in one batch.
      await pauseReactor(database.pool, name, by);
      await eventually(() => acting.status.state === 'paused');
      await events(bell('a'), 0, 'Rung');
      await events(bell('z'), 0, 'Rung');
      for (const what of ['b', 'c', 'd', 'e', 'f']) await events(bell(what), 0, 'Rung');
      await events(bell('a'), 1, 'Rung', 'Rung', 'Rung');
      await resumeReactor(database.pool, name);
      await eventually(async () => (await isAtEnd()) && (await waiting()).length === 0);
      expect(new Set(acted)).toEqual(
        new Set([
          ...rung('a', 0, 1, 2, 3),
          ...['z', 'b', 'c', 'd', 'e', 'f'].flatMap((what) => rung(what, 0)),
        ]),
      );
      expect(of('a').filter((one, i, all) => all.indexOf(one) === i)).toEqual(rung('a', 0, 1, 2, 3));
    });

    it('sets one stream aside however many fail, parks as a whole, and goes on after a retry or a discard', async () => {
      isAway = () => true;
      const acting = await startedWhole({ attempts: 2 });
      await pauseReactor(database.pool, name, by);
      await eventually(() => acting.status.state === 'paused');
      for (const what of ['a', 'b', 'c', 'd']) await events(bell(what), 0, 'Rung', 'Rung');
      await resumeReactor(database.pool, name);
      await eventually(async () => (await state()).parked === 1);
      expect(await waiting()).toMatchObject([{ of: bell('a'), revision: 0, attempts: 2 }]);
      expect(await state()).toMatchObject({ waiting: 0, parked: 1, state: 'active' });
      expect((await state()).lagEvents).toBeGreaterThan(0);
      const times = tried.length;
      await events(bell('e'), 0, 'Rung');
      isAway = ({ streamId, revision }) => streamId === bell('a') && revision === 0;
      await retryReactions(database.pool, name, bell('a'));
      await eventually(async () => tried.length === times + 2 && (await state()).parked === 1);
      expect(acted).toEqual([]);
      await discardReaction(database.pool, name, bell('a'), by);
      await eventually(async () => (await isAtEnd()) && (await waiting()).length === 0);
      expect(of('a')).toEqual(rung('a', 1));
      for (const what of ['b', 'c', 'd']) expect(of(what)).toEqual(rung(what, 0, 1));
      await eventually(() => of('e').length === 1);
    });

    it('parks at once what trying again cannot mend', async () => {
      await startedWhole({ act: () => Promise.reject(new Hopeless('It is gone.')) });
      await events(bell('a'), 0, 'Rung');
      await eventually(async () => (await state()).parked === 1);
      expect(await waiting()).toMatchObject([{ of: bell('a'), attempts: 1, error: 'It is gone.' }]);
      expect(warnings.at(-1)).toContain('Nothing is acted on');
    });
  });

  it('acts again on an event that a stop has interrupted, which is no failure', async () => {
    let isUnderWay = false;
    const first = await started({
      act: (_, signal) =>
        new Promise((_resolve, reject) => {
          isUnderWay = true;
          signal.addEventListener('abort', () => reject(new Error('interrupted')));
        }),
    });
    await events(bell('a'), 0, 'Rung');
    await eventually(() => isUnderWay);
    await ended(first);
    expect(await waiting()).toEqual([]);
    await started();
    await eventually(isAtEnd);
    expect(acted).toEqual([`${bell('a')} 0`]);
  });
});
