import type pg from 'pg';
import {
  CreateFlight,
  FlightDatabase,
  flightProjections,
  SaveFrameResult,
  UpdateWaypoint,
} from '#lib/flight';
import { EVENT_STORE, TABLES_POOL } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import {
  loadCheckpoints,
  pauseProjections,
  Projection,
  projectionStates,
  Projector,
  resumeProjections,
  upsert,
  type TableDefinition,
} from '#lib/projections';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame, aWaypoint } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

describe.each(logs)('the projector, with the log in %s', (log) => {
  let database: TestDatabase;
  const running: RunningWaylog[] = [];
  const start = async (projector = true) => {
    const waylog = await startWaylog(database, { projector });
    running.push(waylog);
    return waylog;
  };
  beforeEach(async () => {
    database = await testDatabase(log);
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((waylog) => waylog.close()));
    await database.drop();
  });
  /** Resolves when a condition holds; the test's time limit ends a wait in vain. */
  const until = async (condition: () => boolean | Promise<boolean>) => {
    await eventually(() => condition());
  };
  const stateOf = (waylog: RunningWaylog) => flightOf(waylog.app).projector.status.state;
  const leaders = (all: RunningWaylog[]) => all.filter((waylog) => stateOf(waylog) === 'active');
  const write = async (waylog: RunningWaylog, id: string) => {
    await waylog.execute(new CreateFlight({ flight: aFlight(id, 3) }));
    return waylog.execute(new SaveFrameResult({ flightId: id, frame: aFrame(1) }));
  };
  const folded = (waylog: RunningWaylog, position: string) =>
    flightOf(waylog.app).watch.waitFor(position, 60_000);

  it('is active in one process of several, and another takes over when that one ends', async () => {
    const all = await Promise.all([start(), start(), start()]);
    await until(() => leaders(all).length === 1);
    const leader = leaders(all)[0] as RunningWaylog;
    const others = all.filter((waylog) => waylog !== leader);
    await folded(leader, (await write(others[0] as RunningWaylog, 'a')).position);
    expect(others.map(stateOf)).toEqual(['standby', 'standby']);

    await flightOf(leader.app).projector.stop();
    await until(() => leaders(others).length === 1);
    const { position } = await write(others[0] as RunningWaylog, 'b');
    await folded(others[0] as RunningWaylog, position);
    expect(await (others[1] as RunningWaylog).database.getFrameResults('b')).toHaveLength(1);
  });

  it('takes over, and doubles nothing, when the connection of the leader is cut again and again', async () => {
    const all = await Promise.all([start(), start()]);
    const writer = all[0];
    await writer.execute(new CreateFlight({ flight: aFlight('cut', 10) }));
    let position = '';
    for (let n = 0; n < 200; n++) {
      ({ position } = await writer.execute(
        new UpdateWaypoint({ flightId: 'cut', waypoint: aWaypoint(n % 10, { confidence: n / 200 }) }),
      ));
      if (n % 20 === 10) {
        await database.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'waylog projector flight' and datname = current_database()`,
        );
      }
    }
    await folded(writer, position);
    expect(await writer.database.getWaypoints('cut')).toEqual(
      Array.from({ length: 10 }, (_, n) => aWaypoint(n, { confidence: (190 + n) / 200 })),
    );
  });

  it('lets a client read its own write, at once, from another process', async () => {
    const [writer, reader] = [await start(), await start(false)] as const;
    for (let n = 0; n < 50; n++) {
      const { position } = await write(writer, `mine-${n}`);
      await flightOf(reader.app).watch.waitFor(position, 60_000);
      expect(await reader.app.get(FlightDatabase).getFrameResults(`mine-${n}`)).toHaveLength(1);
    }
  });

  describe('that is paused', () => {
    const pause = () =>
      pauseProjections(database.pool, ['flight'], { reason: 'to look at it', by: 'the test' });
    const states = (of: RunningWaylog) =>
      projectionStates(database.pool, of.app.get<EventStore>(EVENT_STORE), 'flight', flightProjections);

    it('writes nothing from the moment of the answer, and everything once it is resumed', async () => {
      const waylog = await start();
      await folded(waylog, (await write(waylog, 'before')).position);
      const before = await tableHashes(database.url);
      // Many are in progress when it is paused.
      const writes = Array.from({ length: 50 }, (_, n) => write(waylog, `during-${n}`));
      await pause();
      const then = await tableHashes(database.url);
      const position = (await Promise.all(writes)).map((result) => result.position).at(-1) as string;
      await until(() => stateOf(waylog) === 'paused');
      expect(await tableHashes(database.url)).toEqual(then);
      expect(then).not.toBe(before);
      const [state] = await states(waylog);
      expect(state).toMatchObject({ state: 'paused', pausedBy: 'the test', pauseReason: 'to look at it' });
      expect(state?.lagEvents).toBeGreaterThan(0);
      await resumeProjections(database.pool, ['flight']);
      await folded(waylog, position);
      expect((await states(waylog))[0]).toMatchObject({ lagEvents: 0, lagSeconds: 0, stuckSeconds: 0 });
    });

    it('stays paused when another process takes the lead', async () => {
      const first = await start();
      await folded(first, (await write(first, 'a')).position);
      await pause();
      await flightOf(first.app).projector.stop();
      const second = await start();
      await until(() => stateOf(second) === 'paused');
      await write(second, 'b');
      expect((await database.pool.query(`select from flight.flights`)).rowCount).toBe(1);
      await resumeProjections(database.pool, ['flight']);
      await until(async () => (await database.pool.query(`select from flight.flights`)).rowCount === 2);
    });

    it('is distinguished from one without a leader, one that fails, and one that works', async () => {
      const waylog = await start();
      await folded(waylog, (await write(waylog, 'states')).position);
      await until(async () => (await states(waylog))[0]?.state === 'active');
      expect((await states(waylog))[0]).toMatchObject({
        leader: expect.stringContaining(String(process.pid)) as string,
      });
      await database.pool.query(`alter table flight.frame_results rename to gone`);
      await write(waylog, 'failing');
      await until(async () => (await states(waylog))[0]?.state === 'failed');
      expect((await states(waylog))[0]?.lastError).toMatch(/frame_results/);
      await database.pool.query(`alter table flight.gone rename to frame_results`);
      await until(async () => (await states(waylog))[0]?.state === 'active');
      await flightOf(waylog.app).projector.stop();
      expect((await states(waylog))[0]?.state).toBe('stopped');
    });
  });

  // The following tests are about the tables, or about the log in PostgreSQL alone.
  if (log !== 'PostgreSQL') return;

  it('wakes without a notification: a lost one costs a poll, not an event', async () => {
    const waylog = await start();
    await until(() => stateOf(waylog) === 'active');
    // An event without an announcement.
    await database.pool.query(`
      create or replace function pg_temp.quiet() returns void language sql as $$
        insert into log.streams (stream_id) values ('flight-quiet');
        insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
        select 1, stream_key, 0, gen_random_uuid(), 'FlightDeleted', 1, now(), '{}', '{}', '' from log.streams where stream_id = 'flight-quiet';
      $$; select pg_temp.quiet()`);
    await folded(waylog, '1');
    await until(() => flightOf(waylog.app).projector.status.eventsFolded === 1);
  });

  it('measures age by the clock of the database, whatever the clock of the server', async () => {
    const waylog = await start();
    await folded(waylog, (await write(waylog, 'before')).position);
    await flightOf(waylog.app).projector.stop();
    await write(waylog, 'behind');
    const states = () =>
      projectionStates(database.pool, waylog.app.get<EventStore>(EVENT_STORE), 'flight', flightProjections);
    const real = Date.now;
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => real() + 3_600_000);
    try {
      const [first] = await states();
      expect(first?.lagEvents).toBeGreaterThan(0);
      expect(first?.lagSeconds).toBeLessThan(3_000);
    } finally {
      clock.mockRestore();
    }
  });

  it('stops at a gap in a stream instead of writing half of it, and reports where', async () => {
    const writer = await start(false);
    await write(writer, 'gap');
    // As if revision 1 had been lost.
    await database.pool.query(`delete from log.events where revision = 1`);
    const waylog = await start();
    await until(() => stateOf(waylog) === 'failed');
    expect(flightOf(waylog.app).projector.status.lastError?.message).toMatch(
      /read revision 2 of flight-gap .* but revision 1 comes next/,
    );
    const { rows } = await database.pool.query(`select from flight.flights`);
    expect(rows).toEqual([]);
  });

  it('does not write when another process has moved its checkpoint', async () => {
    const waylog = await start();
    await folded(waylog, (await write(waylog, 'moved')).position);
    const before = await tableHashes(database.url);
    // Another writer with the same checkpoint, like a second leader.
    const [checkpoint] = await loadCheckpoints(database.pool, {
      projector: 'flight',
      names: ['flights'],
    });
    await database.pool.query(`update projection.checkpoints set position = $1`, [
      String(Number(checkpoint?.position) - 1),
    ]);
    await waylog.execute(new SaveFrameResult({ flightId: 'moved', frame: aFrame(2) }));
    // It starts again from the records, which say that one event is to be folded again: a gap by its own records.
    await until(() => stateOf(waylog) === 'failed');
    expect(await tableHashes(database.url)).toEqual(before);
  });

  it('builds the table of a projection that is new, or has a new version, from the whole log', async () => {
    const writer = await start();
    await folded(writer, (await write(writer, 'old')).position);
    await flightOf(writer.app).projector.stop();
    await database.pool.query(`create table flight.flight_names (id text primary key, name text not null)`);
    const table: TableDefinition = {
      schema: 'flight',
      name: 'flight_names',
      columns: { id: 'text', name: 'text' },
      key: ['id'],
    };
    const version = (n: number, prefix: string) =>
      new Projection<{ FlightCreated: { name: string } }>('flight_names', n, table).on(
        'FlightCreated',
        ({ streamId, data }) => upsert({ id: streamId, name: prefix + data.name }),
      ) as unknown as Projection;
    const names = async () =>
      (
        await database.pool.query<{ name: string }>(`select name from flight.flight_names order by 1`)
      ).rows.map((r) => r.name);

    for (const [n, prefix] of [
      [1, ''],
      [2, 'new '],
    ] as const) {
      const projector = new Projector({
        name: 'flight',
        projections: [...flightProjections, version(n, prefix)],
        store: writer.app.get<EventStore>(EVENT_STORE),
        pool: writer.app.get<pg.Pool>(TABLES_POOL),
        connectionString: database.url,
        log: { info: () => undefined, warn: () => undefined },
      });
      projector.start();
      await until(() => projector.status.state === 'active');
      const { position } = await write(writer, `flight ${n}`);
      await folded(writer, position);
      await until(async () => (await names()).length === n + 1);
      await projector.stop();
    }
    expect(await names()).toEqual(['new Flight flight 1', 'new Flight flight 2', 'new Flight old']);
  });

  it('does not write into a table that a newer version of its fold has rebuilt', async () => {
    const waylog = await start();
    await folded(waylog, (await write(waylog, 'newer')).position);
    await database.pool.query(
      `update projection.checkpoints set version = 99 where projection = 'frame_results'`,
    );
    const before = await tableHashes(database.url);
    await waylog.execute(new SaveFrameResult({ flightId: 'newer', frame: aFrame(2) }));
    await until(
      () =>
        flightOf(waylog.app).projector.status.lastError?.message.includes('rebuilt by a newer Waylog') ??
        false,
    );
    expect(await tableHashes(database.url)).toEqual(before);
  });

  it('ignores a notification without meaning', async () => {
    const waylog = await start();
    await folded(waylog, (await write(waylog, 'noise')).position);
    await database.pool.query(`select pg_notify('waylog_checkpoints', 'flight nonsense')`);
    await folded(waylog, (await write(waylog, 'noise-2')).position);
    expect(await waylog.database.getFrameResults('noise-2')).toHaveLength(1);
  });
});
