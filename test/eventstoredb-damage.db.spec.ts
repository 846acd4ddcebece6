import type pg from 'pg';
import { checkDatabase } from '../apps/cli/src/doctor.js';
import { copyLog, InMemoryEventStore, type EventStore } from '#lib/event-store';
import { CreateFlight, EVENT_STORE, flightProjector, SaveFrameResult, TABLES_POOL } from '#lib/flight';
import { integrityFindings, ScheduledVerification, verify } from '#lib/projections';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

// What others do to flights' streams in EventStoreDB, and what is said of it.
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
  const options = () => ({ ...flightProjector, store: store(), connectionString: database.url });
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

  it('are whole in a copy of the log, which leaves the events of others out', async () => {
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

  it('are left alone by a repair when a scavenge has taken their events away; all others are repaired', async () => {
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
  });

  it('do not end a scheduled verification, which goes on with those behind them', async () => {
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
