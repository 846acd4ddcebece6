import {
  SaveFrameResult,
  SaveFrameResults,
  SaveHeading,
  CreateFlight,
  DeleteFlight,
  GetFrameResults,
  GetHeadingHistory,
} from '#lib/flight';
import { aFlight, aFrame, at } from './support/samples.js';
import { flightOf, useWaylog } from './support/waylog.js';

describe('the hypertables', () => {
  const waylog = useWaylog();
  const sql = async <T extends object>(text: string, values: unknown[] = []) =>
    (await waylog.store.pool.query<T>(text, values)).rows;
  const settled = (position: string) => flightOf(waylog.app).watch.waitFor(position, 60_000);
  let flights = 0;
  const given = async () => {
    const { flightId } = await waylog.execute(new CreateFlight({ flight: aFlight(`hyper-${++flights}`) }));
    return flightId;
  };
  const frameRows = (flightId: string) =>
    sql<{ frame_id: number; timestamp: Date; altitude: number }>(
      `select frame_id, "timestamp", altitude from flight.frame_results where flight_id = $1 order by frame_id, "timestamp"`,
      [flightId],
    );

  it('are frame_results and heading_history, as TimescaleDB itself says', async () => {
    const found = await sql(
      `select hypertable_schema as schema, hypertable_name as name, column_name as "timeColumn", time_interval::text as chunk
         from timescaledb_information.hypertables join timescaledb_information.dimensions using (hypertable_schema, hypertable_name)
        order by 2`,
    );
    expect(found).toEqual([
      { schema: 'flight', name: 'frame_results', timeColumn: 'timestamp', chunk: '7 days' },
      { schema: 'flight', name: 'heading_history', timeColumn: 'timestamp', chunk: '7 days' },
    ]);
  });

  it('keep one row per frame when its timestamp changes from one batch to the next, also to another chunk', async () => {
    const flightId = await given();
    // 1,000 weeks apart and back: other chunks of the hypertable each time.
    for (const [n, timestamp] of [
      '2026-05-01T00:00:00.000Z',
      '2007-03-02T00:00:00.000Z',
      '2026-05-01T00:00:00.000Z',
      at(3),
    ].entries()) {
      const { position } = await waylog.execute(
        new SaveFrameResult({ flightId, frame: aFrame(7, { timestamp, altitude: n }) }),
      );
      await settled(position);
      expect(await frameRows(flightId)).toEqual([
        { frame_id: 7, timestamp: new Date(timestamp), altitude: n },
      ]);
    }
  });

  it('keep one row per frame when its timestamp changes within one batch', async () => {
    const flightId = await given();
    const { position: before } = await waylog.execute(new SaveFrameResult({ flightId, frame: aFrame(1) }));
    await settled(before);
    const projector = flightOf(waylog.app).projector;
    await projector.stop();
    const times = [at(5), at(6), at(1), at(7), at(6)];
    let position = before;
    for (const timestamp of times) {
      ({ position } = await waylog.execute(
        new SaveFrameResult({ flightId, frame: aFrame(1, { timestamp }) }),
      ));
      await waylog.execute(new SaveHeading({ flightId, heading: { frameId: 1, heading: 5, timestamp } }));
    }
    projector.start();
    await settled(position);
    expect(await frameRows(flightId)).toMatchObject([{ frame_id: 1, timestamp: new Date(at(6)) }]);
    expect(
      await sql(`select "timestamp" from flight.heading_history where flight_id = $1`, [flightId]),
    ).toHaveLength(1);
  });

  it('keep one row per frame when one command has a frame twice', async () => {
    const flightId = await given();
    const frames = [aFrame(1), aFrame(2), aFrame(1, { timestamp: at(9) })];
    const { position } = await waylog.execute(new SaveFrameResults({ flightId, frames }));
    await settled(position);
    expect(
      (await frameRows(flightId)).map(({ frame_id, timestamp }) => [frame_id, timestamp.toISOString()]),
    ).toEqual([
      [1, at(9)],
      [2, at(2)],
    ]);
  });

  it('lose the rows of a deleted flight, and get those of a new one with its id, in one batch', async () => {
    const flightId = await given();
    await waylog.execute(new SaveFrameResults({ flightId, frames: [aFrame(1), aFrame(2)] }));
    const projector = flightOf(waylog.app).projector;
    await projector.stop();
    await waylog.execute(new SaveFrameResult({ flightId, frame: aFrame(3) }));
    await waylog.execute(new DeleteFlight({ flightId }));
    await waylog.execute(new CreateFlight({ flight: aFlight(flightId) }));
    const { position } = await waylog.execute(
      new SaveFrameResult({ flightId, frame: aFrame(2, { altitude: 1 }) }),
    );
    projector.start();
    const frames = await waylog.query(new GetFrameResults(flightId, {}, { minPosition: position }));
    expect(frames.map(({ frameId, altitude }) => [frameId, altitude])).toEqual([[2, 1]]);
  });

  it('return every number and time as it was sent', async () => {
    const flightId = await given();
    const frame = aFrame(0, {
      gpsCenter: { lat: 63.41234567890123, lon: -0.000000000000001 },
      altitude: 1.7976931348623157e308,
      heading: 359.99999999999994,
      confidence: 0.30000000000000004,
      timestamp: '2026-05-01T12:00:00.123456Z',
      updatedAt: '2026-05-01T12:00:01.000001Z',
    });
    const { position } = await waylog.execute(new SaveFrameResult({ flightId, frame }));
    expect(await waylog.query(new GetFrameResults(flightId, {}, { minPosition: position }))).toEqual([frame]);
  });

  it('are read completely when a flight continues into another day, and as of before', async () => {
    const flightId = await given();
    const frames = async (asOf?: string) =>
      (await waylog.query(new GetFrameResults(flightId, {}, { asOf }))).map(({ frameId }) => frameId);
    const saved: number[] = [];
    for (const [n, timestamp] of [
      '2026-05-01T23:59:59.999999Z',
      '2026-05-02T00:00:00.000Z',
      '2026-04-30T12:00:00.000Z',
      '2026-06-15T00:00:00.000Z',
      '2007-01-01T00:00:00.000Z',
    ].entries()) {
      const { position, revision } = await waylog.execute(
        new SaveFrameResult({ flightId, frame: aFrame(n, { timestamp }) }),
      );
      await settled(position);
      saved.push(n);
      expect(await frames()).toEqual(saved);
      expect(await frames(String(revision - 1))).toEqual(saved.slice(0, -1));
    }
    await waylog.execute(new DeleteFlight({ flightId })).then(({ position }) => settled(position));
    await expect(frames()).rejects.toMatchObject({ code: 'flight.not-found' });
  });

  it('are not read for days on which the flight was not recorded', async () => {
    const [here, elsewhere] = [await given(), await given()];
    const save = async (flightId: string, timestamp: string) => {
      const heading = { frameId: 1, heading: 5, timestamp };
      await waylog.execute(new SaveHeading({ flightId, heading }));
      const frame = aFrame(1, { timestamp });
      await settled((await waylog.execute(new SaveFrameResult({ flightId, frame }))).position);
    };
    await save(here, '2026-05-01T00:00:00.000Z');
    await save(elsewhere, '2013-05-01T00:00:00.000Z');
    const chunks = await sql<{ name: string }>(
      `select format('%I.%I', chunk_schema, chunk_name) as name from timescaledb_information.chunks
        where range_start <= '2013-05-01Z' and range_end > '2013-05-01Z'`,
    );
    expect(chunks).toHaveLength(2);
    // A read of those chunks would wait for them.
    const holder = await waylog.store.pool.connect();
    await holder.query('begin');
    for (const { name } of chunks) await holder.query(`lock table ${name} in access exclusive mode`);
    for (let read = 0; read < 8; read++) {
      expect(await waylog.query(new GetFrameResults(here))).toHaveLength(1);
      expect(await waylog.query(new GetHeadingHistory(here))).toHaveLength(1);
    }
    await holder.query('rollback');
    holder.release();
  });
});
