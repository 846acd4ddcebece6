import {
  CreateFlight,
  DeleteFlight,
  FrameMinutes,
  flightProjections,
  GetFrameMinutes,
  SaveFrameResult,
  rollUpAgain,
  streamOf,
  SaveFrameResults,
  verifyFrameMinutes,
  type FrameResult,
  flight,
} from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { rebuild, verify } from '#lib/projections';
import { capabilities, Hypertables, retainedSince } from '#lib/timescale';
import { seededRandom } from '#lib/platform';
import { runMigrations } from '../migrations/index.js';
import { appendRaw } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { testDatabase } from './support/database.js';
import { flightOf, startWaylog, useWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

const EPOCH = Date.UTC(2026, 4, 1, 12);
const minute = (n: number): string => new Date(EPOCH + n * 60_000).toISOString();
const second = (n: number): string => new Date(EPOCH + n * 1_000).toISOString();

/** An independent great circle: the angle between two vectors. */
function metres(a: FrameResult, b: FrameResult): number {
  const vector = ({ gpsCenter: { lat, lon } }: FrameResult) => {
    const [phi, lambda] = [(lat * Math.PI) / 180, (lon * Math.PI) / 180];
    return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)] as const;
  };
  const [ax, ay, az] = vector(a);
  const [bx, by, bz] = vector(b);
  const cross = Math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx);
  return 6_371_008.8 * Math.atan2(cross, ax * bx + ay * by + az * bz);
}
const length = (frames: readonly FrameResult[]): number =>
  frames.slice(1).reduce((sum, frame, n) => sum + metres(frames[n] as FrameResult, frame), 0);

