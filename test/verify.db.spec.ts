import {
  flight,
  flightIdOf,
  flightProjections,
  playFlight,
  simulateFlight,
  StoreImageContent,
} from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import {
  integrityFindings,
  restAfter,
  ScheduledVerification,
  verificationProgress,
  verify,
} from '#lib/projections';
import { tableHashes } from './support/tables.js';
import { useWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

describe('a verification', () => {
  const waylog = useWaylog();
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const sql = (text: string) => waylog.store.pool.query(text);
  const options = () => ({
    ...tablesOf(flight, store()),
    connectionString: waylog.store.url,
    by: 'the test',
  });
  const settled = () => waylog.settled();
  const play = (flightId: string, seed: number, frames = 60) =>
    playFlight(simulateFlight({ flightId, seed, frames }), waylog.execute, { speed: Infinity });
  const found = ({ tables }: Awaited<ReturnType<typeof verify>>) =>
    tables.flatMap(({ projection, differences }) =>
      differences.map(({ key, rowsFound, rowsExpected }) => [projection, key, rowsFound, rowsExpected]),
    );

  beforeAll(async () => {
    // Its first event is the first of the log: without that it would count as another log.
    await play('v1', 1);
    await Promise.all([2, 3].map((seed) => play(`v${seed}`, seed)));
    // No recording stores contents.
    const content = { sha256: 'ab'.repeat(32), size: 1, type: 'image/png' };
    await waylog.execute(new StoreImageContent({ flightId: 'v1', frameId: 1, content }));
    await settled();
  });

  it('finds nothing if everything matches the log', async () => {
    const result = await verify(options());
    expect(result).toMatchObject({ isSound: true, log: [], records: [], position: await store().head() });
    expect(result.tables.map(({ projection }) => projection)).toEqual(
      flightProjections.map(({ name }) => name),
    );
    expect(result.tables.every(({ rows }) => rows > 0)).toBe(true);
  });

  it('names the flight and the table of every kind of difference, and repairs exactly those', async () => {
    const before = await tableHashes(waylog.store.url);
    await sql(`update flight.waypoints set lat = lat + 1e-9 where flight_id = 'v1' and id = 'wp-1'`);
    await sql(`delete from flight.frame_results where flight_id = 'v2' and frame_id in (3, 4)`);
    await sql(
      `insert into flight.heading_history (flight_id, frame_id, heading, "timestamp") values ('nowhere', 1, 1, now())`,
    );
    await sql(`update flight.flights set camera_params = '{"changed": true}' where id = 'v3'`);
    const seen = await verify(options());
    const rows = (await sql(`select count(*)::integer as n from flight.waypoints where flight_id = 'v1'`))
      .rows[0] as {
      n: number;
    };
    const frames = (
      await sql(`select count(*)::integer as n from flight.frame_results where flight_id = 'v2'`)
    ).rows[0] as { n: number };
    expect(seen.isSound).toBe(false);
    expect(found(seen)).toEqual([
      ['flights', 'v3', 1, 1],
      ['waypoints', 'v1', rows.n, rows.n],
      ['frame_results', 'v2', frames.n, frames.n + 2],
      ['heading_history', 'nowhere', 1, 0],
    ]);
    expect(await integrityFindings(waylog.store.pool, { open: true })).toHaveLength(4);

    const repaired = await verify({ ...options(), repair: true });
    expect(
      repaired.tables.flatMap(({ differences }) => differences.map((difference) => difference.repaired)),
    ).toEqual([
      { rowsRemoved: 1, rowsWritten: 1 },
      { rowsRemoved: 1, rowsWritten: 1 },
      { rowsRemoved: 0, rowsWritten: 2 },
      { rowsRemoved: 1, rowsWritten: 0 },
    ]);
    expect(await tableHashes(waylog.store.url)).toEqual(before);
    expect(await integrityFindings(waylog.store.pool, { open: true })).toEqual([]);
    expect(await integrityFindings(waylog.store.pool)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          projection: 'frame_results',
          key: 'v2',
          repairedBy: 'the test',
          rowsWritten: 2,
        }),
      ]),
    );
    expect((await verify(options())).isSound).toBe(true);
  });

  it('closes a finding that disappeared without a repair', async () => {
    await sql(`update flight.waypoints set refined = not refined where flight_id = 'v1' and id = 'wp-2'`);
    await verify(options());
    await sql(`update flight.waypoints set refined = not refined where flight_id = 'v1' and id = 'wp-2'`);
    await verify(options());
    const [last] = await integrityFindings(waylog.store.pool);
    expect(last).toMatchObject({ projection: 'waypoints', key: 'v1', goneAt: expect.any(String) as string });
    expect(await integrityFindings(waylog.store.pool, { open: true })).toEqual([]);
  });

  it('repairs while flights are written', async () => {
    await sql(`delete from flight.waypoints where flight_id = 'v1'`);
    const writing = play('meanwhile', 9, 400);
    const repaired = await verify({ ...options(), repair: true });
    await writing;
    await settled();
    expect(found(repaired)).toMatchObject([['waypoints', 'v1', 0, expect.any(Number)]]);
    expect((await verify(options())).isSound).toBe(true);
  });

  it('leaves no shadow tables behind', async () => {
    const { rows } = await sql(`select from pg_tables where schemaname = 'verify_flight'`);
    expect(rows).toEqual([]);
  });

  it('finds wrong records of the projector', async () => {
    await sql(`update projection.stream_revisions set revision = revision - 1 where stream_id = 'flight-v3'`);
    const result = await verify(options());
    await sql(`update projection.stream_revisions set revision = revision + 1 where stream_id = 'flight-v3'`);
    expect(result.isSound).toBe(false);
    expect(result.records).toMatchObject([{ streamId: 'flight-v3' }]);
  });

  describe('of the log', () => {
    /** Damages the log inside a transaction of which the check sees a copy, and rolls it back. */
    const damaged = async (damage: string) => {
      await sql(
        `create table log.events_before as table log.events; create table log.streams_before as table log.streams`,
      );
      try {
        await sql(damage);
        return await store().check?.();
      } finally {
        await sql(
          `truncate log.events, log.streams;
           insert into log.streams overriding system value table log.streams_before;
           insert into log.events table log.events_before;
           drop table log.events_before, log.streams_before`,
        );
      }
    };
    const last = `(select max(revision) from log.events e join log.streams s using (stream_key) where stream_id = 'flight-v1')`;
    const key = `(select stream_key from log.streams where stream_id = 'flight-v1')`;
    it.each([
      [
        'an event taken out',
        `delete from log.events where stream_key = ${key} and revision = 3`,
        ['position-gap', 'stream-gap'],
      ],
      [
        'the last events taken away',
        `delete from log.events where stream_key = ${key} and revision = ${last}`,
        ['position-gap'],
      ],
      [
        'a stream without its name',
        `delete from log.streams where stream_id = 'flight-v1'`,
        ['orphan-event'],
      ],
      [
        'an id twice in a stream',
        `update log.events set id = (select id from log.events where stream_key = ${key} and revision = 1) where stream_key = ${key} and revision = 2`,
        ['repeated-id'],
      ],
      [
        'two events that have changed places',
        `update log.events set position = -position where stream_key = ${key} and revision in (1, 2);
         update log.events set position = case revision when 1 then (select -position from log.events where stream_key = ${key} and revision = 2)
                                                        else (select -position from log.events where stream_key = ${key} and revision = 1) end
          where stream_key = ${key} and revision in (1, 2)`,
        ['stream-disorder'],
      ],
      [
        'a stream without events',
        `insert into log.streams (stream_id) values ('flight-never')`,
        ['empty-stream'],
      ],
    ])('finds %s', async (_, damage, codes) => {
      const problems = (await damaged(damage)) ?? [];
      expect([...new Set(problems.map(({ code }) => code))].sort()).toEqual([...codes].sort());
    });

    it('names a gap that only the fold meets, as in a log that cannot be searched', async () => {
      const tables = options();
      const log = tables.store;
      const whole = log.readAll.bind(log);
      const without = jest
        .spyOn(log, 'readAll')
        .mockImplementation(async (read) => (await whole(read)).filter(({ revision }) => revision !== 1));
      const unseen = jest.spyOn(log, 'check').mockResolvedValue([]);
      const result = await verify(tables);
      without.mockRestore();
      unseen.mockRestore();
      expect(result).toMatchObject({ isSound: false });
      expect(result.log).toEqual(
        result.incomplete.map((streamId) => ({
          severity: 'error',
          code: 'stream-gap',
          streamId,
          detail: 'goes on with revision 2, but 1 comes next',
        })),
      );
      expect(result.incomplete).toHaveLength(4);
      expect(result.tables).toHaveLength(flightProjections.length);
      expect(found(result)).toEqual([]);
    });

    it.each([
      ['in the middle of a flight', `revision = 3`],
      ['from the end of a flight', `revision > 60`],
      ['all of a flight', `true`],
    ])('that lacks events, %s, is compared as far as it defines the right rows', async (_, which) => {
      const before = await tableHashes(waylog.store.url);
      const key = `(select stream_key from log.streams where stream_id = 'flight-v2')`;
      await sql(
        `create table log.kept as select * from log.events where stream_key = ${key} and ${which};
         delete from log.events where stream_key = ${key} and ${which};
         update flight.flights set name = 'changed by hand' where id = 'v3'`,
      );
      try {
        const result = await verify({ ...options(), repair: true });
        expect(result).toMatchObject({ isSound: false, incomplete: ['flight-v2'] });
        expect(result.log.map(({ code }) => code)).toContain('position-gap');
        expect(found(result)).toEqual([['flights', 'v3', 1, 1]]);
        const open = await integrityFindings(waylog.store.pool, { open: true });
        expect(new Set(open.map(({ key }) => key))).toEqual(new Set(['v2']));
        expect(open[0]?.error).toMatch(/^the log has lost its (events|revisions)/);
      } finally {
        await sql(`insert into log.events table log.kept; drop table log.kept`);
      }
      expect(await tableHashes(waylog.store.url)).toEqual(before);
      expect((await verify(options())).isSound).toBe(true);
    });

    it('that lacks its first event is distinguished from another log by the damage that was found', async () => {
      await sql(
        `create table log.kept as select * from log.events where position = 1; delete from log.events where position = 1`,
      );
      try {
        const result = await verify(options());
        expect(result).toMatchObject({ isSound: false, tables: [] });
        expect(result.log.map(({ code }) => code)).toContain('position-gap');
      } finally {
        await sql(`insert into log.events table log.kept; drop table log.kept`);
      }
    });
  });

  describe('on a schedule', () => {
    const scheduled = () =>
      new ScheduledVerification({
        projector: flight.name,
        projections: flightProjections,
        store: store(),
        connectionString: waylog.store.url,
        log: { info: () => undefined, warn: () => undefined },
        keyOf: (streamId) => flightIdOf({ streamId }),
        besides: (streamId) => [streamId],
        share: 1,
        roundIntervalMs: 10,
      });
    const rounds = async (condition: () => Promise<boolean>) => {
      const verification = scheduled();
      verification.start();
      await eventually(() => condition());
      await verification.stop();
    };
    const endOfRound = async () =>
      (await verificationProgress(waylog.store.pool, flight.name))?.lastRoundEndedAt;

    it('checks all flights and finds nothing if all is well', async () => {
      await rounds(async () => (await endOfRound()) !== undefined);
      expect(await verificationProgress(waylog.store.pool, flight.name)).toMatchObject({
        lastRoundStreams: 4,
      });
      expect(await integrityFindings(waylog.store.pool, { open: true })).toEqual([]);
    });

    it('finds a row that was changed by hand, and closes the finding when it is right again', async () => {
      const open = async () => (await integrityFindings(waylog.store.pool, { open: true })).length;
      await sql(
        `update flight.frame_results set altitude = altitude + 1 where flight_id = 'v2' and frame_id = 7`,
      );
      await rounds(async () => (await open()) === 1);
      expect(await integrityFindings(waylog.store.pool, { open: true })).toMatchObject([
        { projection: 'frame_results', key: 'v2', foundBy: 'schedule' },
      ]);
      await sql(
        `update flight.frame_results set altitude = altitude - 1 where flight_id = 'v2' and frame_id = 7`,
      );
      await rounds(async () => (await open()) === 0);
    });

    it('rests in proportion to its work', () => {
      expect(restAfter(10, 0.02)).toBeCloseTo(490);
      expect(restAfter(10, 0.5)).toBe(10);
      expect(restAfter(10, 1)).toBe(0);
    });
  });
});
