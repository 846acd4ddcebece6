import {
  CreateFlight,
  DeleteFlight,
  flightProjections,
  SaveFrameResults,
  SaveHeading,
  streamOf,
  flight,
} from '#lib/flight';
import { EVENT_STORE, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { rebuild, unpark, verify } from '#lib/projections';
import { capabilities } from '#lib/timescale';
import { aFlight, aFrame } from './support/samples.js';
import { appendRaw } from './support/poison.js';
import { flightOf, useWaylog } from './support/waylog.js';

/** A Thursday, on which chunks of a week begin. */
const EPOCH = Date.UTC(2020, 0, 2);
const WEEK = 7 * 86_400;

/** The most frames that one compressed batch of TimescaleDB holds. */
const BATCH = 1_000;

describe('compressed chunks', () => {
  const waylog = useWaylog();
  const sql = async <T extends object>(text: string, values: unknown[] = []) =>
    (await waylog.store.pool.query<T>(text, values)).rows;
  const settled = (position: string) => flightOf(waylog.app).watch.waitFor(position, 60_000);
  let canCompress: boolean;
  let flights = 0;
  // Each test has its own chunks.
  let week = 0;
  beforeEach(async () => {
    week++;
    await sql(
      `select drop_chunks(t.name::regclass, newer_than => '1970-01-01'::timestamptz)
         from (values ('flight.frame_results'), ('flight.heading_history')) t (name)`,
    );
  });
  const second = (n: number): string => new Date(EPOCH + (week * WEEK + n) * 1_000).toISOString();
  beforeAll(async () => {
    canCompress = (await capabilities(waylog.store.pool)).compression.available;
    if (!canCompress) return;
    for (const table of ['frame_results', 'heading_history'])
      await sql(`alter table flight.${table} set (timescaledb.compress,
        timescaledb.compress_segmentby = 'flight_id', timescaledb.compress_orderby = '"timestamp", frame_id')`);
  });

  const create = async () => {
    const { flightId } = await waylog.execute(new CreateFlight({ flight: aFlight(`packed-${++flights}`) }));
    return flightId;
  };
  /** Rows of a flight, a second apart, as if they had been folded: the log has no events for them. */
  const putRows = async (flightId: string, rows: number, from = 0) => {
    await sql(
      `insert into flight.frame_results
       select $1, n, 1, 2, 3, 4, 0.5, false, $2::timestamptz + n * interval '1 second', $2::timestamptz
         from generate_series($3::integer, $4::integer - 1) n`,
      [flightId, second(0), from, from + rows],
    );
    await sql(
      `insert into flight.heading_history (flight_id, frame_id, heading, "timestamp")
       select flight_id, frame_id, heading, "timestamp" from flight.frame_results
        where flight_id = $1 and frame_id between $2 and $3`,
      [flightId, from, from + rows - 1],
    );
  };
  const compress = () =>
    sql(
      `select compress_chunk(c, if_not_compressed => true)
         from (values ('flight.frame_results'), ('flight.heading_history')) t (name), show_chunks(t.name::regclass) c`,
    );
  /** How many batches of a flight are still compressed. */
  const batches = async (flightId: string, table = 'frame_results') => {
    const packed = await sql<{ name: string }>(
      `select s.compress_relid::regclass::text as name from _timescaledb_catalog.compression_settings s
        where s.relid in (select show_chunks($1::text::regclass)) and s.compress_relid is not null`,
      [`flight.${table}`],
    );
    let found = 0;
    for (const { name } of packed)
      found += (await sql(`select from ${name} where flight_id = $1`, [flightId])).length;
    return found;
  };
  const frames = async (flightId: string) =>
    Number(
      (
        await sql<{ n: string }>(`select count(*) as n from flight.frame_results where flight_id = $1`, [
          flightId,
        ])
      )[0]?.n,
    );

  it('of other flights stay compressed when a flight is deleted, however many frames they hold', async () => {
    if (!canCompress) return;
    const [bystander, doomed] = [await create(), await create()];
    await putRows(bystander, 120 * BATCH);
    await putRows(doomed, 3);
    await compress();
    const before = await batches(bystander);
    expect(before).toBeGreaterThanOrEqual(120);
    const { position } = await waylog.execute(new DeleteFlight({ flightId: doomed }));
    await settled(position);
    expect(await frames(doomed)).toBe(0);
    expect(await batches(bystander)).toBe(before);
    expect(await batches(bystander, 'heading_history')).toBe(before);
    expect(await frames(bystander)).toBe(120 * BATCH);
  });

  it('are deleted with a flight of more frames than a transaction can decompress', async () => {
    if (!canCompress) return;
    const doomed = await create();
    await putRows(doomed, 120 * BATCH);
    await compress();
    const { position } = await waylog.execute(new DeleteFlight({ flightId: doomed }));
    await settled(position);
    expect(await frames(doomed)).toBe(0);
    expect(await batches(doomed)).toBe(0);
  });

  it('are decompressed only where a frame is removed, when one batch moves frames that are far apart', async () => {
    if (!canCompress) return;
    const [flightId, bystander] = [await create(), await create()];
    const first = aFrame(0, { timestamp: second(0) });
    const last = aFrame(20 * BATCH, { timestamp: second(20 * BATCH) });
    const { position: saved } = await waylog.execute(
      new SaveFrameResults({ flightId, frames: [first, last] }),
    );
    await waylog.execute(
      new SaveHeading({ flightId, heading: { frameId: 0, heading: 5, timestamp: second(0) } }),
    );
    const { position: headed } = await waylog.execute(
      new SaveHeading({ flightId, heading: { frameId: 20 * BATCH, heading: 5, timestamp: last.timestamp } }),
    );
    await settled(saved);
    await settled(headed);
    await putRows(flightId, 20 * BATCH - 1, 1);
    await putRows(bystander, 20 * BATCH);
    await compress();
    const [before, bystanders] = [await batches(flightId), await batches(bystander)];
    expect(before).toBeGreaterThanOrEqual(20);
    // The two move into a new week, in one batch of the projector.
    const projector = flightOf(waylog.app).projector;
    await projector.stop();
    const later = second(100 * WEEK);
    await waylog.execute(
      new SaveFrameResults({
        flightId,
        frames: [
          { ...first, timestamp: later },
          { ...last, timestamp: later },
        ],
      }),
    );
    await waylog.execute(
      new SaveHeading({ flightId, heading: { frameId: 0, heading: 5, timestamp: later } }),
    );
    const { position } = await waylog.execute(
      new SaveHeading({ flightId, heading: { frameId: 20 * BATCH, heading: 5, timestamp: later } }),
    );
    projector.start();
    await settled(position);
    for (const table of ['frame_results', 'heading_history']) {
      expect(await batches(flightId, table)).toBe(before - 2);
      expect(await batches(bystander, table)).toBe(bystanders);
    }
    expect(await frames(flightId)).toBe(20 * BATCH + 1);
  });

  it('accept refinements of more batches than a transaction can decompress', async () => {
    if (!canCompress) return;
    const flightId = await create();
    await putRows(flightId, 120 * BATCH);
    await compress();
    const refined = Array.from({ length: 120 }, (_, n) =>
      aFrame(n * BATCH + 500, { timestamp: second(n * BATCH + 500), refined: true }),
    );
    const { position } = await waylog.execute(new SaveFrameResults({ flightId, frames: refined }));
    await settled(position);
    expect(
      await sql(`select from flight.frame_results where flight_id = $1 and refined`, [flightId]),
    ).toHaveLength(120);
    expect(await frames(flightId)).toBe(120 * BATCH);
  });

  it('accept the events of a parked flight when it is resumed', async () => {
    if (!canCompress) return;
    const flightId = await create();
    await putRows(flightId, 120 * BATCH);
    await compress();
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await appendRaw(store, streamOf(flightId), 'FrameResultSaved', { frameId: 1 });
    const refined = Array.from({ length: 120 }, (_, n) =>
      aFrame(n * BATCH + 500, { timestamp: second(n * BATCH + 500), refined: true }),
    );
    await waylog.execute(new SaveFrameResults({ flightId, frames: refined }));
    await flightOf(waylog.app).watch.waitFor(await store.head(), 60_000);
    const result = await unpark({
      ...tablesOf(flight, store),
      pool: waylog.store.pool,
      streamId: streamOf(flightId),
      discard: { reason: 'no frame', by: 'test' },
    });
    expect(result).toMatchObject({ folded: 120 });
    expect(
      await sql(`select from flight.frame_results where flight_id = $1 and refined`, [flightId]),
    ).toHaveLength(120);
  });

  it('stay compressed in a repair, except those that hold a wrong row', async () => {
    if (!canCompress) return;
    const flightId = await create();
    const count = 4 * BATCH;
    const { position } = await waylog.execute(
      new SaveFrameResults({
        flightId,
        frames: Array.from({ length: count }, (_, n) => aFrame(n, { timestamp: second(n) })),
      }),
    );
    await settled(position);
    await sql(`update flight.frame_results set altitude = 7 where flight_id = $1 and frame_id = 10`, [
      flightId,
    ]);
    await sql(`delete from flight.frame_results where flight_id = $1 and frame_id = 11`, [flightId]);
    // The log has no events for it, and it has more rows than a transaction can decompress.
    const stranger = await create();
    await putRows(stranger, 120 * BATCH);
    await compress();
    const before = await batches(flightId);
    const options = {
      ...tablesOf(flight, waylog.app.get<EventStore>(EVENT_STORE)),
      projections: flightProjections.filter(({ name }) => name === 'frame_results'),
      connectionString: waylog.store.url,
      by: 'test',
    };
    const { tables } = await verify({ ...options, repair: true });
    expect(tables[0]?.differences.find(({ key }) => key === flightId)).toMatchObject({
      rowsFound: count - 1,
      rowsExpected: count,
      repaired: { rowsRemoved: 1, rowsWritten: 2 },
    });
    expect(await batches(flightId)).toBe(before - 1);
    expect(await frames(stranger)).toBe(0);
    expect((await verify(options)).isSound).toBe(true);
  });

  it('stay a setting of a table that is rebuilt beside a hypertable of another application', async () => {
    await sql(`create schema other; create table other.things (at timestamptz not null);
      select create_hypertable('other.things', by_range('at'))`);
    try {
      const settings = () =>
        sql(
          `select s.segmentby, s.orderby, s.orderby_desc, s.orderby_nullsfirst from _timescaledb_catalog.compression_settings s
            where s.relid = 'flight.frame_results'::regclass`,
        );
      const before = await settings();
      expect(before).toHaveLength(canCompress ? 1 : 0);
      const store = waylog.app.get<EventStore>(EVENT_STORE);
      await rebuild({
        ...tablesOf(flight, store),
        projections: flightProjections.filter(({ name }) => name === 'frame_results'),
        connectionString: waylog.store.url,
      });
      expect(await settings()).toEqual(before);
    } finally {
      await sql(`drop schema other cascade`);
    }
  });
});
