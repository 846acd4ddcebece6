import { setTimeout as sleep } from 'node:timers/promises';
import { GetFrameMinutes, SaveFrameResult, SaveFrameResults, flight } from '#lib/flight';
import { EVENT_STORE, statesOf, projectorsOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { pauseProjections, resumeProjections, type ProjectionStatus } from '#lib/projections';
import { aFlight, aFrame } from './support/samples.js';
import { useWaylog } from './support/waylog.js';

describe('the minute rollup among the tables', () => {
  const waylog = useWaylog();
  const states = () => statesOf(flight, waylog.store.pool, waylog.app.get<EventStore>(EVENT_STORE));
  /** Polls until all tables are in the expected state; `meanwhile` is called each time. */
  const until = async (
    isSo: (state: ProjectionStatus) => boolean,
    meanwhile: () => Promise<unknown> = () => Promise.resolve(),
  ): Promise<ProjectionStatus[]> => {
    for (let attempt = 0; ; attempt++) {
      await meanwhile();
      const all = await states();
      if (all.every(isSo)) return all;
      if (attempt === 600) throw new Error(`It stays so: ${JSON.stringify(all)}`);
      await sleep(50);
    }
  };
  const frames = (from: number) =>
    waylog.execute(
      new SaveFrameResults({ flightId: 'f', frames: Array.from({ length: 50 }, (_, n) => aFrame(from + n)) }),
    );

  it('reports its leader and its speed, and stands still with the tables', async () => {
    await waylog.database.insertFlight(aFlight('f'));
    await frames(0);
    // Speed is of the last seconds, and each of the two writers reports its own: so there is always work for both.
    let altitude = 0;
    const moving = await until(
      ({ eventsPerSecond }) => eventsPerSecond > 0,
      () =>
        waylog.execute(new SaveFrameResult({ flightId: 'f', frame: aFrame(0, { altitude: altitude++ }) })),
    );
    expect(moving.map(({ projection }) => projection)).toContain('frame_minutes');
    for (const { leader } of moving) expect(leader).toContain(String(process.pid));

    await until(({ lagEvents }) => lagEvents === 0);
    await pauseProjections(waylog.store.pool, projectorsOf(flight), {
      reason: 'to look at it',
      by: 'the test',
    });
    const { position } = await frames(50);
    for (const state of await until(({ lagEvents }) => lagEvents > 0))
      expect(state).toMatchObject({ state: 'paused', pauseReason: 'to look at it' });
    const ofMinutes = async (minPosition?: string) =>
      (await waylog.query(new GetFrameMinutes('f', {}, { minPosition }))).reduce((n, m) => n + m.frames, 0);
    expect(await ofMinutes()).toBe(50);

    await resumeProjections(waylog.store.pool, projectorsOf(flight));
    await until(({ state, lagEvents }) => state === 'active' && lagEvents === 0);
    expect(await ofMinutes(position)).toBe(100);
  });
});
