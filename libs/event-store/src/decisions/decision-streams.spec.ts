import { WaylogError } from '#lib/platform';
import { newHistory } from '../history/errors.js';
import { InMemoryEventStore } from '../in-memory/in-memory-event-store.js';
import type { AppendOutcome, AppendRequest } from '../event-store.js';
import type { CommandContext, Decider } from './decider.js';
import { DecisionRoom, type DecisionRoomOptions } from './decision-room.js';
import { DecisionStreams, type DecisionStreamsOptions } from './decision-streams.js';
import { eventually } from '../../../../test/support/eventually.js';

// A purse: coins are added and taken, and their number is never negative.
type Coins = { type: 'Added' | 'Taken'; data: { coins: number } };
interface Purse {
  coins: number;
  history: Map<number, number>;
}
const decider: Decider<Purse, Coins> = {
  version: 1,
  initialState: () => ({ coins: 0, history: new Map() }),
  evolve: (purse, { type, data }) => {
    purse.coins += type === 'Added' ? data.coins : -data.coins;
    purse.history.set(purse.history.size, data.coins);
    return purse;
  },
  fork: ({ coins, history }) => ({ coins, history: new Map(history) }),
  sizeOf: ({ history }) => history.size * 1_000,
};
const add = (coins: number) => (): Coins[] => [{ type: 'Added', data: { coins } }];
const take =
  (coins: number) =>
  (purse: Purse): Coins[] => {
    if (purse.coins < coins) throw new WaylogError('purse.too-empty', 'conflict', `only ${purse.coins}`);
    return [{ type: 'Taken', data: { coins } }];
  };
const atLeast =
  (coins: number) =>
  (purse: Purse): Coins[] =>
    purse.coins >= coins ? [] : [{ type: 'Added', data: { coins: coins - purse.coins } }];
const as = (commandId?: string, command = 'Add'): CommandContext => ({
  command,
  ...(commandId && { commandId }),
});

/** A store whose appends can be held, failed or counted. */
class ControlledStore extends InMemoryEventStore {
  appends: (readonly AppendRequest[])[] = [];
  reads = 0;
  answersWithinMs: number | undefined;
  before: (() => Promise<void>) | undefined;
  override async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    this.appends.push(requests);
    await this.before?.();
    return super.append(requests);
  }
  override readStream(...args: Parameters<InMemoryEventStore['readStream']>) {
    this.reads++;
    return super.readStream(...args);
  }
}

