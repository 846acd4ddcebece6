import { logs } from './support/database.js';
import { aFlight, aFrame, at, aWaypoint } from './support/samples.js';
import { useWaylog } from './support/waylog.js';

// The first two integration tests of the reference contract, as written there; the third, which kills a process, is in
// recovery.e2e.spec.ts. Rates are measured by `npm run bench`.
describe.each(logs)('Integration, with the log in %s', (log) => {
  const waylog = useWaylog({}, log);
  const db = () => waylog.database;
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

  test('Test 1: Complete Flight Lifecycle', async () => {
    const id = 'lifecycle';
    await db().insertFlight(aFlight(id, 500));
    await db().saveFlightState({
      flightId: id,
      status: 'processing',
      framesProcessed: 0,
      framesTotal: 500,
      blocked: false,
    });
    await Promise.all(
      upTo(100).map((n) =>
        db().updateWaypoint(id, `w${n}`, aWaypoint(n, { refined: true, confidence: 0.9 })),
      ),
    );
    await Promise.all(upTo(500).map((n) => db().saveFrameResult(id, aFrame(n))));
    await Promise.all(upTo(500).map((n) => db().saveHeading(id, n, (n * 7.5) % 360, at(n))));

    const flight = await db().getFlightById(id);
    expect(flight).toMatchObject({ ...aFlight(id), waypoints: expect.anything() as object });
    expect(flight?.waypoints).toEqual(
      upTo(500).map((n) => (n < 100 ? aWaypoint(n, { refined: true, confidence: 0.9 }) : aWaypoint(n))),
    );
    expect(await db().getFrameResults(id)).toEqual(
      upTo(500).map((n) => ({ ...aFrame(n), updatedAt: expect.any(String) as string })),
    );
    expect(await db().getHeadingHistory(id)).toEqual(
      upTo(500).map((n) => ({ frameId: n, heading: (n * 7.5) % 360, timestamp: at(n) })),
    );
    expect(await db().loadFlightState(id)).toMatchObject({ status: 'processing', framesTotal: 500 });

    expect(await db().deleteFlight(id)).toBe(true);
    expect(await db().getFlightById(id)).toBeNull();
    for (const table of [
      'flights where id',
      ...['waypoints', 'geofences', 'flight_state', 'frame_results', 'heading_history'].map(
        (t) => `${t} where flight_id`,
      ),
    ]) {
      expect((await waylog.store.pool.query(`select from flight.${table} = $1`, [id])).rowCount).toBe(0);
    }
  });

  test('Test 2: High-Frequency Update Pattern', async () => {
    const id = 'high-frequency';
    await db().insertFlight(aFlight(id, 2_000));
    const answers = await Promise.all(
      upTo(2_000).flatMap((n) => [
        db().updateWaypoint(id, `w${n}`, aWaypoint(n, { confidence: 1 })),
        db().saveFrameResult(id, aFrame(n)),
        db().saveHeading(id, n, n % 360, at(n)),
      ]),
    );
    expect(answers.every((answer) => answer)).toBe(true);
    expect(await db().getWaypoints(id)).toEqual(upTo(2_000).map((n) => aWaypoint(n, { confidence: 1 })));
    expect((await db().getFrameResults(id)).map(({ frameId }) => frameId)).toEqual(upTo(2_000));
    expect((await db().getHeadingHistory(id)).map(({ heading }) => heading)).toEqual(
      upTo(2_000).map((n) => n % 360),
    );
  });
});
