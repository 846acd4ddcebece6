import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import {
  copyDataKeys,
  copyLog,
  DataKeys,
  forgetErasedKeys,
  openEventStore,
  type EventStore,
  type RecordedEvent,
} from '#lib/event-store';
import {
  CreateFlight,
  DeleteFlight,
  EraseFlight,
  flightProjections,
  GetFlight,
  GetFlightEvents,
  GetImageMetadata,
  SaveImageMetadata,
  streamOf,
  UpdateFlight,
  flight as flightContext,
} from '#lib/flight';
import { TABLES_POOL, EVENT_STORE, tablesOf } from '#lib/waylog';
import { pauseProjections, rebuild, resumeProjections, unpark, verify } from '#lib/projections';
import { verifyAudit } from '#lib/audit';
import { NoStatisticsOfErasableColumns1790000020000 } from '../migrations/1790000020000-no-statistics-of-erasable-columns.js';
import { openFlightLog } from './support/flight-log.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';
import { eventually } from './support/eventually.js';

const SECRETS = ['Ada at the fjord', 'call +47 000 00 000', 'serial-4711', '/home/ada/', 'owner-of-camera'];

describe.each(logs)('erasing a flight, with the log in %s', (log) => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  const flight = (id: string) => ({
    id,
    name: 'Ada at the fjord',
    description: 'call +47 000 00 000',
    startGps: { lat: 63.4, lon: 10.4 },
    altitude: 120,
    cameraParams: { serial: 'serial-4711' },
  });
  const image = { frameId: 1, filePath: '/home/ada/1.jpg', metadata: { by: 'owner-of-camera' } };
  const folded = (position: string) => flightOf(waylog.app).watch.waitFor(position, 60_000);

  /** Everything that the log, the snapshots and the tables hold of a flight, as text. */
  async function everything(flightId: string): Promise<string> {
    const raw = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      vocabulary: {},
    });
    const events: RecordedEvent[] = [];
    for await (const page of raw.readStream(streamOf(flightId))) events.push(...page);
    await raw.close();
    const { rows } = await database.pool.query(
      `select (select json_agg(f) from flight.flights f where id = $1) as flights,
              (select json_agg(i) from flight.flight_images i where flight_id = $1) as images,
              (select json_agg(s) from log.snapshots s where stream_id = $2) as snapshots`,
      [flightId, streamOf(flightId)],
    );
    return JSON.stringify([events, rows]);
  }
  /** Undefined for a flight that never had a key, null for one that was erased. */
  const keysOf = async (flightId: string) =>
    (
      await database.pool.query<{ key: Buffer | null }>(
        `select key from log.data_keys where stream_id = $1`,
        [streamOf(flightId)],
      )
    ).rows.map(({ key }) => key);
  const found = (text: string) => SECRETS.filter((secret) => text.includes(secret));

  beforeAll(async () => {
    database = await testDatabase(log);
    waylog = await startWaylog(database);
  });
  afterAll(async () => {
    await waylog.close();
    await database.drop();
  });

  it('applies to fields that are sealed in the log, and shown to callers who can read', async () => {
    const { execute, query } = waylog;
    await execute(new CreateFlight({ flight: flight('open') }));
    const { position } = await execute(new SaveImageMetadata({ flightId: 'open', image }));
    await folded(position);
    expect(await query(new GetFlight('open'))).toMatchObject(flight('open'));
    expect(await query(new GetImageMetadata('open', 1))).toMatchObject(image);
    expect(await query(new GetFlight('open', { asOf: '0' }))).toMatchObject({ name: 'Ada at the fjord' });
    const [first] = await query(new GetFlightEvents('open'));
    expect(first?.data).toMatchObject({ name: 'Ada at the fjord', cameraParams: { serial: 'serial-4711' } });
    expect(first?.data).not.toHaveProperty('sealed');
    // The tables hold it, the log does not.
    const { rows } = await database.pool.query(`select * from flight.flights`);
    expect(found(JSON.stringify(rows))).not.toEqual([]);
    const text = await everything('open');
    expect(found(text.slice(0, text.indexOf('"flights"')))).toEqual([]);
  });

  it('records nothing in the clear if the key is deleted between its creation and its use', async () => {
    class ErasedMeanwhile extends DataKeys {
      override async of(streamIds: Iterable<string>) {
        await Promise.all([...streamIds].map((streamId) => this.forget(streamId)));
        return super.of(streamIds);
      }
    }
    const store = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      keys: new ErasedMeanwhile(database.pool),
      vocabulary: flightContext.vocabulary,
    });
    const event = { id: randomUUID(), type: 'FlightCreated', schemaVersion: 1, data: flight('race') };
    const metadata = {
      commandId: event.id,
      command: 'CreateFlight',
      correlationId: event.id,
      causationId: event.id,
      actor: 'a test',
    };
    const request = {
      streamId: streamOf('race'),
      expectedRevision: 'no-stream' as const,
      events: [{ ...event, metadata }],
    };
    await expect(store.append([request])).rejects.toMatchObject({
      code: 'event.not-sealed',
      kind: 'unavailable',
    });
    await store.close();
    expect(JSON.parse(await everything('race'))[0]).toEqual([]);
  });

  it('removes the fields everywhere: from the events, the tables, the snapshots, and every way to read them', async () => {
    const { execute, query } = waylog;
    await execute(new CreateFlight({ flight: flight('gone') }));
    await execute(new UpdateFlight({ flightId: 'gone', changes: { name: 'Ada at the fjord again' } }));
    await execute(new SaveImageMetadata({ flightId: 'gone', image }));
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await store.saveSnapshot(streamOf('gone'), 2, { revision: 1, state: SECRETS.join() });
    expect(found(JSON.stringify((await database.pool.query(`select * from log.snapshots`)).rows))).toEqual(
      [],
    );
    expect(await store.loadSnapshot(streamOf('gone'), 2)).toMatchObject({ state: SECRETS.join() });

    const { position, revision } = await execute(new EraseFlight({ flightId: 'gone', actor: 'the office' }));
    await folded(position);
    expect(found(await everything('gone'))).toEqual([]);
    expect(await store.loadSnapshot(streamOf('gone'), 2)).toBeUndefined();
    const erased = { name: 'erased', description: '', cameraParams: {} };
    expect(await query(new GetFlight('gone'))).toMatchObject({ ...erased, altitude: 120 });
    expect(await query(new GetFlight('gone', { asOf: '1' }))).toMatchObject(erased);
    await expect(query(new GetImageMetadata('gone', 1))).rejects.toMatchObject({ code: 'image.not-found' });
    const events = await query(new GetFlightEvents('gone'));
    expect(found(JSON.stringify(events))).toEqual([]);
    expect(events.at(-1)).toMatchObject({
      type: 'FlightErased',
      revision,
      metadata: { actor: 'the office', command: 'EraseFlight' },
    });
  });

  it('happens once, can be requested again, and allows no further change', async () => {
    const { execute, query } = waylog;
    const first = await query(new GetFlightEvents('gone'));
    await database.pool.query(
      `update log.data_keys set key = sha256('as if an older version had made it one') where stream_id = $1`,
      [streamOf('gone')],
    );
    // A process that has not been told learns it from the part of the stream that it reads: an erased stream has no
    // key.
    const other = await openFlightLog(database);
    for await (const [event] of other.readStream(streamOf('gone'), { toRevision: 0 }))
      expect(event?.data).toMatchObject({ name: 'erased' });
    await other.close();
    const again = await startWaylog(database);
    await again.execute(new EraseFlight({ flightId: 'gone' }));
    expect(await keysOf('gone')).toEqual([null]);
    await again.close();
    await database.pool.query(
      `update log.data_keys set key = sha256('as if the process had been killed in between') where stream_id = $1`,
      [streamOf('gone')],
    );
    if (log === 'PostgreSQL') {
      const audit = await verifyAudit({
        pool: database.pool,
        keys: new Map(),
        vocabulary: flightContext.vocabulary,
      });
      expect(audit.problems).toMatchObject([{ code: 'key-left', streamId: streamOf('gone') }]);
    }
    await execute(new EraseFlight({ flightId: 'gone' }));
    expect((await query(new GetFlightEvents('gone'))).length).toBe(first.length);
    expect(await keysOf('gone')).toEqual([null]);
    for (const command of [
      new UpdateFlight({ flightId: 'gone', changes: { name: 'again' } }),
      new SaveImageMetadata({ flightId: 'gone', image }),
      new CreateFlight({ flight: flight('gone') }),
    ]) {
      await expect(execute(command)).rejects.toMatchObject({ code: 'flight.erased' });
    }
    await folded((await execute(new DeleteFlight({ flightId: 'gone' }))).position);
    await expect(query(new GetFlight('gone'))).rejects.toMatchObject({ code: 'flight.not-found' });
    await expect(execute(new CreateFlight({ flight: flight('gone') }))).rejects.toMatchObject({
      code: 'flight.erased',
    });
  });

  it('works for a flight that was deleted before, and not for one that never existed', async () => {
    const { execute, query } = waylog;
    await execute(new CreateFlight({ flight: flight('deleted') }));
    await execute(new DeleteFlight({ flightId: 'deleted' }));
    await folded((await execute(new EraseFlight({ flightId: 'deleted' }))).position);
    expect(found(await everything('deleted'))).toEqual([]);
    expect(found(JSON.stringify(await query(new GetFlightEvents('deleted'))))).toEqual([]);
    await expect(execute(new EraseFlight({ flightId: 'never' }))).rejects.toMatchObject({
      code: 'flight.not-found',
    });
  });

  it('does not change other flights', async () => {
    expect(await waylog.query(new GetFlight('open'))).toMatchObject(flight('open'));
  });

  it('reaches another process that has the key in memory, as soon as it checks again', async () => {
    const other = new DataKeys(database.pool, 1);
    await waylog.execute(new CreateFlight({ flight: flight('shared') }));
    expect((await other.of([streamOf('shared')])).size).toBe(1);
    await waylog.execute(new EraseFlight({ flightId: 'shared' }));
    await eventually(async () => (await other.of([streamOf('shared')])).size <= 0);
  });

  it('is permanent: a process that learns of it too late creates no other key', async () => {
    const streamId = streamOf('raced');
    const keys = new DataKeys(database.pool, 1);
    const late = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      keys,
      vocabulary: flightContext.vocabulary,
    });
    await waylog.execute(new CreateFlight({ flight: flight('raced') }));
    const [created] = await waylog.query(new GetFlightEvents('raced'));
    await waylog.execute(new EraseFlight({ flightId: 'raced' }));
    await eventually(async () => (await keys.of([streamId])).size <= 0);
    const renamed = { ...(created as RecordedEvent), id: randomUUID(), type: 'FlightUpdated' };
    const change = { streamId, expectedRevision: 1, events: [renamed] };
    expect(await late.append([change])).toMatchObject([{ accepted: false, currentRevision: 2 }]);
    expect(await keysOf('raced')).toEqual([null]);
    // A command that was recorded before, and is sent again, gets its first answer.
    const repeat = { streamId, expectedRevision: 'no-stream' as const, events: [created as RecordedEvent] };
    expect(await late.append([repeat])).toMatchObject([{ accepted: true, repeated: true }]);
    expect(await keysOf('raced')).toEqual([null]);
    await late.close();
  });

  it('reports what waits if the tables cannot follow: a parked flight, a paused projector', async () => {
    const { execute } = waylog;
    const nameOf = async (id: string) =>
      (await database.pool.query<{ name: string }>(`select name from flight.flights where id = $1`, [id]))
        .rows[0]?.name;
    const projector = { ...tablesOf(flightContext, waylog.app.get<EventStore>(EVENT_STORE)) };
    const pool = waylog.app.get<pg.Pool>(TABLES_POOL);
    const streamId = streamOf('parked');
    await folded((await execute(new CreateFlight({ flight: flight('parked') }))).position);
    await database.pool.query(`alter table flight.flights add constraint c check (name not like 'BOOM%')`);
    // Parked when it is erased: a projector that starts later reads nothing that it could not project.
    await folded(
      (await execute(new UpdateFlight({ flightId: 'parked', changes: { name: 'BOOM' } }))).position,
    );
    const { waits } = await execute(new EraseFlight({ flightId: 'parked' }));
    expect(waits).toContain('waylog parked retry');
    expect(await nameOf('parked')).toBe('Ada at the fjord');
    const { rows } = await database.pool.query(`select error from projection.parked_streams`);
    expect(JSON.stringify(rows)).not.toContain('BOOM');
    // What could not be projected is erased by now, so it can be folded.
    expect(await unpark({ ...projector, pool, streamId })).toMatchObject({ folded: 2 });
    expect(await nameOf('parked')).toBe('erased');
    await database.pool.query(`alter table flight.flights drop constraint c`);
    expect(await execute(new EraseFlight({ flightId: 'parked' }))).not.toHaveProperty('waits');

    await folded((await execute(new CreateFlight({ flight: flight('paused') }))).position);
    await pauseProjections(pool, ['flight'], { reason: 'a test', by: 'a test' });
    const paused = await execute(new EraseFlight({ flightId: 'paused' }));
    expect(paused.waits).toContain('waylog projections resume');
    await resumeProjections(pool, ['flight']);
    await folded(paused.position);
    expect(await nameOf('paused')).toBe('erased');
  });

  it('deletes the key whatever records the erasure, such as an import', async () => {
    const other = await openFlightLog(database);
    const streamId = streamOf('imported');
    const [open] = await waylog.query(new GetFlightEvents('open'));
    const erasure = (await waylog.query(new GetFlightEvents('raced'))).at(-1);
    const created = { ...(open as RecordedEvent), id: randomUUID() };
    const erased = { ...(erasure as RecordedEvent), id: randomUUID() };
    await other.append([{ streamId, expectedRevision: 'no-stream', events: [created] }]);
    expect(await keysOf('imported')).toEqual([expect.any(Buffer)]);
    await other.append([{ streamId, expectedRevision: 0, events: [erased] }]);
    expect(await keysOf('imported')).toEqual([null]);
    await other.close();
  });

  it('leaves tables that equal a fold of the whole log, and every hash valid in its chain', async () => {
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await folded(await store.head());
    const options = { ...tablesOf(flightContext, store), connectionString: database.url };
    expect(await verify({ ...options, by: 'test' })).toMatchObject({ isSound: true });
    await rebuild({ ...options, projections: flightProjections });
    expect(await verify({ ...options, by: 'test' })).toMatchObject({ isSound: true });
    if (log !== 'PostgreSQL') return;
    const audit = { pool: database.pool, keys: new Map(), vocabulary: flightContext.vocabulary };
    expect(await verifyAudit(audit)).toMatchObject({ isSound: true });
  });

  it('leaves nothing in the statistics of PostgreSQL, which show values to roles that can read a table', async () => {
    if (log !== 'PostgreSQL') return;
    const statistics = async () => {
      await database.pool.query('analyze');
      const { rows } = await database.pool.query(
        `select tablename, attname, most_common_vals::text, histogram_bounds::text, most_common_elems::text
           from pg_stats where schemaname not in ('pg_catalog', 'information_schema', 'log')`,
      );
      return JSON.stringify(rows);
    };
    const ids = ['seen-1', 'seen-2', 'seen-3', 'seen-4'];
    for (const id of ids) {
      await waylog.execute(new CreateFlight({ flight: flight(id) }));
      const { position } = await waylog.execute(new SaveImageMetadata({ flightId: id, image }));
      await folded(position);
    }
    const migration = new NoStatisticsOfErasableColumns1790000020000();
    await migration.down(database.pool as never);
    expect(found(await statistics()).sort()).toEqual([...SECRETS].sort());
    await migration.up(database.pool as never);
    expect(await statistics()).toContain('start_lat');
    expect(found(await statistics())).toEqual([]);
    // A rebuild creates the tables again.
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await rebuild({
      ...tablesOf(flightContext, store),
      connectionString: database.url,
      projections: flightProjections,
    });
    expect(found(await statistics())).toEqual([]);
  });

  it('differs from a missing key without an erasure: that is damage, and no table says erased', async () => {
    const { execute, query } = waylog;
    await folded((await execute(new CreateFlight({ flight: flight('lost') }))).position);
    const { rows } = await database.pool.query<{ key: Buffer }>(
      `delete from log.data_keys where stream_id = $1 returning key`,
      [streamOf('lost')],
    );
    const other = await openFlightLog(database);
    const firstOf = async (flightId: string) => {
      for await (const [first] of other.readStream(streamOf(flightId))) return first;
      return undefined;
    };
    const lost = await firstOf('lost');
    expect(() => lost?.data).toThrow(
      /the key of its stream is gone although no event says that it was erased/,
    );
    expect((await firstOf('gone'))?.data['name']).toBe('erased');
    const options = { ...tablesOf(flightContext, other), connectionString: database.url };
    const { parked } = await rebuild(options);
    expect(parked).toMatchObject([{ streamId: streamOf('lost'), revision: 0 }]);
    await expect(query(new GetFlight('lost'))).rejects.toMatchObject({ code: 'flight.not-found' });
    // A restored key opens the fields at once, even if it was just reported missing.
    await database.pool.query(`insert into log.data_keys (stream_id, key) values ($1, $2)`, [
      streamOf('lost'),
      rows[0]?.key,
    ]);
    expect((await firstOf('lost'))?.data['name']).toBe('Ada at the fjord');
    await unpark({ ...options, pool: database.pool, streamId: streamOf('lost') });
    expect(await query(new GetFlight('lost'))).toMatchObject(flight('lost'));
    await other.close();
  });

  it('keeps a process that has a state in memory from saving it in the clear', async () => {
    const { execute } = waylog;
    const other = await openFlightLog(database);
    const snapshots = async () =>
      (await database.pool.query(`select state from log.snapshots where stream_id = $1`, [streamOf('late')]))
        .rows;
    const state = { revision: 0, state: SECRETS.join() };
    await execute(new CreateFlight({ flight: flight('late') }));
    await execute(new EraseFlight({ flightId: 'late' }));
    await other.saveSnapshot(streamOf('late'), 2, state);
    expect(await snapshots()).toEqual([]);
    // A stream without sensitive fields has no key, and is saved as it is.
    await other.saveSnapshot('other-late', 2, state);
    expect(await other.loadSnapshot('other-late', 2)).toEqual(state);
    await other.close();
  });

  it('stays with events that are recorded again elsewhere: no key is created for fields that no key opens', async () => {
    const target = await testDatabase();
    try {
      const [from, to] = await Promise.all([openFlightLog(database), openFlightLog(target)]);
      const events: RecordedEvent[] = [];
      for await (const page of from.readStream(streamOf('gone'))) events.push(...page);
      await to.append([{ streamId: streamOf('gone'), expectedRevision: 'no-stream', events }]);
      for await (const [first] of to.readStream(streamOf('gone'))) expect(first?.data['name']).toBe('erased');
      expect((await target.pool.query(`select key from log.data_keys`)).rows).toEqual([{ key: null }]);
      await Promise.all([from.close(), to.close()]);
    } finally {
      await target.drop();
    }
  });

  it('is copied with the log to another database, and so is a later erasure', async () => {
    if (log !== 'PostgreSQL') return;
    const { execute } = waylog;
    const target = await testDatabase();
    const raw = ({ eventStore, pool, listener }: TestDatabase) =>
      openEventStore({ eventStore, pool, listener, vocabulary: {} });
    const copied = async () => {
      const stores = await Promise.all([raw(database), raw(target)]);
      await copyDataKeys(database.pool, target.pool);
      expect(await copyLog({ from: stores[0], to: stores[1] })).toMatchObject({ identical: true });
      await forgetErasedKeys(target.pool, flightContext.vocabulary);
      for await (const [first] of (await openFlightLog(target)).readStream(streamOf('moved')))
        return first?.data['name'];
      return undefined;
    };
    try {
      await execute(new CreateFlight({ flight: flight('moved') }));
      expect(await copied()).toBe('Ada at the fjord');
      await execute(new EraseFlight({ flightId: 'moved' }));
      expect(await copied()).toBe('erased');
    } finally {
      await target.drop();
    }
  });

  it('uses a key that does not open fields of another event', async () => {
    if (log !== 'PostgreSQL') return;
    await waylog.execute(new CreateFlight({ flight: flight('swapped') }));
    await database.pool.query(
      `update log.events set data = (select (o.data::jsonb || jsonb_build_object('altitude', 1))::json
                                       from log.events o join log.streams using (stream_key)
                                      where stream_id = 'flight-open' and revision = 0)
        where stream_key = (select stream_key from log.streams where stream_id = 'flight-swapped') and revision = 0`,
    );
    const events = await waylog.query(new GetFlightEvents('swapped'));
    expect(() => events[0]?.data).toThrow(/sealed fields that the key of its stream does not open/);
  });
});