describe('DecisionStreams', () => {
  let store: ControlledStore;
  const open = (options: Partial<DecisionStreamsOptions<Purse, Coins>> = {}) =>
    new DecisionStreams({ store, decider, category: 'purse', ...options });
  let room: DecisionRoom;
  const openIn = (options: DecisionRoomOptions) => open({ room: (room = new DecisionRoom(options)) });
  const typesOf = async () =>
    (await store.readAll({ limit: 100 })).map(({ type, data }) => `${type} ${data['coins'] as number}`);
  beforeEach(() => {
    store = new ControlledStore();
  });

  it('decides nothing on a stream whose beginning was deleted', async () => {
    await open().change('p', add(5), as());
    await open().change('p', add(7), as());
    const whole = store.readStream.bind(store);
    jest
      .spyOn(store, 'readStream')
      .mockImplementation((id, options) => whole(id, { ...options, fromRevision: 1 }));
    await expect(open().change('p', add(1), as())).rejects.toMatchObject({
      code: 'log.stream-cut-short',
      data: { streamId: 'purse-p', revision: 0 },
    });
    expect(await typesOf()).toEqual(['Added 5', 'Added 7']);
  });

  it('decides commands of one stream in order, each on the effects of those before it', async () => {
    const purses = open();
    const results = await Promise.allSettled([
      purses.change('p', add(5), as()),
      purses.change('p', take(3), as()),
      purses.change('p', take(3), as()),
      purses.change('p', add(1), as()),
      purses.change('p', take(3), as()),
    ]);
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(await typesOf()).toEqual(['Added 5', 'Taken 3', 'Added 1', 'Taken 3']);
    expect(results.map((r) => (r.status === 'fulfilled' ? r.value.revision : -1))).toEqual([0, 1, -1, 2, 3]);
  });

  it('sends commands that arrive during an append together in the next one', async () => {
    const purses = open();
    let release: () => void = () => undefined;
    store.before = () => new Promise((resolve) => (release = resolve));
    const first = purses.change('p', add(1), as());
    await eventually(() => store.appends.length !== 0);
    const rest = Array.from({ length: 50 }, () => purses.change('p', add(1), as()));
    store.before = undefined;
    release();
    await Promise.all([first, ...rest]);
    expect(store.appends.map(([request]) => request?.events.length)).toEqual([1, 50]);
  });

  it('reads only the missed events when another process has written', async () => {
    const [mine, theirs] = [open(), open()];
    await mine.change('p', add(1), as());
    await theirs.change('p', add(2), as());
    const from: unknown[] = [];
    const read = store.readStream.bind(store);
    store.readStream = (stream, options) => {
      from.push(options?.fromRevision);
      return read(stream, options);
    };
    await mine.change('p', take(3), as());
    expect(from).toEqual([1]);
    expect(await typesOf()).toEqual(['Added 1', 'Added 2', 'Taken 3']);
  });

  it('neither refuses a command nor reports no change because of an outdated state', async () => {
    const [mine, theirs] = [open(), open()];
    await mine.change('p', add(5), as());
    await theirs.change('p', take(5), as());
    // By the cache there are 5: no change. By the log there are none.
    await mine.change('p', atLeast(5), as());
    await theirs.change('p', add(100), as());
    // By the cache there are 5 again: refuse. By the log there are 105.
    await mine.change('p', take(50), as());
    expect(await typesOf()).toEqual(['Added 5', 'Taken 5', 'Added 5', 'Added 100', 'Taken 50']);
  });

  it('loses nothing when many processes write one stream', async () => {
    const processes = Array.from({ length: 8 }, () => open());
    await Promise.all(
      processes.flatMap((purses) => Array.from({ length: 25 }, () => purses.change('p', add(1), as()))),
    );
    expect((await open().load('p')).state.coins).toBe(200);
  });

  it('answers no command before the log has accepted what the answer rests on', async () => {
    const purses = open();
    store.before = () => Promise.reject(new Error('the disk is full'));
    const results = await Promise.allSettled([
      purses.change('p', add(5), as()),
      purses.change('p', take(9), as()),
      purses.change('p', atLeast(5), as()),
    ]);
    // Not even the refusal, which rests on 5 coins that were never recorded.
    expect(results.map((r) => (r.status === 'rejected' ? String(r.reason) : 'done'))).toEqual(
      Array.from({ length: 3 }, () => 'Error: the disk is full'),
    );
    store.before = undefined;
    await purses.change('p', add(1), as());
    expect(await typesOf()).toEqual(['Added 1']);
  });

  describe('a command with an id', () => {
    it('changes nothing when it is sent again, and gets the same answer', async () => {
      const purses = open();
      const decide = (coins: number) => () => ({
        events: add(coins)(),
        answer: { said: `thanks for ${coins}` },
      });
      const first = await purses.change('p', decide(5), as('c1'));
      await purses.change('p', add(1), as());
      expect(await purses.change('p', decide(5), as('c1'))).toEqual(first);
      // Also in a process that has only the log.
      expect(await open().change('p', decide(5), as('c1'))).toEqual(first);
      expect(await typesOf()).toEqual(['Added 5', 'Added 1']);
    });

    it('is one command also when it is sent twice at once', async () => {
      const purses = open();
      const [a, b] = await Promise.all([
        purses.change('p', add(5), as('c1')),
        purses.change('p', add(5), as('c1')),
      ]);
      expect(a).toEqual(b);
      expect(await typesOf()).toEqual(['Added 5']);
    });

    it('is not mistaken for another command with the same id', async () => {
      const purses = open();
      const together = await Promise.allSettled([
        purses.change('q', add(5), as('c2')),
        purses.change('q', take(1), as('c2', 'Take')),
      ]);
      expect(together).toMatchObject([{ status: 'fulfilled' }, { reason: { code: 'command.id-reused' } }]);
      await purses.change('p', add(5), as('c1'));
      await expect(purses.change('p', take(1), as('c1', 'Take'))).rejects.toMatchObject({
        code: 'command.id-reused',
      });
    });

    it('is refused when it is sent again with other content', async () => {
      const purses = open();
      const saying = (fingerprint: string): CommandContext => ({ ...as('c1'), fingerprint });
      const first = await purses.change('p', add(5), saying('five'));
      expect(await purses.change('p', add(5), saying('five'))).toEqual(first);
      for (const process of [purses, open()]) {
        await expect(process.change('p', add(6), saying('six'))).rejects.toMatchObject({
          code: 'command.id-reused',
        });
      }
      expect(await typesOf()).toEqual(['Added 5']);
    });

    it('is remembered through snapshots', async () => {
      const purses = open({ snapshotEvery: 3 });
      const first = await purses.change('p', add(5), as('c1'));
      for (let n = 0; n < 6; n++) await purses.change('p', add(1), as());
      await purses.drain();
      const cold = open({ snapshotEvery: 3 });
      expect(await cold.change('p', add(5), as('c1'))).toEqual(first);
    });
  });

  it('loads from a snapshot what it would load from the beginning', async () => {
    const purses = open({ snapshotEvery: 10 });
    for (let n = 0; n < 25; n++) await purses.change('p', add(n), as());
    await purses.drain();
    expect(await store.loadSnapshot('purse-p', 1)).toMatchObject({ revision: 19 });
    const from: unknown[] = [];
    const read = store.readStream.bind(store);
    store.readStream = (stream, options) => {
      from.push(options?.fromRevision);
      return read(stream, options);
    };
    const withSnapshot = await open().load('p');
    expect(from).toEqual([20]);
    const { state } = await new DecisionStreams({
      store,
      decider: { ...decider, version: 2 },
      category: 'purse',
    }).load('p');
    expect(withSnapshot.state).toEqual(state);
  });

  it('refuses commands over its limit at once, and loses none below it', async () => {
    const purses = openIn({ maxPending: 3 });
    let release: () => void = () => undefined;
    store.before = () => new Promise((resolve) => (release = resolve));
    const accepted = [1, 2, 3].map((n) => purses.change('p', add(n), as()));
    await expect(purses.change('p', add(4), as())).rejects.toMatchObject({
      code: 'commands.overloaded',
      kind: 'unavailable',
      data: { retryAfterSeconds: 1 },
    });
    await eventually(() => store.appends.length !== 0);
    store.before = undefined;
    release();
    await Promise.all(accepted);
    expect(await typesOf()).toEqual(['Added 1', 'Added 2', 'Added 3']);
  });

  it('drains: accepted commands are answered, later ones are refused', async () => {
    const purses = open();
    const accepted = Array.from({ length: 20 }, (_, n) => purses.change(`p${n}`, add(1), as()));
    const drained = purses.drain();
    await expect(purses.change('p', add(1), as())).rejects.toMatchObject({ code: 'commands.stopping' });
    await drained;
    expect(await Promise.all(accepted)).toHaveLength(20);
    expect(await typesOf()).toHaveLength(20);
  });

  it('keeps no more states in memory than its limit', async () => {
    const purses = openIn({ cacheBytes: 40_000 });
    for (let n = 0; n < 30; n++) await purses.change(`p${n}`, add(1), as());
    store.reads = 0;
    await purses.change('p29', add(1), as());
    expect(store.reads).toBe(0);
    await purses.change('p0', add(1), as());
    expect(store.reads).toBe(1);
  });

  it('measures a state again as it grows, and reports when the states in use do not fit', async () => {
    const warnings: string[] = [];
    const purses = openIn({ cacheBytes: 20_000, onWarning: (message) => warnings.push(message) });
    for (let n = 0; n < 4; n++) await purses.change(`p${n}`, add(1), as());
    const before = room.cache.bytes;
    await purses.change('p3', add(1), as());
    expect(room.cache).toEqual({ bytes: before + 1_000, loaded: 4, loadedAgain: 0 });
    for (let n = 0; n < 10; n++) await purses.change('p3', add(1), as());
    expect(room.cache.bytes).toBeLessThanOrEqual(20_000);
    expect(warnings).toEqual([]);

    for (const id of ['p0', 'p1']) await purses.change(id, add(1), as());
    expect(room.cache).toMatchObject({ loaded: 6, loadedAgain: 2 });
    expect(warnings).toEqual([expect.stringMatching(/do not fit into 0.02 MB: purse-p0 was put out/)]);
  });

  it('shares memory and places to wait with the streams of other categories', async () => {
    const shared = new DecisionRoom({ cacheBytes: 20_000, maxPending: 2 });
    const [purses, piggyBanks] = [open({ room: shared }), open({ room: shared, category: 'piggy' })];
    for (let n = 0; n < 10; n++) {
      await purses.change(`p${n}`, add(1), as());
      await piggyBanks.change(`p${n}`, add(2), as());
    }
    expect(shared.cache.bytes).toBeGreaterThan(10_000);
    expect(shared.cache.bytes).toBeLessThanOrEqual(20_000);
    store.reads = 0;
    await purses.change('p9', take(1), as());
    await piggyBanks.change('p9', take(2), as());
    expect(store.reads).toBe(0);
    const [one, other] = [purses.change('p9', add(1), as()), piggyBanks.change('p9', add(1), as())];
    await expect(purses.change('p8', add(1), as())).rejects.toMatchObject({ code: 'commands.overloaded' });
    await Promise.all([one, other]);
    expect(shared.pending).toBe(0);
  });

  it('restores a state from a snapshot', async () => {
    const revived: Purse[] = [];
    const reviving = { ...decider, revive: (state: Purse) => (revived.push(state), { ...state }) };
    const open = () =>
      new DecisionStreams<Purse, Coins>({ store, decider: reviving, category: 'purse', snapshotEvery: 1 });
    const purses = open();
    await purses.change('p', add(1), as());
    await purses.drain();
    expect(revived).toEqual([]);
    const { state } = await open().load('p');
    expect(revived).toEqual([state]);
    expect(revived[0]).not.toBe(state);
  });

  it('records nothing of a batch in which a fold breaks', async () => {
    const broken = {
      ...decider,
      evolve: () => {
        throw new Error('a defect');
      },
    };
    const purses = new DecisionStreams<Purse, Coins>({ store, decider: broken, category: 'purse' });
    const results = await Promise.allSettled([
      purses.change('p', add(1), as()),
      purses.change('p', add(2), as()),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await typesOf()).toEqual([]);
  });

  it.each([
    ['too large for', 'append.too-large'],
    ['refused by', 'log.bad-request'],
  ])(
    'splits a batch that is %s the store, and refuses only commands for which that holds alone',
    async (_how, code) => {
      store.before = async () => {
        const coins = store.appends
          .at(-1)?.[0]
          ?.events.reduce((sum, { data }) => sum + Number(data['coins']), 0);
        if (Number(coins) > 8) throw new WaylogError(code, 'invalid', `${coins} coins`);
        return Promise.resolve();
      };
      const purses = open();
      const amounts = [3, 3, 3, 9, 3, 3, 3];
      const results = await Promise.allSettled(amounts.map((coins) => purses.change('p', add(coins), as())));
      expect(results.map(({ status }) => status === 'fulfilled')).toEqual(amounts.map((coins) => coins < 9));
      expect(results[3]).toMatchObject({ reason: { code } });
      expect(await typesOf()).toEqual(Array(6).fill('Added 3'));
      expect(store.appends.length).toBeLessThan(12);
    },
  );

  it('refuses commands within the time of one call to the log, also those that wait for others, and records none later', async () => {
    const purses = openIn({});
    await purses.change('p', add(1), as());
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    store.before = () => held;
    store.answersWithinMs = 50;
    const sent = store.appends.length;
    const first = purses.change('p', add(2), as());
    const refused = { code: 'database.unavailable', kind: 'unavailable' };
    first.catch(() => undefined);
    await eventually(() => store.appends.length > sent);
    await expect(purses.change('p', add(3), as())).rejects.toMatchObject(refused);
    await expect(first).rejects.toMatchObject(refused);
    expect(room.pending).toBe(0);
    release();
    store.answersWithinMs = undefined;
    await purses.change('p', add(4), as());
    // What was sent has been recorded, and nothing else.
    expect(await typesOf()).toEqual(['Added 1', 'Added 2', 'Added 4']);
    expect(room.pending).toBe(0);
  });

  it('answers commands even if a snapshot cannot be saved, and reports that', async () => {
    const warnings: string[] = [];
    store.saveSnapshot = () => Promise.reject(new Error('no space'));
    const purses = open({
      snapshotEvery: 1,
      onWarning: (message, error) => warnings.push(`${message}: ${String(error)}`),
    });
    expect(await purses.change('p', add(1), as())).toMatchObject({ revision: 0 });
    await purses.drain();
    expect(warnings).toEqual(['The snapshot of purse-p was not saved: Error: no space']);
  });

  it('keeps a state that is larger than the whole cache, alone', async () => {
    const purses = openIn({ cacheBytes: 3_000 });
    for (let n = 0; n < 10; n++) await purses.change('p', add(1), as());
    expect(store.reads).toBe(1);
  });

  it('records with every event its command, the cause and the sender', async () => {
    const purses = open();
    await purses.change('p', add(1), {
      command: 'Add',
      commandId: 'c1',
      correlationId: 'talk',
      causationId: 'why',
      actor: 'me',
    });
    await purses.change('p', add(2), as());
    const [named, unnamed] = await store.readAll({ limit: 2 });
    expect(named?.metadata).toEqual({
      command: 'Add',
      commandId: 'c1',
      correlationId: 'talk',
      causationId: 'why',
      actor: 'me',
    });
    expect(unnamed?.metadata).toEqual({
      command: 'Add',
      commandId: unnamed?.id,
      correlationId: unnamed?.id,
      causationId: unnamed?.id,
      actor: 'unknown',
    });
    expect(named?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });
});

/** A log that can be put back to its first events, as by a fail-over; each caller is told so once. */
class LogThatGoesBack extends ControlledStore {
  #log = new InMemoryEventStore();
  #epoch = 0;
  #isBack = false;
  #loseAnswer = false;
  override get epoch() {
    return this.#epoch;
  }
  async goBackTo(count: number): Promise<void> {
    const kept = await this.#log.readAll({ limit: count });
    this.#log = new InMemoryEventStore();
    for (const { streamId, revision, ...event } of kept)
      await this.#log.append([
        { streamId, expectedRevision: revision === 0 ? 'no-stream' : revision - 1, events: [event] },
      ]);
    this.#isBack = true;
  }
  /** The next append is recorded, and its answer lost in a fail-over that loses nothing. */
  failOverAfterAppend(): void {
    this.#loseAnswer = true;
  }
  override confirm(): Promise<void> {
    if (!this.#isBack) return Promise.resolve();
    this.#isBack = false;
    this.#epoch++;
    return Promise.reject(newHistory());
  }
  override async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    await this.confirm();
    if (requests.some(({ epoch }) => epoch !== this.#epoch)) throw newHistory();
    const outcomes = await this.#log.append(requests);
    if (!this.#loseAnswer) return outcomes;
    this.#loseAnswer = false;
    this.#epoch++;
    throw newHistory();
  }
  override readStream(...args: Parameters<InMemoryEventStore['readStream']>) {
    return this.#log.readStream(...args);
  }
  override readAll(options: Parameters<InMemoryEventStore['readAll']>[0]) {
    return this.#log.readAll(options);
  }
}

describe('DecisionStreams over a log that goes back', () => {
  let log: LogThatGoesBack;
  let purses: DecisionStreams<Purse, Coins>;
  beforeEach(() => {
    log = new LogThatGoesBack();
    purses = new DecisionStreams({ store: log, decider, category: 'purse' });
  });
  const coins = async () => (await log.readAll({ limit: 100 })).map(({ data }) => data['coins']);

  it('records the repeat of a lost command, and gives no answer from memory', async () => {
    await purses.change('p', add(1), as('kept'));
    const first = await purses.change('p', add(2), as('lost'));
    await log.goBackTo(1);
    expect(await purses.change('p', add(2), as('lost'))).toEqual(first);
    expect(await coins()).toEqual([1, 2]);
    expect(await purses.change('p', add(1), as('kept'))).toMatchObject({ revision: 0 });
    expect(await coins()).toEqual([1, 2]);
  });

  it('refuses nothing, and reports no change, because of lost events', async () => {
    await purses.change('p', add(5), as());
    await purses.change('p', take(5), as());
    await purses.change('q', add(5), as());
    await log.goBackTo(1);
    await purses.change('p', take(3), as());
    expect(await coins()).toEqual([5, 3]);
    await purses.change('q', atLeast(5), as());
    expect(await coins()).toEqual([5, 3, 5]);
  });

  it('decides again on what the log holds, whichever stream has noticed', async () => {
    await purses.change('p', add(5), as());
    await purses.change('q', add(5), as());
    await purses.change('q', add(5), as());
    await log.goBackTo(2);
    await purses.change('p', add(1), as());
    await expect(purses.change('q', take(6), as())).rejects.toMatchObject({ code: 'purse.too-empty' });
  });

  it('records once what had been recorded when the answer was lost', async () => {
    await purses.change('p', add(5), as());
    log.failOverAfterAppend();
    expect(await purses.change('p', add(1), as())).toMatchObject({ revision: 1, position: '2' });
    expect(await coins()).toEqual([5, 1]);
  });
});
