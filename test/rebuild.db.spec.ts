import {
  CreateFlight,
  flightProjections,
  GetFlight,
  playFlight,
  SaveFrameResult,
  SaveFrameResults,
  simulateFlight,
  StoreImageContent,
  flight,
} from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { discardRebuild, LiveRows, Projection, rebuild, verify } from '#lib/projections';
import { capabilities, Hypertables, retainedSince } from '#lib/timescale';
import { geofencesTable } from '../libs/flight/src/geofences/geofences.projection.js';
import { waypointsTable } from '../libs/flight/src/waypoints/waypoints.projection.js';
import { logs } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, useWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

describe.each(logs)('a rebuild, with the log in %s', (log) => {
  const waylog = useWaylog({}, log);
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const run = async (name: string, mode: 'replace' | 'compare') => {
    const projection = flightProjections.find((p) => p.name === name);
    if (!projection) throw new Error(name);
    const options = {
      ...tablesOf(flight, store()),
      projections: [projection],
      connectionString: waylog.store.url,
      batchSize: 200,
    };
    if (mode === 'compare') return { identical: (await verify({ ...options, by: 'test' })).isSound };
    return (await rebuild({ ...options, retainedSince: await retainedSince(waylog.store.pool) })).tables[0];
  };
  const count = async (table: string) =>
    Number(
      (await waylog.store.pool.query<{ n: string }>(`select count(*) as n from flight.${table}`)).rows[0]?.n,
    );
  const settled = () => waylog.settled();

  beforeAll(async () => {
    await Promise.all(
      [1, 2, 3].map((seed) =>
        playFlight(simulateFlight({ flightId: `rebuild-${seed}`, seed, frames: 120 }), waylog.execute, {
          speed: Infinity,
        }),
      ),
    );
    // No recording stores contents.
    const content = { sha256: 'ab'.repeat(32), size: 1, type: 'image/png' };
    await waylog.execute(new StoreImageContent({ flightId: 'rebuild-1', frameId: 1, content }));
    await settled();
  });

  it('makes every table again, identical to the live one by hash', async () => {
    const before = await tableHashes(waylog.store.url);
    expect(Object.values(before).every((hash) => !hash.startsWith('0 rows'))).toBe(true);
    for (const { name } of flightProjections) {
      expect(await run(name, 'replace')).toMatchObject({ projection: name, identical: true });
    }
    expect(await tableHashes(waylog.store.url)).toEqual(before);
  });

  it('is written to by the projector from the moment of the swap', async () => {
    await run('frame_results', 'replace');
    const { position } = await waylog.execute(
      new SaveFrameResult({ flightId: 'rebuild-1', frame: aFrame(900) }),
    );
    await flightOf(waylog.app).watch.waitFor(position, 60_000);
    const { rows } = await waylog.store.pool.query(`select from flight.frame_results where frame_id = 900`);
    expect(rows).toHaveLength(1);
  });

  it('continues while flights are written, and misses nothing', async () => {
    const writing = playFlight(
      simulateFlight({ flightId: 'meanwhile', seed: 9, frames: 300 }),
      waylog.execute,
      { speed: Infinity },
    );
    await run('frame_results', 'replace');
    await run('waypoints', 'replace');
    await writing;
    await settled();
    for (const { name } of flightProjections)
      expect(await run(name, 'compare')).toMatchObject({ identical: true });
  });

  describe('that is interrupted', () => {
    const options = (names = ['waypoints', 'frame_results']) => ({
      projector: flight.name,
      projections: flightProjections.filter(({ name }) => names.includes(name)),
      store: store(),
      connectionString: waylog.store.url,
      batchSize: 100,
    });
    const shadows = async () =>
      (
        await waylog.store.pool.query<{ name: string }>(
          `select tablename as name from pg_tables where schemaname = 'rebuild_flight' order by 1`,
        )
      ).rows.map(({ name }) => name);
    /** Cuts the connections of a rebuild, as a kill of its process does, once it has folded some events. */
    const cutOff = async (of = options()) => {
      let cut: Promise<unknown> | undefined;
      const onProgress = () => {
        cut ??= waylog.store.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'waylog rebuild' and datname = current_database()`,
        );
      };
      await expect(rebuild({ ...of, batchSize: 50, onProgress })).rejects.toThrow();
      await cut;
      const { rows } = await waylog.store.pool.query<{ events: number }>(
        `select min(events)::integer as events from projection.rebuilds`,
      );
      return rows[0]?.events ?? 0;
    };

    it('leaves the live tables unchanged, and is continued by the next one', async () => {
      const before = await tableHashes(waylog.store.url);
      const events = await cutOff();
      expect(events).toBeGreaterThan(0);
      expect(await tableHashes(waylog.store.url)).toEqual(before);
      const result = await rebuild(options());
      expect(result.resumedFrom).toBe(events);
      expect(result.tables.map(({ identical }) => identical)).toEqual([true, true]);
      expect(await tableHashes(waylog.store.url)).toEqual(before);
      expect(await shadows()).toEqual([]);
    });

    it('starts again if other tables are requested, or other events are left out now', async () => {
      await cutOff();
      expect((await rebuild(options(['waypoints', 'geofences']))).resumedFrom).toBe(0);
      await cutOff();
      await waylog.store.pool.query(
        `insert into projection.discarded_events (projector, stream_id, revision, position, event_id, type, error, reason, discarded_by)
         values ('flight', 'flight-other', 1, '0', gen_random_uuid(), 'X', '', '', '')`,
      );
      expect((await rebuild(options())).resumedFrom).toBe(0);
      await waylog.store.pool.query(`delete from projection.discarded_events`);
    });

    it('can be discarded', async () => {
      await cutOff();
      expect(await shadows()).toEqual(['frame_results', 'waypoints']);
      await discardRebuild(options());
      expect(await shadows()).toEqual([]);
      expect((await rebuild(options())).resumedFrom).toBe(0);
    });

    it('stops at once when told to', async () => {
      const stop = new AbortController();
      const stopped = rebuild({ ...options(), signal: stop.signal, onProgress: () => stop.abort() });
      await expect(stopped).rejects.toThrow();
      await discardRebuild(options());
    });
  });

  // The following tests are about the tables, or about the log in PostgreSQL alone.
  if (log !== 'PostgreSQL') return;

  it('leaves hypertables hypertables, with keys, checks, settings, comments and the names of indexes', async () => {
    const shape = async () => {
      const { rows } = await waylog.store.pool.query(
        `select c.relname, c.reloptions,
                (select count(*)::integer from pg_constraint k where k.conrelid = c.oid) as constraints,
                (select json_agg(i.indexrelid::regclass::text order by 1) from pg_index i where i.indrelid = c.oid) as indexes,
                obj_description(c.oid, 'pg_class') as comment,
                exists (select from timescaledb_information.hypertables h where h.hypertable_name = c.relname and h.hypertable_schema = 'flight') as hyper
           from pg_class c where c.relnamespace = 'flight'::regnamespace and c.relkind = 'r' order by 1`,
      );
      return rows as unknown[];
    };
    const before = await shape();
    for (const { name } of flightProjections) await run(name, 'replace');
    expect(await shape()).toEqual(before);
  });

  it('never shows a reader an empty table, even if it reads several tables in one snapshot', async () => {
    const flights = () => waylog.query(new GetFlight('rebuild-1'));
    const expected = await flights();
    let reading = true;
    let reads = 0;
    const readers = Array.from({ length: 4 }, async () => {
      for (; reading; reads++) expect(await flights()).toEqual(expected);
    });
    for (let round = 0; round < 3; round++) {
      for (const name of ['waypoints', 'geofences', 'flights']) await run(name, 'replace');
    }
    reading = false;
    await Promise.all(readers);
    expect(reads).toBeGreaterThan(20);
  });

  it('waits for a reader of several tables that has begun before', async () => {
    const rows = new LiveRows(waylog.store.pool);
    const of = { where: { flight_id: 'rebuild-1' }, orderBy: ['id'] };
    const waitersFor = async (table: string) =>
      (
        await waylog.store.pool.query(
          `select from pg_locks where not granted and relation = 'flight.${table}'::regclass`,
        )
      ).rowCount;
    // The reader holds the waypoints and waits for the geofences.
    const holder = await waylog.store.pool.connect();
    await holder.query('begin');
    await holder.query('lock table flight.geofences in access exclusive mode');
    const reading = rows.selectTogether([
      { table: waypointsTable, ...of },
      { table: geofencesTable, ...of },
    ]);
    await eventually(() => waitersFor('geofences'));
    const finished = new AbortController();
    const rebuilding = run('waypoints', 'replace').then(() => finished.abort());
    await eventually(async () => finished.signal.aborted || (await waitersFor('waypoints')));
    expect(finished.signal.aborted).toBe(false);
    await holder.query('commit');
    holder.release();
    expect((await reading).map(({ length }) => length)).toEqual([12, 1]);
    await rebuilding;
  });

  it('lets reads continue while a long transaction delays the swap, and swaps afterwards', async () => {
    const report = await waylog.store.pool.connect();
    await report.query('begin');
    await report.query('select count(*) from flight.geofences');
    const rebuilding = run('geofences', 'replace');
    const isWaiting = async () =>
      (
        await waylog.store.pool.query(
          `select from pg_locks where not granted and mode = 'AccessExclusiveLock' and relation = 'flight.geofences'::regclass`,
        )
      ).rowCount;
    await eventually(() => isWaiting());
    for (let read = 0; read < 5; read++)
      expect((await waylog.query(new GetFlight('rebuild-1'))).geofences).toHaveLength(1);
    await report.query('commit');
    report.release();
    expect(await rebuilding).toMatchObject({ identical: true });
  });

  it('finds a row that was changed by hand, and repairs it', async () => {
    await waylog.store.pool.query(
      `update flight.waypoints set lat = lat + 1e-9 where flight_id = 'rebuild-2' and id = 'wp-3'`,
    );
    expect(await run('waypoints', 'compare')).toMatchObject({ identical: false });
    expect(await run('waypoints', 'replace')).toMatchObject({ identical: false });
    expect(await run('waypoints', 'compare')).toMatchObject({ identical: true });
  });

  it('finds a missing row, and one that should not be there', async () => {
    await waylog.store.pool.query(
      `delete from flight.frame_results where flight_id = 'rebuild-3' and frame_id = 5`,
    );
    expect(await run('frame_results', 'compare')).toMatchObject({ identical: false });
    await run('frame_results', 'replace');
    await waylog.store.pool.query(
      `insert into flight.heading_history (flight_id, frame_id, heading, "timestamp") values ('nowhere', 1, 1, now())`,
    );
    expect(await run('heading_history', 'compare')).toMatchObject({ identical: false });
    await run('heading_history', 'replace');
    expect(await run('heading_history', 'compare')).toMatchObject({ identical: true });
  });

  it('reports which rows differed, and how', async () => {
    const { pool } = waylog.store;
    await pool.query(`delete from flight.waypoints where flight_id = 'rebuild-1' and id in ('wp-1', 'wp-2')`);
    await pool.query(
      `update flight.waypoints set lat = lat + 1 where flight_id = 'rebuild-1' and id = 'wp-3'`,
    );
    await pool.query(
      `insert into flight.waypoints select 'stray', id, lat, lon, altitude, confidence, "timestamp", refined
         from flight.waypoints where flight_id = 'rebuild-2' and id = 'wp-4'`,
    );
    expect(await run('waypoints', 'replace')).toMatchObject({
      identical: false,
      broughtBack: 0,
      differences: [
        { key: 'rebuild-1', missing: 2, surplus: 0, changed: 1, examples: ['id wp-1', 'id wp-2', 'id wp-3'] },
        { key: 'stray', missing: 0, surplus: 1, changed: 0, examples: ['id wp-4'] },
      ],
    });
    await pool.query(`update flight.flights set name = 'another' where id = 'rebuild-1'`);
    expect(await run('flights', 'replace')).toMatchObject({
      differences: [{ key: 'rebuild-1', missing: 0, surplus: 0, changed: 1, examples: [] }],
    });
  });

  it('restores what was dropped on purpose, and does not call that a difference', async () => {
    const { pool } = waylog.store;
    const { flightId } = await waylog.execute(new CreateFlight({ flight: aFlight('dropped') }));
    const frames = [1, 2, 3].map((n) => aFrame(n, { timestamp: `2001-02-03T00:00:0${n}.000Z` }));
    const { position } = await waylog.execute(new SaveFrameResults({ flightId, frames }));
    await flightOf(waylog.app).watch.waitFor(position, 60_000);
    const hypertables = new Hypertables(
      pool,
      flightProjections.map(({ table }) => table),
    );
    const { chunks } = await hypertables.dropChunks('frame_results', {
      olderThan: '2002-01-01T00:00:00Z',
      confirm: 'flight.frame_results',
    });
    expect(chunks).toHaveLength(1);
    const rows = await count('frame_results');
    expect(await run('frame_results', 'replace')).toMatchObject({
      identical: true,
      differences: [],
      since: chunks[0]?.rangeEnd,
      broughtBack: 3,
      rows: rows + 3,
    });
    expect(await count('frame_results')).toBe(rows + 3);
    // Real differences are found beside it.
    await hypertables.dropChunks('frame_results', {
      olderThan: '2002-01-01T00:00:00Z',
      confirm: 'flight.frame_results',
    });
    await pool.query(`delete from flight.frame_results where flight_id = 'rebuild-3' and frame_id = 6`);
    expect(await run('frame_results', 'replace')).toMatchObject({
      broughtBack: 3,
      differences: [
        { key: 'rebuild-3', missing: 1, examples: [expect.stringMatching(/^frame_id 6, timestamp /)] },
      ],
    });
  });

  it('keeps policies and compression', async () => {
    const { pool } = waylog.store;
    if (!(await capabilities(pool)).compression.available) return;
    const hypertables = new Hypertables(
      pool,
      flightProjections.map(({ table }) => table),
    );
    const job = `select regexp_replace(proc_name, '^policy_', '') as kind, schedule_interval::text, max_runtime::text, max_retries,
                        retry_period::text, scheduled, config - 'hypertable_id' as config, next_start
                   from timescaledb_information.jobs where hypertable_schema = 'flight' and hypertable_name = 'frame_results' order by 1`;
    const settings = `select segmentby, orderby from timescaledb_information.hypertable_compression_settings
                       where hypertable = 'flight.frame_results'::regclass`;
    await hypertables.change('frame_results', { retentionPeriod: '5000 days', compressAfter: '40 days' });
    await pool.query(
      `select alter_job(job_id, schedule_interval => interval '3 hours', scheduled => false, next_start => '2100-01-01Z')
         from timescaledb_information.jobs where hypertable_name = 'frame_results'`,
    );
    const before = (await pool.query(job)).rows;
    expect(before).toMatchObject([
      { kind: 'compression', schedule_interval: '03:00:00', config: { compress_after: '40 days' } },
      { kind: 'retention', config: { drop_after: '5000 days' } },
    ]);
    const compression = (await pool.query(settings)).rows;
    expect(compression).toHaveLength(1);
    expect(await run('frame_results', 'replace')).toMatchObject({ identical: true });
    expect((await pool.query(job)).rows).toEqual(before);
    expect((await pool.query(settings)).rows).toEqual(compression);
    expect(await hypertables.get('frame_results')).toMatchObject({
      compressionEnabled: true,
      retention: { retentionPeriodDays: 5000 },
    });
    await hypertables.change('frame_results', { retentionPeriod: 'none', compressionEnabled: false });
    expect(await run('frame_results', 'replace')).toMatchObject({ identical: true });
    expect((await pool.query(job)).rows).toEqual([]);
    expect(await hypertables.get('frame_results')).toMatchObject({ compressionEnabled: false });
  });

  it('is refused while another one of the same projection runs', async () => {
    const results = await Promise.allSettled([
      run('frame_results', 'compare'),
      run('frame_results', 'compare'),
    ]);
    const refused = results.filter(({ status }) => status === 'rejected');
    expect(refused).toMatchObject([{ reason: { code: 'projection.verify-running' } }]);
  });

  it('of a table whose fold always fails names an event, and changes nothing', async () => {
    for (let n = 0; n < 101; n++) {
      await waylog.execute(new CreateFlight({ flight: aFlight(`fenced-${n}`) }));
    }
    await settled();
    const before = await tableHashes(waylog.store.url);
    const broken = new Projection('geofences', 2, geofencesTable).on('GeofenceAdded', () => {
      throw new Error('cannot be folded');
    });
    await expect(
      rebuild({
        projector: flight.name,
        projections: [broken],
        store: store(),
        connectionString: waylog.store.url,
      }),
    ).rejects.toMatchObject({
      code: 'projection.unfoldable',
      message: expect.stringMatching(
        /GeofenceAdded.*cannot be folded.*Nor can events of 1\d\d other streams/s,
      ) as string,
    });
    expect(await tableHashes(waylog.store.url)).toEqual(before);
  });
});
