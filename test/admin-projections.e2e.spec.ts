import { flightProjections } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { appendRaw, poisonousFrames } from './support/poison.js';
import { aFlight, aFrame } from './support/samples.js';
import { useServer } from './support/server.js';
import { flightOf } from './support/waylog.js';

describe('the operator API over projections', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0' });
  const store = () => server.app.get<EventStore>(EVENT_STORE);
  const settled = async () => flightOf(server.app).watch.waitFor(await store().head(), 60_000);
  const get = async (path: string) => (await server.call('GET', `/v1/admin/${path}`)).body;
  const post = (path: string, body?: unknown) => server.call('POST', `/v1/admin/${path}`, body);
  /** Polls a job as a client would, until it has ended. */
  const ended = async (jobId: unknown) => {
    for (;;) {
      const job = await get(`jobs/${String(jobId)}`);
      if (job.state !== 'running') return job;
      await new Promise(setImmediate);
    }
  };
  const create = (id: string) => server.call('POST', '/v1/flights', aFlight(id, 2));

  beforeAll(async () => {
    await create('one');
    await server.call('PUT', '/v1/flights/one/frames/1', aFrame(1));
    await settled();
  });

  it('lists every table with its state and lag', async () => {
    const projections = await get('projections');
    // The minutes have a follower where the edition has no continuous aggregates.
    const tables = projections.map((each: { projection: string }) => each.projection);
    expect(tables.filter((name: string) => name !== 'frame_minutes')).toEqual(
      flightProjections.map(({ name }) => name),
    );
    expect(projections[0]).toMatchObject({
      projection: 'flights',
      projector: 'flight',
      position: await store().head(),
      lagEvents: 0,
      parkedStreams: 0,
    });
  });

  it('pauses and resumes; a read that needs more than the tables hold is answered so', async () => {
    expect((await post('projectors/flight/pause', { reason: 'a look' })).body[0]).toMatchObject({
      state: 'paused',
      pauseReason: 'a look',
    });
    const { body } = await create('two');
    const read = () =>
      server.call('GET', '/v1/flights/two', undefined, { 'waylog-min-position': body.position });
    expect(await read()).toMatchObject({ status: 503, body: { code: 'projection.behind' } });
    expect((await get('projections'))[0].lagEvents).toBeGreaterThan(0);
    expect((await post('projectors/flight/resume')).status).toBe(200);
    await settled();
    expect((await read()).status).toBe(200);
  });

  it('refuses unknown names, and lists the known ones', async () => {
    expect(await post('projectors/other/resume')).toMatchObject({
      status: 404,
      body: { code: 'projector.not-found' },
    });
    expect(await post('projections/other/rebuild')).toMatchObject({
      status: 404,
      body: { code: 'projection.not-found' },
    });
    expect(await post('projectors/flight/pause', {})).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'reason' }] },
    });
    expect(await post('parked/flight-one/retry')).toMatchObject({
      status: 404,
      body: { code: 'projection.not-parked' },
    });
    expect(await server.call('GET', '/v1/admin/jobs/nobody')).toMatchObject({
      status: 404,
      body: { code: 'job.not-found' },
    });
  });

  it('rebuilds in the background', async () => {
    const { status, body } = await post('projections/frame_results/rebuild');
    expect(status).toBe(202);
    expect(await ended(body.jobId)).toMatchObject({
      kind: 'rebuild frame_results',
      state: 'done',
      result: { tables: [{ projection: 'frame_results', identical: true }] },
    });
    expect((await server.call('DELETE', '/v1/admin/projections/frame_results/rebuild')).status).toBe(204);
  });

  it('finds a row that was changed by hand, and repairs it', async () => {
    await server.store.pool.query(`update flight.flights set name = 'forged' where id = 'one'`);
    const seen = await ended((await post('verifications', {})).body.jobId);
    expect(seen).toMatchObject({ state: 'done', result: { isSound: false } });
    expect(await get('integrity?open=true')).toMatchObject([
      { projection: 'flights', key: 'one', foundBy: 'http' },
    ]);
    await ended((await post('verifications', { repair: true })).body.jobId);
    expect(await get('integrity?open=true')).toEqual([]);
    expect((await server.call('GET', '/v1/flights/one')).body.name).toBe('Flight one');
  });

  it('shows a parked flight, tells its readers, and continues without the event once it is discarded', async () => {
    await create('bad');
    await appendRaw(store(), 'flight-bad', 'FrameResultSaved', poisonousFrames.refusedByTable);
    await settled();
    // The command is accepted: what it decides does not depend on the tables.
    const { body } = await server.call('PUT', '/v1/flights/bad/frames/2', aFrame(2));
    await settled();
    expect(await get('parked')).toMatchObject([{ streamId: 'flight-bad', waiting: 2 }]);
    const read = () =>
      server.call('GET', '/v1/flights/bad/frames', undefined, { 'waylog-min-position': body.position });
    expect(await read()).toMatchObject({ status: 503, body: { code: 'projection.parked' } });
    expect((await post('parked/flight-bad/retry')).body).toMatchObject({
      folded: 0,
      stillParked: { type: 'FrameResultSaved' },
    });
    expect(await post('parked/flight-bad/accept', { reason: 'gone' })).toMatchObject({
      status: 409,
      body: { code: 'projection.nothing-lost' },
    });
    expect((await post('parked/flight-bad/discard', { reason: 'no such confidence' })).body).toEqual({
      streamId: 'flight-bad',
      folded: 1,
    });
    expect((await read()).body).toHaveLength(1);
    expect(await get('discarded')).toMatchObject([{ streamId: 'flight-bad', reason: 'no such confidence' }]);
    expect(await get('parked')).toEqual([]);
  });

  it('reports that no scheduled verification has run if there is none', async () => {
    expect(await server.call('GET', '/v1/admin/verifications/scheduled')).toMatchObject({
      status: 404,
      body: { code: 'verification.never-ran' },
    });
  });
});
