import type pg from 'pg';
import { checkDatabase } from '../apps/cli/src/doctor.js';
import { copyLog, DataKeys, InMemoryEventStore, type EventStore } from '#lib/event-store';
import { CreateFlight, EraseFlight, flight, SaveFrameResult } from '#lib/flight';
import { EVENT_STORE, statesOf, TABLES_POOL, tablesOf } from '#lib/waylog';
import {
  acceptLoss,
  adoptLog,
  integrityFindings,
  parkedStreams,
  rebuild,
  ScheduledVerification,
  unpark,
  verify,
} from '#lib/projections';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';

type TestLog = NonNullable<TestDatabase['double']>['log'];

// What others do to flights' streams in EventStoreDB, and how it is reported.
describe('streams of flights in EventStoreDB that others have written to, limited and deleted', () => {
  const flights = ['first', 'written', 'limited', 'deleted', 'buried', 'whole'];
  let database: TestDatabase;
  let waylog: RunningWaylog;
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const save = (flightId: string, n: number) =>
    waylog.execute(new SaveFrameResult({ flightId, frame: aFrame(n) }));
  const log = () => {
    if (!database.double) throw new Error('There is no double.');
    return database.double.log;
  };
  const options = () => ({ ...tablesOf(flight, store()), connectionString: database.url });
  const verified = async (repair: boolean) => {
    const result = await verify({ ...options(), by: 'test', repair });
    return {
      ...result,
      log: result.log.map(({ code, streamId }) => [code, streamId]).toSorted(),
      different: result.tables.flatMap(({ projection, differences }) =>
        differences.map(({ key }) => [projection, key]),
      ),
    };
  };
  const proposed = (type: string, data: object) => ({
    id: crypto.randomUUID(),
    type,
    contentType: 'application/json',
    data: Buffer.from(JSON.stringify(data)),
    metadata: Buffer.from('{}'),
  });

  beforeAll(async () => {
    database = await testDatabase('EventStoreDB');
    waylog = await startWaylog(database);
    for (const id of flights) {
      await waylog.execute(new CreateFlight({ flight: aFlight(id, 2) }));
      for (const n of [1, 2, 3]) await save(id, n);
    }
    await waylog.settled();
    log().append('flight-written', 'any', [proposed('OrderPlaced', {})]);
    log().append('$$flight-limited', 'any', [proposed('$metadata', { $maxCount: 2 })]);
    log().delete('flight-deleted');
    log().tombstone('flight-buried');
    await database.pool.query(`update flight.flights set name = 'changed by hand' where id = 'whole'`);
  });
  afterAll(async () => {
    await waylog.close();
    await database.drop();
  });

  const done = [
    ['foreign-event', 'flight-written'],
    ['stream-limit', 'flight-deleted'],
    ['stream-limit', 'flight-limited'],
    ['stream-tombstoned', 'flight-buried'],
  ];

  it('are named by a verification, which compares all rows while the log has all events', async () => {
    expect(await verified(false)).toMatchObject({
      isSound: false,
      log: done,
      incomplete: [],
      records: [],
      different: [['flights', 'whole']],
    });
  });

  it('are named by the doctor, with what to do', async () => {
    const findings = await checkDatabase(
      { pool: waylog.app.get<pg.Pool>(TABLES_POOL), url: database.url, eventStore: database.eventStore },
      {},
    );
    const ofLog = findings.filter(({ check, level }) => check === 'log' && level === 'problem');
    expect(ofLog.map(({ what }) => what.split(' ', 2)).toSorted()).toEqual(
      done.map(([code, stream]) => [`${code}:`, stream]),
    );
    expect(ofLog.find(({ what }) => what.startsWith('foreign-event'))).toMatchObject({
      what: expect.stringMatching(/flight-written has at revision \d+ an event .*OrderPlaced/) as string,
      remedy: expect.stringContaining('waylog log copy') as string,
    });
  });

  it('are complete in a copy of the log, which leaves out foreign events', async () => {
    const to = new InMemoryEventStore();
    expect(await copyLog({ from: store(), to })).toMatchObject({ identical: true, sameOrder: true });
    const last = async (streamId: string) => {
      let revision = -1;
      for await (const page of to.readStream(streamId)) revision = page.at(-1)?.revision ?? revision;
      return revision;
    };
    const revisions = await Promise.all(flights.map((id) => last(`flight-${id}`)));
    expect(new Set(revisions).size).toBe(1);
  });

  it('are left alone by a repair after a scavenge has removed their events; all others are repaired', async () => {
    log().scavenge();
    const incomplete = ['flight-buried', 'flight-deleted', 'flight-limited'];
    const rows = async () =>
      (await database.pool.query(`select flight_id, frame_id from flight.frame_results order by 1, 2`)).rows;
    const before = await rows();
    const result = await verified(true);
    expect(result).toMatchObject({
      isSound: false,
      log: [
        ['foreign-event', 'flight-written'],
        ['stream-cut-short', 'flight-deleted'],
        ['stream-cut-short', 'flight-limited'],
        ['stream-limit', 'flight-deleted'],
        ['stream-limit', 'flight-limited'],
        ['stream-tombstoned', 'flight-buried'],
      ],
      different: [['flights', 'whole']],
    });
    expect(result.incomplete.toSorted()).toEqual(incomplete);
    expect(await rows()).toEqual(before);
    const open = await integrityFindings(database.pool, { open: true });
    expect([...new Set(open.map(({ key }) => `flight-${key}`))].toSorted()).toEqual(incomplete);
    // No repair can help, and no message suggests one.
    const doctor = await checkDatabase(
      { pool: waylog.app.get<pg.Pool>(TABLES_POOL), url: database.url, eventStore: database.eventStore },
      {},
    );
    expect(doctor.filter(({ check, level }) => check === 'integrity' && level === 'problem')).toMatchObject([
      {
        what: expect.stringMatching(/^3 streams of which the log no longer says what is right/) as string,
        remedy: expect.not.stringContaining('--repair') as string,
      },
    ]);
  });

  it('do not end a scheduled verification, which continues with the streams after them', async () => {
    await database.pool.query(`update flight.flights set name = 'changed by hand' where id = 'whole'`);
    const verification = new ScheduledVerification({
      ...options(),
      log: { info: () => undefined, warn: () => undefined },
      share: 1,
      roundIntervalMs: 10,
    });
    verification.start();
    const found = async () => (await integrityFindings(database.pool, { open: true })).map(({ key }) => key);
    while (!(await found()).includes('whole')) await new Promise(setImmediate);
    await verification.stop();
    expect(new Set(await found())).toEqual(new Set(['buried', 'deleted', 'limited', 'whole']));
  });
});

