import type pg from 'pg';
import { CreateFlight, GetFrameResults, SaveFrameResult, flight, flightProjections } from '#lib/flight';
import { EVENT_STORE, TABLES_POOL, tablesOf } from '#lib/waylog';
import { DataKeys, openEventStore, type EventStore } from '#lib/event-store';
import {
  acceptLoss,
  discardedEvents,
  parkedStreams,
  Projector,
  rebuild,
  unpark,
  verify,
} from '#lib/projections';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { appendRaw, poisonousFrames } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';

describe.each(logs)('an event that cannot be projected, with the log in %s', (log) => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  beforeEach(async () => {
    database = await testDatabase(log);
    waylog = await startWaylog(database);
  });
  afterEach(async () => {
    await waylog.close();
    await database.drop();
  });
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const options = () => ({
    pool: waylog.app.get<pg.Pool>(TABLES_POOL),
    ...tablesOf(flight, store()),
    connectionString: database.url,
  });
  const settled = () => waylog.settled();
  const create = (id: string) => waylog.execute(new CreateFlight({ flight: aFlight(id, 2) }));
  const save = (id: string, n: number) =>
    waylog.execute(new SaveFrameResult({ flightId: id, frame: aFrame(n) }));
  const framesOf = async (id: string) =>
    (
      await database.pool.query<{ frame_id: number }>(
        `select frame_id from flight.frame_results where flight_id = $1 order by 1`,
        [id],
      )
    ).rows.map(({ frame_id }) => frame_id);
  const poison = (id: string, data: keyof typeof poisonousFrames = 'refusedByTable') =>
    appendRaw(store(), `flight-${id}`, 'FrameResultSaved', poisonousFrames[data]);
  /** The fix of a later deployment: the table accepts the value. */
  const mendTable = () =>
    database.pool.query(`
      alter table flight.frame_results drop constraint frame_results_confidence_check;
      alter table flight.frame_results add constraint frame_results_confidence_check check (confidence between 0 and 7)`);

  it.each(['refusedByTable', 'unreadable'] as const)(
    'is parked with the later events of its flight, and all others continue: %s',
    async (kind) => {
      await Promise.all(['a', 'b', 'c'].map(create));
      await save('b', 1);
      await settled();
      // One batch with good events before, between and after.
      await flightOf(waylog.app).projector.stop();
      for (const id of ['a', 'b', 'c']) await save(id, 2);
      const revision = await poison('b', kind);
      await save('a', 3);
      await appendRaw(store(), 'flight-b', 'FrameResultSaved', {
        ...aFrame(3),
        updatedAt: aFrame(3).timestamp,
      });
      await save('c', 3);
      flightOf(waylog.app).projector.start();
      await settled();
      expect(await framesOf('a')).toEqual([2, 3]);
      expect(await framesOf('b')).toEqual([1, 2]);
      expect(await framesOf('c')).toEqual([2, 3]);
      expect(await parkedStreams(database.pool, flight.name)).toMatchObject([
        { streamId: 'flight-b', revision, type: 'FrameResultSaved', waiting: 2, attempts: 1 },
      ]);
    },
  );

  it('keeps its flight parked when another process takes the lead', async () => {
    await create('a');
    await poison('a');
    await settled();
    await waylog.close();
    waylog = await startWaylog(database);
    await appendRaw(store(), 'flight-a', 'FrameResultSaved', {
      ...aFrame(5),
      updatedAt: aFrame(5).timestamp,
    });
    await create('b');
    await settled();
    expect(await framesOf('a')).toEqual([]);
    expect(await parkedStreams(database.pool, flight.name)).toMatchObject([{ waiting: 2 }]);
  });

  it('is reported to a reader that asks for what was written after it, and not to others', async () => {
    await create('a');
    const before = (await save('a', 1)).position;
    await poison('a');
    await settled();
    const head = await store().head();
    const reading = (minPosition?: string) =>
      flightOf(waylog.app).watch.refuseParked('flight-a', minPosition ?? '0');
    await expect(reading(head)).rejects.toMatchObject({ code: 'projection.parked' });
    await expect(reading(before)).resolves.toBeUndefined();
    await expect(flightOf(waylog.app).watch.refuseParked('flight-b', head)).resolves.toBeUndefined();
    // Also in a process that has received no notification.
    const other = await startWaylog(database, { projector: false });
    await flightOf(other.app).watch.waitFor(head, 60_000);
    await expect(flightOf(other.app).watch.refuseParked('flight-a', head)).rejects.toMatchObject({
      code: 'projection.parked',
    });
    await other.close();
  });

  it('is folded by a retry once it can be, with all that waited behind it', async () => {
    await create('a');
    const revision = await poison('a');
    for (let n = 0; n < 5; n++)
      await appendRaw(store(), 'flight-a', 'FrameResultSaved', {
        ...aFrame(n),
        updatedAt: aFrame(n).timestamp,
      });
    await settled();
    expect(await unpark({ ...options(), streamId: 'flight-a' })).toMatchObject({
      folded: 0,
      stillParked: { revision },
    });
    expect(await parkedStreams(database.pool, flight.name)).toMatchObject([{ attempts: 2 }]);
    await mendTable();
    expect(await unpark({ ...options(), streamId: 'flight-a' })).toEqual({
      streamId: 'flight-a',
      folded: 6,
    });
    expect(await framesOf('a')).toEqual([0, 1, 2, 3, 4, 666]);
    await appendRaw(store(), 'flight-a', 'FrameResultSaved', {
      ...aFrame(9),
      updatedAt: aFrame(9).timestamp,
    });
    await settled();
    expect(await framesOf('a')).toEqual([0, 1, 2, 3, 4, 9, 666]);
    await expect(unpark({ ...options(), streamId: 'flight-a' })).rejects.toMatchObject({
      code: 'projection.not-parked',
    });
  });

  it('is permanently left out when it is discarded, by rebuilds and `asOf` reads too', async () => {
    await create('a');
    await save('a', 1);
    const revision = await poison('a', 'unreadable');
    await appendRaw(store(), 'flight-a', 'FrameResultSaved', {
      ...aFrame(2),
      updatedAt: aFrame(2).timestamp,
    });
    await settled();
    const discard = { reason: 'written by a broken camera', by: 'the test' };
    expect(await unpark({ ...options(), streamId: 'flight-a', discard })).toEqual({
      streamId: 'flight-a',
      folded: 1,
    });
    expect(await framesOf('a')).toEqual([1, 2]);
    expect(await discardedEvents(database.pool, flight.name)).toMatchObject([
      { streamId: 'flight-a', revision, reason: discard.reason, discardedBy: discard.by },
    ]);
    expect(await parkedStreams(database.pool, flight.name)).toEqual([]);
    const before = await tableHashes(database.url);
    await rebuild(options());
    expect(await tableHashes(database.url)).toEqual(before);
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
    const then = await waylog.query(new GetFrameResults('a', {}, { asOf: String(revision + 1) }));
    expect(then.map(({ frameId }) => frameId)).toEqual([1, 2]);
  });

  it('cannot be accepted as lost while the log has it', async () => {
    await create('a');
    await poison('a');
    await settled();
    const accept = (streamId: string) =>
      acceptLoss({ ...options(), streamId, reason: 'none', by: 'the test' });
    await expect(accept('flight-a')).rejects.toMatchObject({ code: 'projection.nothing-lost' });
    await expect(accept('flight-b')).rejects.toMatchObject({ code: 'projection.not-parked' });
    expect(await parkedStreams(database.pool, flight.name)).toMatchObject([{ attempts: 1 }]);
  });

  it('is not a difference for a verification while it is parked', async () => {
    await create('a');
    await poison('a');
    await settled();
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
  });

  it('is folded while flights are written, and nothing is lost in between', async () => {
    await create('a');
    await poison('a');
    await settled();
    await mendTable();
    // Events of the same flight arrive while it is resumed, many times over.
    const frames = Array.from({ length: 300 }, (_, n) => n);
    const writing = (async () => {
      for (const n of frames)
        await appendRaw(store(), 'flight-a', 'FrameResultSaved', {
          ...aFrame(n),
          updatedAt: aFrame(n).timestamp,
        });
    })();
    await unpark({ ...options(), streamId: 'flight-a' });
    await writing;
    await settled();
    expect(await framesOf('a')).toEqual([...frames, 666]);
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
  });

  it('is parked also if it cannot be upcast', async () => {
    await flightOf(waylog.app).projector.stop();
    await Promise.all(['a', 'b'].map(create));
    await save('b', 1);
    const shapes = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      keys: new DataKeys(database.pool),
      vocabulary: {
        flight: {
          ...flight.vocabulary['flight'],
          upcasters: {
            FrameResultSaved: [
              () => {
                throw new Error('no such field');
              },
            ],
          },
        },
      },
    });
    const projector = new Projector({
      name: flight.name,
      projections: flightProjections,
      store: shapes,
      pool: database.pool,
      connectionString: database.url,
      log: { info: () => undefined, warn: () => undefined },
    });
    projector.start();
    await settled();
    await projector.stop();
    await shapes.close();
    expect(await parkedStreams(database.pool, flight.name)).toMatchObject([
      {
        streamId: 'flight-b',
        type: 'FrameResultSaved',
        error: expect.stringMatching(/no such field/) as string,
      },
    ]);
    const { rows } = await database.pool.query(`select id from flight.flights order by 1`);
    expect(rows).toEqual([{ id: 'a' }, { id: 'b' }]);
    // With the real upcaster it is valid.
    flightOf(waylog.app).projector.start();
    expect(await unpark({ ...options(), streamId: 'flight-b' })).toEqual({ streamId: 'flight-b', folded: 1 });
  });
});