describe('minute rollups of frame results', () => {
  const waylog = useWaylog();
  let flights = 0;
  const given = async (frames: readonly FrameResult[]) => {
    const { flightId } = await waylog.execute(new CreateFlight({ flight: aFlight(`minutes-${++flights}`) }));
    const { position } = await waylog.execute(new SaveFrameResults({ flightId, frames }));
    return { flightId, position };
  };
  const minutes = (flightId: string, minPosition: string, range = {}) =>
    waylog.query(new GetFrameMinutes(flightId, range, { minPosition }));
  const sum = (rows: readonly { distanceMetres: number }[]) =>
    rows.reduce((total, { distanceMetres }) => total + distanceMetres, 0);
  const verified = () => verifyFrameMinutes(waylog.store.pool);

  it('count, average and measure, and the distances sum up to the length of the path', async () => {
    // Frames 20 s apart: three a minute, and hops between minutes.
    const frames = Array.from({ length: 9 }, (_, n) =>
      aFrame(n, {
        timestamp: second(n * 20),
        confidence: (n + 1) / 10,
        refined: n % 3 === 0,
        gpsCenter: { lat: 63 + n * n * 0.001, lon: 10 + n * 0.002 },
      }),
    );
    const { flightId, position } = await given(frames);
    const rows = await minutes(flightId, position);
    expect(rows).toEqual(
      [0, 1, 2].map((n) => ({
        minute: minute(n),
        frames: 3,
        meanConfidence: expect.closeTo((3 * n + 2) / 10, 12) as number,
        minConfidence: (3 * n + 1) / 10,
        refinedShare: expect.closeTo(1 / 3, 12) as number,
        distanceMetres: expect.closeTo(length(frames.slice(Math.max(0, 3 * n - 1), 3 * n + 3)), 6) as number,
      })),
    );
    expect(sum(rows)).toBeCloseTo(length(frames), 6);
    // The hop from the minute before counts although that minute is not requested.
    const [middle] = await minutes(flightId, position, { from: minute(1), to: minute(2) });
    expect(middle).toEqual(rows[1]);
  });

  it('order frames by their timestamp, cross the antimeridian the short way, and give one frame no length', async () => {
    const frames = [
      aFrame(0, { timestamp: second(50), gpsCenter: { lat: 10, lon: 179.999 } }),
      aFrame(1, { timestamp: second(70), gpsCenter: { lat: 10, lon: -179.999 } }),
      aFrame(2, { timestamp: second(5), gpsCenter: { lat: 10, lon: 179.997 } }),
    ];
    const { flightId, position } = await given(frames);
    const rows = await minutes(flightId, position);
    const inTime = [frames[2], frames[0], frames[1]] as FrameResult[];
    expect(rows.map(({ frames: n }) => n)).toEqual([2, 1]);
    expect(sum(rows)).toBeCloseTo(length(inTime), 6);
    expect(sum(rows)).toBeLessThan(500);
    const alone = await given([aFrame(0)]);
    expect(sum(await minutes(alone.flightId, alone.position))).toBe(0);
  });

  it('follow a frame that moves to another minute, and drop a minute that it leaves empty', async () => {
    const frames = Array.from({ length: 6 }, (_, n) => aFrame(n, { timestamp: second(n * 30) }));
    const { flightId, position: before } = await given(frames);
    expect((await minutes(flightId, before)).map(({ frames: n }) => n)).toEqual([2, 2, 2]);
    let { position } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(2, { timestamp: second(130), refined: true }) }),
    );
    expect((await minutes(flightId, position)).map(({ frames: n }) => n)).toEqual([2, 1, 3]);
    ({ position } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(3, { timestamp: second(3_600 * 24 * 30) }) }),
    ));
    expect((await minutes(flightId, position)).map(({ minute: m, frames: n }) => [m, n])).toEqual([
      [minute(0), 2],
      [minute(2), 3],
      [minute(60 * 24 * 30), 1],
    ]);
    expect(await verified()).toMatchObject({ differences: [], identical: true });
  });

  it.each([
    ['has no time', { frameId: 667 }],
    ['has a time that is none', { ...aFrame(667), timestamp: 'noon' }],
  ])('continue after an event of another flight that %s', async (_, poison) => {
    const { flightId } = await given([aFrame(1)]);
    await appendRaw(waylog.app.get<EventStore>(EVENT_STORE), streamOf(flightId), 'FrameResultSaved', poison);
    const after = await given([aFrame(1, { timestamp: second(1) })]);
    expect((await minutes(after.flightId, after.position)).length).toBe(1);
    // The next step begins after the poison, or fails at it.
    const next = await given([aFrame(1, { timestamp: second(1) })]);
    expect((await minutes(next.flightId, next.position)).length).toBe(1);
  });

  it('are deleted with their flight, and then answer not found as the frames do', async () => {
    const { flightId, position: before } = await given([aFrame(0), aFrame(1)]);
    expect(await minutes(flightId, before)).toHaveLength(1);
    const { position } = await waylog.execute(new DeleteFlight({ flightId }));
    await expect(minutes(flightId, position)).rejects.toMatchObject({ code: 'flight.not-found' });
    const { rows } = await waylog.store.pool.query(`select from flight.frame_minutes where flight_id = $1`, [
      flightId,
    ]);
    expect(rows).toHaveLength(0);
    const empty = await waylog.execute(new CreateFlight({ flight: aFlight('no-frames') }));
    expect(await minutes('no-frames', empty.position)).toEqual([]);
  });

  it('refuse a bound that is not a time', async () => {
    await expect(waylog.query(new GetFrameMinutes('any', { from: 'noon' }))).rejects.toMatchObject({
      code: 'input.invalid',
      data: { errors: [{ field: 'from' }] },
    });
  });

  it('are found to differ when a row is changed by hand', async () => {
    const { flightId, position } = await given([aFrame(0), aFrame(1)]);
    await minutes(flightId, position);
    expect(await verified()).toMatchObject({ identical: true, caughtUp: true });
    await waylog.store.pool.query(
      `update flight.frame_minute_parts set frames = 7, path[1] = 0 where flight_id = $1`,
      [flightId],
    );
    expect(await verified()).toMatchObject({
      identical: false,
      differences: [{ flightId, minute: minute(0), rollup: expect.stringMatching(/^7 /) as string }],
    });
    await waylog
      .execute(new SaveFrameResult({ flightId, frame: aFrame(1, { altitude: 5 }) }))
      .then(({ position: at }) => minutes(flightId, at));
    expect(await verified()).toMatchObject({ identical: true });
  });

  it('are computed again for flights whose rows were written out of the order of the log, once requested', async () => {
    const { pool } = waylog.store;
    const { flightId, position } = await given([aFrame(0), aFrame(1), aFrame(2, { timestamp: second(90) })]);
    const before = await minutes(flightId, position);
    const saved = await pool.query<{ row: object }>(
      `delete from flight.frame_results where flight_id = $1 and frame_id > 0 returning to_jsonb(frame_results) as row`,
      [flightId],
    );
    await rollUpAgain(pool, [flightId, flightId]);
    await eventually(async () => (await minutes(flightId, position)).length <= 1);
    expect(await minutes(flightId, position)).toMatchObject([{ frames: 1, distanceMetres: 0 }]);
    const rows = JSON.stringify(saved.rows.map(({ row }) => row));
    await pool.query(
      `insert into flight.frame_results select * from jsonb_populate_recordset(null::flight.frame_results, $1)`,
      [rows],
    );
    await rollUpAgain(pool, [flightId]);
    await eventually(async () => (await minutes(flightId, position)).length >= 2);
    expect(await minutes(flightId, position)).toEqual(before);
    expect((await pool.query(`select from flight.frame_minutes_touched`)).rows).toHaveLength(0);
  });

  it('are computed again when the table under them has been rebuilt', async () => {
    const { flightId, position } = await given([aFrame(0), aFrame(1)]);
    const [before] = await minutes(flightId, position);
    const { pool, url } = waylog.store;
    // The frames are changed by hand, and the rollup follows.
    await pool.query(`delete from flight.frame_results where flight_id = $1 and frame_id = 1`, [flightId]);
    await pool.query(
      `insert into flight.frame_results select 'stranger', frame_id, gps_lat, gps_lon, altitude, heading, confidence, refined, "timestamp", updated_at
         from flight.frame_results where flight_id = $1`,
      [flightId],
    );
    await pool.query(`delete from flight.frame_minutes_source`);
    const { position: later } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(0, { altitude: 9 }) }),
    );
    expect(await minutes(flightId, later)).toMatchObject([{ frames: 1 }]);

    const projection = flightProjections.find(({ name }) => name === 'frame_results');
    if (!projection) throw new Error('There is no projection frame_results.');
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await rebuild({ ...tablesOf(flight, store), projections: [projection], connectionString: url });
    const { position: last } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(0, { altitude: 10 }) }),
    );
    expect(await minutes(flightId, last)).toEqual([before]);
    expect(await verified()).toMatchObject({ differences: [], identical: true });
  });

  it('are the same when their follower is interrupted repeatedly', async () => {
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    await waylog.app.get(FrameMinutes).stop();
    const { pool, listener, url } = waylog.store;
    const follower = new FrameMinutes({
      follows: 'flight',
      store: waylog.app.get<EventStore>(EVENT_STORE),
      pool,
      listener,
      connectionString: url,
      log: { info: () => undefined, warn: () => undefined },
      intervalMs: 0,
      batchSize: 7,
      standbyIntervalMs: 10,
    });
    follower.start();
    const flightIds = ['cut-a', 'cut-b', 'cut-c'];
    let position = '';
    let cuts = 0;
    for (const id of flightIds) await waylog.execute(new CreateFlight({ flight: aFlight(id) }));
    for (let round = 0; round < 150; round++) {
      const flightId = flightIds[Math.floor(random() * 3)] as string;
      // Not at the end, so that there is something to compare.
      const deletes = round < 120 && random() < 0.03;
      ({ position } = deletes
        ? await waylog.execute(new DeleteFlight({ flightId }))
        : await waylog.execute(
            new SaveFrameResults({
              flightId,
              frames: Array.from({ length: 5 }, () =>
                aFrame(Math.floor(random() * 40), {
                  timestamp: second(Math.floor(random() * 600)),
                  confidence: random(),
                }),
              ),
            }),
          ));
      if (deletes) await waylog.execute(new CreateFlight({ flight: aFlight(flightId) }));
      if (round % 10 === 9) {
        await eventually(() => follower.status.state === 'active');
        const { rowCount } = await pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'waylog frame-minutes' and datname = current_database()`,
        );
        cuts += rowCount ?? 0;
      }
    }
    await follower.waitFor(position, 60_000);
    expect({ seed, ...(await verified()) }).toMatchObject({ seed, differences: [], identical: true });
    expect(cuts).toBeGreaterThan(3);
    for (const flightId of flightIds) expect((await minutes(flightId, position)).length).toBeGreaterThan(1);
    await follower.close();
    waylog.app.get(FrameMinutes).start();
  });

  it('keep the minutes whose frames were dropped on purpose, until their flight is deleted', async () => {
    // Two weeks apart, and the older week is dropped.
    const old = Array.from({ length: 4 }, (_, n) =>
      aFrame(n, { timestamp: `2020-01-02T00:00:${n}0.000Z`, confidence: 0.5 }),
    );
    const { flightId, position } = await given([...old, aFrame(9, { timestamp: minute(5) })]);
    const before = await minutes(flightId, position);
    expect(before.map(({ frames }) => frames)).toEqual([4, 1]);
    const models = flightProjections.map(({ table }) => table);
    await new Hypertables(waylog.store.pool, models).dropChunks('flight.frame_results', {
      olderThan: '2021-01-01T00:00:00Z',
      confirm: 'flight.frame_results',
    });
    // A refinement of one of the dropped frames brings that row back, alone.
    const { position: later } = await waylog.execute(
      new SaveFrameResult({
        flightId,
        frame: aFrame(0, { timestamp: old[0]?.timestamp ?? '', refined: true }),
      }),
    );
    expect(await minutes(flightId, later)).toEqual(before);
    expect(await verified()).toMatchObject({ differences: [], identical: true });
    const { position: gone } = await waylog.execute(new DeleteFlight({ flightId }));
    await waylog.app.get(FrameMinutes).waitFor(gone, 60_000);
    const { rows } = await waylog.store.pool.query(`select from flight.frame_minutes where flight_id = $1`, [
      flightId,
    ]);
    expect(rows).toHaveLength(0);
  });

  it('match the frames again, once dropped ones are back', async () => {
    const old = [1, 2].map((n) => aFrame(n, { timestamp: `2020-03-02T00:00:${n}0.000Z` }));
    const { flightId, position } = await given([...old, aFrame(9, { timestamp: minute(5) })]);
    expect((await minutes(flightId, position)).map(({ frames }) => frames)).toEqual([2, 1]);
    const { pool, url } = waylog.store;
    const models = flightProjections.map(({ table }) => table);
    await new Hypertables(pool, models).dropChunks('flight.frame_results', {
      olderThan: '2021-01-01T00:00:00Z',
      confirm: 'flight.frame_results',
    });
    // Leaves its minute, whose old values the rollup keeps.
    const { position: moved } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(1, { timestamp: minute(6) }) }),
    );
    expect((await minutes(flightId, moved)).map(({ frames }) => frames)).toEqual([2, 1, 1]);
    const projections = flightProjections.filter(({ name }) => name === 'frame_results');
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await rebuild({ ...tablesOf(flight, store), projections, connectionString: url });
    expect((await retainedSince(pool)).get('flight.frame_results')).toBeUndefined();
    const { position: later } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(9, { timestamp: minute(5), altitude: 9 }) }),
    );
    expect((await minutes(flightId, later)).map(({ frames }) => frames)).toEqual([1, 1, 1]);
    expect(await verified()).toMatchObject({ differences: [], identical: true });
  });

  it('are a table that a follower keeps, in every edition', async () => {
    const { rows } = await waylog.store.pool.query(
      `select relkind as kind from pg_class where oid = 'flight.frame_minute_parts'::regclass`,
    );
    expect(rows).toEqual([{ kind: 'r' }]);
    const other = await startWaylog(waylog.store.url);
    const { state } = other.app.get(FrameMinutes).status;
    await other.close();
    expect(['standby', 'stopped']).toContain(state);
  });

  it('belong to the new flight at once, when a flight is deleted and created again with the same id and minutes', async () => {
    const { flightId, position: before } = await given([aFrame(0), aFrame(1), aFrame(2)]);
    expect(await minutes(flightId, before)).toMatchObject([{ frames: 3 }]);
    await waylog.execute(new DeleteFlight({ flightId }));
    await waylog.execute(new CreateFlight({ flight: aFlight(flightId) }));
    const { position } = await waylog.execute(
      new SaveFrameResults({ flightId, frames: [aFrame(7, { confidence: 0.25 })] }),
    );
    expect(await minutes(flightId, position)).toMatchObject([{ frames: 1, meanConfidence: 0.25 }]);
  });

  it('do not count as different while they are only behind', async () => {
    const follower = waylog.app.get(FrameMinutes);
    await follower.stop();
    const { flightId, position } = await given([aFrame(0), aFrame(1)]);
    await flightOf(waylog.app).watch.waitFor(position, 60_000);
    expect(await verifyFrameMinutes(waylog.store.pool, { attempts: 2, pauseMs: 0 })).toMatchObject({
      caughtUp: false,
      differences: [{ flightId }],
    });
    const verifying = verifyFrameMinutes(waylog.store.pool, { attempts: 1_000, pauseMs: 50 });
    follower.start();
    expect(await verifying).toMatchObject({ identical: true, differences: [] });
    expect(await minutes(flightId, position)).toHaveLength(1);
  });

  it('are kept when the migration replaces a continuous aggregate by the table, and back', async () => {
    const database = await testDatabase();
    const { pool } = database;
    const can = await capabilities(pool);
    const to = async (targetRevision: string) =>
      expect(
        await runMigrations(database.url, {
          serviceName: 'waylog',
          targetRevision,
          validationLevel: 'none',
          confirmDataLoss: true,
        }),
      ).toMatchObject({ success: true });
    const kept = () =>
      pool
        .query<{ flight_id: string; frames: string }>(
          `select flight_id, frames from flight.frame_minutes order by flight_id`,
        )
        .then(({ rows }) => rows.map(({ flight_id, frames }) => [flight_id, Number(frames)]));
    try {
      await to('1790000014000');
      // Its policy could refresh it at any moment, and dropped minutes would be removed.
      if (can.continuousAggregates.available)
        await pool.query(
          `select remove_continuous_aggregate_policy('flight.frame_minute_parts', if_exists => true)`,
        );
      await pool.query(
        `insert into flight.frame_results
         select f, n, 1, 2, 3, 4, 0.5, false, '2020-01-02T00:00:00Z'::timestamptz + n * interval '1 second', now()
           from unnest(array['gone', 'there']) f, generate_series(1, 5) n`,
      );
      if (can.continuousAggregates.available)
        await pool.query(`call refresh_continuous_aggregate('flight.frame_minute_parts', null, null)`);
      else
        await pool.query(
          `insert into flight.frame_minute_parts
           select flight_id, time_bucket(interval '1 minute', "timestamp"), count(*), 0.5, 0.5, 0,
                  flight.path(gps_lat, gps_lon order by frame_id) from flight.frame_results group by 1, 2`,
        );
      // What a retention would have done, without a refresh since.
      await pool.query(
        `select drop_chunks('flight.frame_results', older_than => '2021-01-01Z'::timestamptz)`,
      );
      await to('1790000015000');
      expect(await kept()).toEqual([
        ['gone', 5],
        ['there', 5],
      ]);
      await to('1790000014000');
      const { rows } = await pool.query(
        `select relkind as kind from pg_class where oid = 'flight.frame_minute_parts'::regclass`,
      );
      expect(rows).toEqual([{ kind: can.continuousAggregates.available ? 'v' : 'r' }]);
      await to('1790000015000');
    } finally {
      await database.drop();
    }
  });

  describe('of frames that a retention policy of TimescaleDB drops', () => {
    const pool = () => waylog.store.pool;
    const hypertables = () =>
      new Hypertables(
        pool(),
        flightProjections.map(({ table }) => table),
      );
    /** What the scheduler of TimescaleDB does when it is time. */
    const runPolicies = async () => {
      const { rows } = await pool().query<{ id: number }>(
        `select job_id as id from timescaledb_information.jobs where proc_name = 'policy_retention'`,
      );
      for (const { id } of rows) await pool().query(`call run_job(${id})`);
    };
    const sound = () =>
      retainedSince(pool()).then((retained) =>
        verify({
          ...tablesOf(flight, waylog.app.get<EventStore>(EVENT_STORE)),
          projections: flightProjections.filter(({ name }) => name === 'frame_results'),
          connectionString: waylog.store.url,
          by: 'test',
          retainedSince: retained,
        }),
      );

    it('stay, and neither they nor the frames count as damage, also when the retention is removed again', async () => {
      if (!(await capabilities(pool())).retentionPolicies.available) return;
      const old = Array.from({ length: 4 }, (_, n) =>
        aFrame(n, { timestamp: `2021-03-04T00:00:${n}0.000Z`, confidence: 0.5 }),
      );
      const recent = aFrame(9, { timestamp: new Date(Date.now() - 3_600_000).toISOString() });
      const { flightId, position } = await given([...old, recent]);
      const before = await minutes(flightId, position);
      expect(before.map(({ frames }) => frames)).toEqual([4, 1]);
      await hypertables().change('frame_results', { retentionPeriod: '400 days' });
      await runPolicies();
      const { rows } = await pool().query(
        `select frame_id from flight.frame_results where flight_id = $1 order by 1`,
        [flightId],
      );
      expect(rows).toEqual([{ frame_id: 9 }]);
      // A refinement of one of the dropped frames brings that row back, alone.
      const { position: later } = await waylog.execute(
        new SaveFrameResult({
          flightId,
          frame: aFrame(0, { timestamp: old[0]?.timestamp ?? '', refined: true }),
        }),
      );
      expect(await minutes(flightId, later)).toEqual(before);
      expect(await verified()).toMatchObject({ differences: [], identical: true });
      await hypertables().change('frame_results', { retentionPeriod: 'none' });
      expect(await sound()).toMatchObject({ isSound: true });
      expect(await verified()).toMatchObject({ differences: [], identical: true });
      await rollUpAgain(pool(), [flightId]);
      await eventually(
        async () => !(await pool().query(`select from flight.frame_minutes_touched`)).rowCount,
      );
      expect(await minutes(flightId, later)).toEqual(before);
    });

    it('do not keep a late flight of the same time from being followed', async () => {
      if (!(await capabilities(pool())).retentionPolicies.available) return;
      await hypertables().change('frame_results', { retentionPeriod: '400 days' });
      // It could run at any time, but belongs to the other test.
      await pool().query(
        `select alter_job(job_id, scheduled => false) from timescaledb_information.jobs where proc_name = 'policy_retention'`,
      );
      const late = (n: number) => `2019-03-04T00:0${n}:00.000Z`;
      const { flightId, position } = await given([
        aFrame(1, { timestamp: late(1) }),
        aFrame(2, { timestamp: late(1) }),
      ]);
      expect(await minutes(flightId, position)).toMatchObject([{ frames: 2 }]);
      const { position: moved } = await waylog.execute(
        new SaveFrameResult({ flightId, frame: aFrame(2, { timestamp: late(5) }) }),
      );
      expect(await minutes(flightId, moved)).toMatchObject([{ frames: 1 }, { frames: 1 }]);
      await hypertables().change('frame_results', { retentionPeriod: 'none' });
    });
  });
});