// The same, seen by processes that build tables from the beginning of the log.
describe('tables built from the beginning of a log in EventStoreDB that has lost events of some flights', () => {
  const lost = ['buried', 'deleted', 'limited'];
  let database: TestDatabase;
  let waylog: RunningWaylog;
  let complete: TestLog['all'];
  const running = () => waylog.app.get<EventStore>(EVENT_STORE);
  const log = () => {
    if (!database.double) throw new Error('There is no double.');
    return database.double.log;
  };
  const save = (flightId: string, n: number) =>
    waylog.execute(new SaveFrameResult({ flightId, frame: aFrame(n) }));
  const limit = (flightId: string, metadata: object) =>
    log().append(`$$flight-${flightId}`, 'any', [
      {
        id: crypto.randomUUID(),
        type: '$metadata',
        contentType: 'application/json',
        data: Buffer.from(JSON.stringify(metadata)),
        metadata: Buffer.from('{}'),
      },
    ]);
  const framesOf = async (pool: pg.Pool) => {
    const { rows } = await pool.query<{ flight_id: string; frames: string }>(
      `select flight_id, count(*) as frames from flight.frame_results group by 1 order by 1`,
    );
    return rows.map(({ flight_id, frames }) => `${flight_id} ${frames}`);
  };
  const parked = async (pool: pg.Pool) =>
    (await parkedStreams(pool, flight.name))
      .map(({ streamId, revision, error }) => [streamId, revision, error])
      .toSorted();
  const expected = [
    // Its events are still in the log, sealed with a key that no longer exists; the log no longer says whether it was
    // erased.
    ['flight-buried', 0, expect.stringMatching(/key of its stream is gone/)],
    ['flight-deleted', 0, expect.stringMatching(/lost revisions 0 to \d+ of the stream/)],
    ['flight-limited', 0, expect.stringMatching(/lost revisions 0 to \d+ of the stream/)],
  ];

  beforeEach(async () => {
    database = await testDatabase('EventStoreDB');
    waylog = await startWaylog(database);
    for (const id of ['first', ...lost, 'whole']) {
      await waylog.execute(new CreateFlight({ flight: aFlight(id, 2) }));
      for (const n of [1, 2, 3]) await save(id, n);
    }
    await waylog.settled();
    limit('limited', { $maxCount: 2 });
    complete = [...log().all];
    log().delete('flight-deleted');
    log().scavenge();
    log().tombstone('flight-buried');
    await database.pool.query(`delete from log.data_keys where stream_id = 'flight-buried'`);
    waylog.app.get(DataKeys).forgetAll();
  });
  afterEach(async () => {
    await waylog.close();
    await database.drop();
  });

  it('are built by a projector, which parks those flights and continues with all others', async () => {
    const fresh = await testDatabase();
    const { rows: keys } = await database.pool.query<{ stream_id: string; key: Buffer }>(
      `select stream_id, key from log.data_keys`,
    );
    for (const { stream_id, key } of keys)
      await fresh.pool.query(`insert into log.data_keys values ($1, $2)`, [stream_id, key]);
    const other = await startWaylog({ ...fresh, eventStore: database.eventStore });
    try {
      await save('limited', 4);
      await save('whole', 4);
      await other.settled();
      expect(await framesOf(fresh.pool)).toEqual(['first 3', 'whole 4']);
      expect(await parked(fresh.pool)).toEqual(expected);
    } finally {
      await other.close();
      await fresh.drop();
    }
  });

  it('are built by an adoption, which parks those flights, and a verification names them and ends', async () => {
    const projector = flightOf(waylog.app).projector;
    await projector.stop();
    const options = { ...tablesOf(flight, running()), connectionString: database.url };
    await adoptLog({ ...options, onlyIfWhole: false });
    expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 3']);
    expect(await parked(database.pool)).toEqual(expected);
    projector.start();
    await save('whole', 4);
    await waylog.settled();
    expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 4']);
    const result = await verify({ ...options, by: 'test' });
    expect(result).toMatchObject({ isSound: false, records: [], unfoldable: [] });
    expect(result.log.filter(({ severity }) => severity === 'error').map(({ streamId }) => streamId)).toEqual(
      expect.arrayContaining(lost.map((id) => `flight-${id}`)),
    );
    expect(result.tables.flatMap(({ differences }) => differences)).toEqual([]);
    // They cannot be resumed, and missing events cannot be discarded.
    for (const id of lost) {
      const unparking = { ...options, pool: database.pool, streamId: `flight-${id}` };
      expect(await unpark(unparking)).toMatchObject({ folded: 0, stillParked: { revision: 0 } });
      await expect(unpark({ ...unparking, discard: { reason: 'gone', by: 'test' } })).rejects.toMatchObject({
        code: 'projection.not-discardable',
      });
    }
    expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 4']);
  });

  describe('after somebody has accepted that', () => {
    const reason = 'no backup has them';
    const options = () => ({
      ...tablesOf(flight, running()),
      connectionString: database.url,
      pool: database.pool,
    });
    const accept = (id: string) => acceptLoss({ ...options(), streamId: `flight-${id}`, reason, by: 'test' });
    const adopt = () => adoptLog({ ...options(), onlyIfWhole: false });
    const waiting = async () => {
      const states = await statesOf(flight, database.pool, running());
      return Math.max(...states.map(({ parkedStreams }) => parkedStreams));
    };
    const accepted = async () =>
      (await parkedStreams(database.pool, flight.name))
        .map((one) => [one.streamId, one.accepted?.missingTo, one.waiting])
        .toSorted();
    const asAccepted = [
      ['flight-buried', 7, 8],
      ['flight-deleted', 7, 8],
      ['flight-limited', 5, 8],
    ];

    beforeEach(async () => {
      await flightOf(waylog.app).projector.stop();
      await adopt();
      for (const id of lost) await accept(id);
    });

    it('warn of those flights no more, and their later events are left out and counted', async () => {
      expect(await accepted()).toMatchObject(asAccepted);
      expect(await waiting()).toBe(0);
      flightOf(waylog.app).projector.start();
      await save('limited', 4);
      await save('whole', 4);
      await waylog.settled();
      expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 4']);
      expect(await accepted()).toContainEqual(['flight-limited', 5, 9]);
      expect(await waiting()).toBe(0);
      // A reader gets what there is.
      const head = await running().head();
      await expect(flightOf(waylog.app).watch.refuseParked('flight-limited', head)).resolves.toBeUndefined();
    });

    it('are sound for a verification and for the doctor, who name what was accepted', async () => {
      const result = await verify({ ...options(), by: 'test' });
      expect(result).toMatchObject({ isSound: true, log: [], incomplete: [], unfoldable: [] });
      expect(result.accepted.map(({ streamId }) => streamId).toSorted()).toEqual(
        lost.map((id) => `flight-${id}`),
      );
      expect(await integrityFindings(database.pool, { open: true })).toEqual([]);
      const doctor = await checkDatabase(
        { pool: waylog.app.get<pg.Pool>(TABLES_POOL), url: database.url, eventStore: database.eventStore },
        {},
      );
      const ofLog = doctor.filter(({ check }) => check === 'log');
      expect(new Set(ofLog.map(({ level }) => level))).toEqual(new Set(['ok']));
      expect(ofLog.map(({ what }) => what)).toContainEqual(
        expect.stringMatching(
          /^flight-limited: its events up to revision 5 are gone, which test accepted .*backup/,
        ),
      );
    });

    it('still report a row of such a flight that somebody has forged', async () => {
      await database.pool.query(
        `insert into flight.flights select * from jsonb_populate_record(
           (select f from flight.flights f where id = 'whole'), '{"id": "limited"}')`,
      );
      const { tables, isSound } = await verify({ ...options(), by: 'test' });
      expect(isSound).toBe(false);
      expect(tables.flatMap(({ differences }) => differences.map(({ key }) => key))).toEqual(['limited']);
    });

    it('stay so in a rebuild and in another adoption', async () => {
      expect((await rebuild(options())).parked).toEqual([]);
      expect(await accepted()).toMatchObject(asAccepted);
      expect((await adopt()).parked).toEqual([]);
      expect(await accepted()).toMatchObject(asAccepted);
      expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 3']);
    });

    it('hold a flight again once its events are back and it is resumed', async () => {
      limit('limited', {});
      log().all.splice(0, Infinity, ...complete, ...log().all.filter((event) => !complete.includes(event)));
      await unpark({ ...options(), streamId: 'flight-limited' });
      expect(await framesOf(database.pool)).toEqual(['first 3', 'limited 3', 'whole 3']);
      expect((await accepted()).map(([streamId]) => streamId)).toEqual(['flight-buried', 'flight-deleted']);
    });
  });

  it('hold a flight that was erased and then hard-deleted, without what was erased, and nobody has to accept it', async () => {
    await waylog.execute(new EraseFlight({ flightId: 'whole' }));
    await waylog.settled();
    log().tombstone('flight-whole');
    const later = await startWaylog(database, { projector: false });
    try {
      // The erasure is in a later batch than what was erased.
      const { parked } = await rebuild({
        ...tablesOf(flight, later.app.get<EventStore>(EVENT_STORE)),
        connectionString: database.url,
        batchSize: 1,
      });
      expect(parked.map(({ streamId }) => streamId)).not.toContain('flight-whole');
    } finally {
      await later.close();
    }
    expect(await framesOf(database.pool)).toEqual(['first 3', 'whole 3']);
  });

  it('are verified if they still hold those flights, and the verification ends with its findings', async () => {
    const result = await verify({
      ...tablesOf(flight, running()),
      connectionString: database.url,
      by: 'test',
    });
    expect(result).toMatchObject({
      isSound: false,
      unfoldable: [{ streamId: 'flight-buried', revision: 0 }],
    });
    expect(result.tables.flatMap(({ differences }) => differences)).toEqual([]);
    expect((await framesOf(database.pool)).length).toBe(5);
  });

  it('are not built if the log skips an event of a flight that others have not deleted', async () => {
    const at = log().all.findIndex(({ stream, revision }) => stream === 'flight-whole' && revision === 1);
    log().all.splice(at, 1);
    await flightOf(waylog.app).projector.stop();
    const options = { ...tablesOf(flight, running()), connectionString: database.url };
    await expect(adoptLog({ ...options, onlyIfWhole: false })).rejects.toMatchObject({
      code: 'projection.gap',
      data: { streamId: 'flight-whole', revision: 2, expected: 1 },
    });
    expect((await framesOf(database.pool)).length).toBe(5);
  });
});
