import type pg from 'pg';
import { CreateFlight, SaveFrameResult, flight, flightProjections } from '#lib/flight';
import { EVENT_STORE, TABLES_POOL, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { conflict } from '#lib/platform';
import {
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
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

/** The revision of a frame after the events that create a flight. */
const FRAME = 5;

describe('an event that was folded, and can no longer be folded', () => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  beforeEach(async () => {
    database = await testDatabase();
    waylog = await startWaylog(database);
    for (const id of ['a', 'b', 'c']) {
      await waylog.execute(new CreateFlight({ flight: aFlight(id, 2) }));
      await save(id, 1);
    }
    await settled();
  });
  afterEach(async () => {
    await waylog.close();
    await database.drop();
  });
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const options = () => ({
    ...tablesOf(flight, store()),
    pool: waylog.app.get<pg.Pool>(TABLES_POOL),
    connectionString: database.url,
  });
  const settled = () => waylog.settled();
  const save = (id: string, n: number) =>
    waylog.execute(new SaveFrameResult({ flightId: id, frame: aFrame(n) }));
  const tamper = (id: string, revision: number, data: string | undefined) =>
    database.pool.query(
      `set session_replication_role = replica;
       update log.events set data = '${data ?? '{"x": 1}'}'
        where revision = ${revision} and stream_key = (select stream_key from log.streams where stream_id = 'flight-${id}');
       set session_replication_role = origin`,
    );
  const dataOf = async (id: string, revision: number) =>
    (
      await database.pool.query<{ data: string }>(
        `select data::text from log.events where revision = $2
            and stream_key = (select stream_key from log.streams where stream_id = $1)`,
        [`flight-${id}`, revision],
      )
    ).rows[0]?.data;
  const column = async (text: string) =>
    (await database.pool.query<[unknown]>({ text, rowMode: 'array' })).rows.map(([value]) => value);
  const framesOf = (id: string) =>
    column(`select frame_id from flight.frame_results where flight_id = '${id}' order by 1`);
  const flights = () => column(`select id from flight.flights order by 1`);
  const damagedOf = (id: string, revision: number, type: string) => [
    {
      streamId: `flight-${id}`,
      revision,
      type,
      position: expect.stringMatching(/^\d+$/) as string,
      eventId: expect.any(String) as string,
      error: expect.stringMatching(/./) as string,
    },
  ];
  const first = damagedOf('b', 0, 'FlightCreated');

  it.each([
    [0, 'FlightCreated'],
    [FRAME, 'FrameResultSaved'],
  ] as const)(
    'is named by a verification, which continues with the others: revision %d, %s',
    async (revision, type) => {
      const before = await tableHashes(database.url);
      await tamper('b', revision, undefined);
      await database.pool.query(`update flight.flights set name = 'changed by hand' where id = 'c'`);
      for (const repair of [false, true]) {
        const result = await verify({ ...options(), by: 'test', repair });
        expect(result).toMatchObject({ isSound: false, unfoldable: damagedOf('b', revision, type) });
        expect(
          result.tables.flatMap(({ projection, differences }) =>
            differences.map(({ key }) => [projection, key]),
          ),
        ).toEqual([['flights', 'c']]);
      }
      // Rows that the log does not define are not repaired.
      expect(await tableHashes(database.url)).toEqual(before);
      const open = await integrityFindings(database.pool, { open: true });
      expect(new Set(open.map(({ key }) => key))).toEqual(new Set(['b']));
      expect(open[0]?.error).toMatch(`the ${type} at position`);
    },
  );

  it('is a finding of the scheduled verification, which continues with the others', async () => {
    await tamper('a', 0, undefined);
    await database.pool.query(`update flight.flights set name = 'changed by hand' where id = 'b'`);
    const verification = new ScheduledVerification({
      ...options(),
      log: { info: () => undefined, warn: () => undefined },
      share: 1,
      roundIntervalMs: 10,
    });
    verification.start();
    const found = async () => {
      const open = await integrityFindings(database.pool, { open: true });
      return new Map(open.map(({ projection, key, error }) => [`${projection} ${key}`, error]));
    };
    await eventually(async () => (await found()).has('flights b'));
    await verification.stop();
    expect((await found()).get('flights a')).toMatch('the FlightCreated at position');
    expect((await found()).get('flights b')).toBeUndefined();
  });

  it('is named by the scheduled verification also if its stream no longer exists', async () => {
    await database.pool.query(`update flight.flights set name = 'changed by hand' where id = 'c'`);
    const log = store();
    const whole = log.readStream.bind(log);
    jest.spyOn(log, 'readStream').mockImplementation((id, options) => {
      if (id === 'flight-a') throw conflict('log.stream-tombstoned', 'Stream flight-a was hard-deleted.');
      return whole(id, id === 'flight-b' ? { ...options, fromRevision: 2 } : options);
    });
    const verification = new ScheduledVerification({
      ...options(),
      log: { info: () => undefined, warn: () => undefined },
      share: 1,
      roundIntervalMs: 10,
    });
    verification.start();
    const found = async () => {
      const open = await integrityFindings(database.pool, { open: true });
      return new Map(open.map(({ projection, key, error }) => [`${projection} ${key}`, error]));
    };
    await eventually(async () => (await found()).has('flights c'));
    await verification.stop();
    expect((await found()).get('flights a')).toContain('hard-deleted');
    expect((await found()).get('flights b')).toContain('from revision 0 on');
    expect((await found()).get('flights c')).toBeUndefined();
  });

  it('keeps the later events of its stream out of a rebuild, in whichever batch they come', async () => {
    for (const n of [2, 3]) await save('b', n);
    await settled();
    await tamper('b', FRAME, undefined);
    const result = await rebuild({ ...options(), batchSize: 1 });
    expect(result.parked).toEqual(damagedOf('b', FRAME, 'FrameResultSaved'));
    expect(await framesOf('b')).toEqual([]);
  });

  it('is parked by a rebuild, which rebuilds all others; the projector knows it; and it can be discarded', async () => {
    await tamper('b', FRAME, undefined);
    const result = await rebuild(options());
    expect(result.parked).toEqual(damagedOf('b', FRAME, 'FrameResultSaved'));
    expect(result.tables.find(({ projection }) => projection === 'frame_results')).toMatchObject({ rows: 2 });
    expect(await flights()).toEqual(['a', 'b', 'c']);
    expect(await framesOf('b')).toEqual([]);
    // The leader has parked nothing itself.
    await save('b', 2);
    await save('c', 2);
    await settled();
    expect(await framesOf('b')).toEqual([]);
    expect(await framesOf('c')).toEqual([1, 2]);
    expect(await parkedStreams(database.pool, flight.name)).toMatchObject([
      { streamId: 'flight-b', revision: FRAME, waiting: 2 },
    ]);
    await expect(
      flightOf(waylog.app).watch.refuseParked('flight-b', await store().head()),
    ).rejects.toMatchObject({ code: 'projection.parked' });
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
    expect(await unpark({ ...options(), streamId: 'flight-b' })).toMatchObject({
      stillParked: { revision: FRAME },
    });
    const discard = { reason: 'tampered with', by: 'test' };
    expect(await unpark({ ...options(), streamId: 'flight-b', discard })).toEqual({
      streamId: 'flight-b',
      folded: 1,
    });
    expect(await framesOf('b')).toEqual([2]);
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
    expect((await rebuild(options())).parked).toEqual([]);
  });

  it('is parked by a rebuild also if a later one of its flight was, and is folded when it is repaired', async () => {
    const before = await tableHashes(database.url);
    const [good, last] = [await dataOf('b', 0), await dataOf('b', FRAME)];
    await tamper('b', FRAME, undefined);
    await rebuild(options());
    await tamper('b', 0, undefined);
    expect((await rebuild(options())).parked).toEqual(first);
    expect(await flights()).toEqual(['a', 'c']);
    await tamper('b', 0, good);
    await tamper('b', FRAME, last);
    expect(await unpark({ ...options(), streamId: 'flight-b' })).toEqual({
      streamId: 'flight-b',
      folded: FRAME + 1,
    });
    expect(await tableHashes(database.url)).toEqual(before);
  });

  it('is parked by a rebuild of one table; the other tables hold more until it is discarded', async () => {
    await tamper('b', FRAME, undefined);
    const projections = flightProjections.filter(({ name }) => name === 'frame_results');
    expect((await rebuild({ ...options(), projections })).parked).toHaveLength(1);
    const discard = { reason: 'tampered with', by: 'test' };
    await unpark({ ...options(), streamId: 'flight-b', discard });
    await verify({ ...options(), by: 'test', repair: true });
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
  });

  it('does not end a rebuild that was interrupted after it and starts again', async () => {
    await tamper('a', 0, undefined);
    const cut = new AbortController();
    await expect(
      rebuild({ ...options(), batchSize: 1, signal: cut.signal, onProgress: (n) => n >= 3 && cut.abort() }),
    ).rejects.toThrow();
    const result = await rebuild(options());
    expect(result).toMatchObject({ resumedFrom: 0, parked: damagedOf('a', 0, 'FlightCreated') });
    expect(await framesOf('a')).toEqual([]);
  });

  it('is parked when the log is adopted', async () => {
    await flightOf(waylog.app).projector.stop();
    await tamper('b', 0, undefined);
    const adopted = await adoptLog({ ...options(), onlyIfWhole: false });
    expect(adopted).toMatchObject({ streams: 3, parked: first });
    expect(await flights()).toEqual(['a', 'c']);
    flightOf(waylog.app).projector.start();
    await save('a', 2);
    await settled();
    expect(await framesOf('a')).toEqual([1, 2]);
    expect((await verify({ ...options(), by: 'test' })).isSound).toBe(true);
  });
});
