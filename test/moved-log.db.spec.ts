import { copyLog, InMemoryEventStore, type EventStore } from '#lib/event-store';
import { flightProjections, SaveFrameResult, SaveHeading, flight } from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import {
  adoptLog,
  CheckpointWatch,
  compareLog,
  forgetOtherLog,
  parkedStreams,
  Projector,
  projectionStates,
  rebuild,
  unpark,
  verify,
  whileLeading,
} from '#lib/projections';
import { testDatabase, type TestDatabase } from './support/database.js';
import { appendRaw, poisonousFrames } from './support/poison.js';
import { aFlight, aFrame, at } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

/** What of a log the tables are folded from. */
const flightsOf = (store: EventStore) => tablesOf(flight, store).store;

// The other log is in memory: its positions look like PostgreSQL's and mean something else, which is the harder case.
describe('tables under a log that is not the one they were folded from', () => {
  let database: TestDatabase;
  let projectors: Projector[] = [];
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(async () => {
    for (const projector of projectors) await projector.stop();
    projectors = [];
    await database.drop();
  });

  /** Two flights, folded from the log in PostgreSQL, one of them parked; then everything is stopped. */
  async function written(): Promise<void> {
    const waylog = await startWaylog(database.url);
    await waylog.database.insertFlight(aFlight('stays', 3));
    await waylog.execute(new SaveFrameResult({ flightId: 'stays', frame: aFrame(1) }));
    const { position } = await waylog.execute(
      new SaveHeading({ flightId: 'stays', heading: { frameId: 1, heading: 90, timestamp: at(1) } }),
    );
    await flightOf(waylog.app).watch.waitFor(position, 60_000);
    await waylog.database.insertFlight(aFlight('parked', 1));
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await appendRaw(store, 'flight-parked', 'FrameResultSaved', poisonousFrames.refusedByTable);
    await flightOf(waylog.app).watch.waitFor(await store.head(), 60_000);
    await waylog.close();
  }
  /** A log with its own events before the copy, so that no event keeps its position. */
  async function copied(): Promise<InMemoryEventStore> {
    const moved = new InMemoryEventStore();
    await appendRaw(moved, 'before', 'Nothing', {});
    const waylog = await startWaylog(database.url, { projector: false });
    try {
      const copy = await copyLog({ from: waylog.app.get<EventStore>(EVENT_STORE), to: moved });
      expect(copy).toMatchObject({ identical: true });
    } finally {
      await waylog.close();
    }
    return moved;
  }
  function projectorOf(store: EventStore): Projector {
    const projector = new Projector({
      name: 'flight',
      projections: flightProjections,
      store: flightsOf(store),
      pool: database.pool,
      connectionString: database.url,
      log: { info: () => undefined, warn: () => undefined },
    });
    projectors.push(projector);
    projector.start();
    return projector;
  }
  const adoption = (store: EventStore) => ({
    ...tablesOf(flight, store),
    connectionString: database.url,
    onlyIfWhole: false,
  });
  const until = async (condition: () => boolean | Promise<boolean>) => {
    await eventually(() => condition());
  };
  const checkpoints = async () =>
    (
      await database.pool.query<{ position: string }>(
        `select distinct position from projection.checkpoints where projection = any ($1)`,
        [flightProjections.map(({ name }) => name)],
      )
    ).rows.map(({ position }) => position);
  const verified = (store: EventStore) =>
    verify({ ...tablesOf(flight, store), connectionString: database.url, by: 'test' });

  it('can be adopted from a copy of it, with the same rows, and continue with it', async () => {
    await written();
    const before = await tableHashes(database.url);
    const moved = await copied();
    expect(await compareLog(database.pool, flightsOf(moved), 'flight')).toBe('other');
    const projector = projectorOf(moved);
    await until(() => projector.status.state === 'active');
    expect(await tableHashes(database.url)).toEqual(before);
    expect(await checkpoints()).toEqual([await moved.head()]);
    expect(await compareLog(database.pool, flightsOf(moved), 'flight')).toBe('same');
    const [parked] = await parkedStreams(database.pool, 'flight');
    expect(parked).toMatchObject({ streamId: 'flight-parked', position: await moved.head() });
    expect((await verified(moved)).isSound).toBe(true);

    await appendRaw(moved, 'flight-stays', 'FrameResultSaved', { ...aFrame(7), updatedAt: at(7) });
    await until(async () => (await checkpoints())[0] === (await moved.head()));
    const { rowCount } = await database.pool.query(
      `select from flight.frame_results where flight_id = 'stays'`,
    );
    expect(rowCount).toBe(2);
    expect((await verified(moved)).isSound).toBe(true);
  });

  it('are left alone under a log that lacks what they hold, until an operator confirms', async () => {
    await written();
    const before = await tableHashes(database.url);
    const short = new InMemoryEventStore();
    await copyLog({ from: await copied(), to: short, streams: ['flight-stays'] });
    const projector = projectorOf(short);
    await until(() => projector.status.lastError !== undefined);
    expect(projector.status.lastError?.message).toMatch(
      /folded from another log.*lacks revision \d+ of flight-parked.*waylog projections adopt/s,
    );
    for (const refused of [
      verified(short),
      rebuild({ ...tablesOf(flight, short), connectionString: database.url }),
      unpark({ ...tablesOf(flight, short), pool: database.pool, streamId: 'flight-parked' }),
    ])
      await expect(refused).rejects.toMatchObject({ code: 'projection.other-log' });
    expect(await tableHashes(database.url)).toEqual(before);

    await whileLeading(database.url, 'flight', () => adoptLog(adoption(short)));
    expect(await checkpoints()).toEqual([await short.head()]);
    expect((await verified(short)).isSound).toBe(true);
    const { rows } = await database.pool.query(`select id from flight.flights`);
    expect(rows).toEqual([{ id: 'stays' }]);
    expect(await parkedStreams(database.pool, 'flight')).toEqual([]);
    await until(() => projector.status.state === 'active');
  }, 60_000);

  it('are not adopted while a server leads their projector', async () => {
    await written();
    const moved = await copied();
    const projector = projectorOf(moved);
    await until(() => projector.status.state === 'active');
    await expect(
      whileLeading(database.url, 'flight', () => adoptLog(adoption(moved)), 300),
    ).rejects.toMatchObject({ code: 'projection.led' });
  }, 60_000);

  it('stop if the log has lost its end, and are rebuilt from the rest if confirmed', async () => {
    const log = new InMemoryEventStore();
    await appendRaw(log, 'flight-a', 'Nothing', {});
    await appendRaw(log, 'flight-a', 'Nothing', {});
    /** Like a restored backup: the same first event, and fewer after it. */
    const restored = new Proxy(log, {
      get(store, name) {
        if (name === 'head') return () => Promise.resolve('1');
        if (name === 'reaches')
          return (position: string) => Promise.resolve(store.compare(position, '1') <= 0);
        if (name === 'readAll') return () => store.readAll({ limit: 1 });
        const value = Reflect.get(store, name) as unknown;
        return typeof value === 'function' ? (value.bind(store) as unknown) : value;
      },
    });
    const before = projectorOf(log);
    await until(async () => (await checkpoints())[0] === (await log.head()));
    await before.stop();
    expect(await compareLog(database.pool, flightsOf(restored), 'flight')).toBe('same');
    const projector = projectorOf(restored);
    await until(() => projector.status.lastError !== undefined);
    expect(projector.status.lastError?.message).toMatch(/up to position 2, but it ends at 1.*adopt --yes/s);
    await whileLeading(database.url, 'flight', () => adoptLog(adoption(restored)));
    expect(await checkpoints()).toEqual(['1']);
  }, 60_000);

  it('answer no read that waits for a position of the new log before they hold it', async () => {
    await written();
    const other = new InMemoryEventStore();
    await appendRaw(other, 'flight-new', 'Nothing', {});
    const names = flightProjections.map(({ name }) => name);
    const watch = new CheckpointWatch(database.pool, database.listener, flightsOf(other), {
      projector: 'flight',
      names,
    });
    // The checkpoint is already past 1: in the earlier log.
    await expect(watch.waitFor('1', 700)).rejects.toMatchObject({ code: 'projection.behind' });
    await database.pool.query(`select pg_notify('waylog_checkpoints', 'flight 99 0')`);
    await expect(watch.waitFor('1', 700)).rejects.toMatchObject({ code: 'projection.behind' });
    watch.close();
  });

  it('drop the snapshots of the other log before a command is decided, and no others', async () => {
    await written();
    const moved = await copied();
    const waylog = await startWaylog(database.url, { projector: false });
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await store.saveSnapshot('flight-stays', 1, { revision: 3, state: '{}' });
    expect(await forgetOtherLog(database.pool, [{ store: flightsOf(store), projector: 'flight' }])).toBe(
      false,
    );
    expect(await store.loadSnapshot('flight-stays', 1)).toBeDefined();
    expect(await forgetOtherLog(database.pool, [{ store: flightsOf(moved), projector: 'flight' }])).toBe(
      true,
    );
    expect(await store.loadSnapshot('flight-stays', 1)).toBeUndefined();
    await waylog.close();
  });

  it('that are empty accept any log', async () => {
    const waylog = await startWaylog(database.url);
    await until(async () => (await checkpoints()).length > 0);
    await waylog.close();
    await database.pool.query(`update projection.checkpoints set position = '4711:4711'`);
    const log = new InMemoryEventStore();
    expect(await compareLog(database.pool, flightsOf(log), 'flight')).toBe('nothing-folded');
    const projector = projectorOf(log);
    await until(() => projector.status.state === 'active');
    expect(await checkpoints()).toEqual(['0']);
    await appendRaw(log, 'flight-a', 'Nothing', {});
    await until(async () => (await checkpoints())[0] === '1');
    expect(await compareLog(database.pool, flightsOf(log), 'flight')).toBe('same');
  });

  it('whose log is unknown are rebuilt from one that holds everything in them', async () => {
    await written();
    const before = await tableHashes(database.url);
    const moved = await copied();
    await database.pool.query(`delete from projection.folded_log`);
    expect(await compareLog(database.pool, flightsOf(moved), 'flight')).toBe('other');
    const projector = projectorOf(moved);
    await until(() => projector.status.state === 'active');
    expect(await compareLog(database.pool, flightsOf(moved), 'flight')).toBe('same');
    expect(await tableHashes(database.url)).toEqual(before);
  });

  it('report that positions cannot be compared when their state is read', async () => {
    await written();
    await database.pool.query(`update projection.checkpoints set position = '4711:4711'`);
    const store = new InMemoryEventStore();
    await expect(projectionStates(database.pool, store, 'flight', flightProjections)).rejects.toMatchObject({
      code: 'projection.other-log',
    });
  });
});
