import { Injectable } from '@nestjs/common';
import { EventsHandler, ofType, Saga, type ICommand, type IEventHandler } from '@nestjs/cqrs';
import { map, type Observable } from 'rxjs';
import type { EventStore, RecordedEvent } from '#lib/event-store';
import { flight } from '#lib/flight';
import { context, EVENT_STORE, RunningContexts, RunningReactors, type WaylogOptions } from '#lib/waylog';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { OrderPaid, OrderPlaced, Pack, Pay, payment, Place, shop } from './support/shop-context.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

describe.each(logs)('reactors and deadlines, with the log in %s', (log) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase(log);
    await migrate(database.url, { contexts: [shop] });
  });
  afterAll(() => database.drop());

  const processes: RunningWaylog[] = [];
  const start = async (options: Partial<WaylogOptions> = {}) => {
    const one = await startWaylog(database, { contexts: [flight, shop], ...options });
    processes.push(one);
    return one;
  };
  afterEach(async () => {
    for (const one of processes.splice(0)) await one.close();
  });

  const eventsOf = async ({ app }: RunningWaylog, streamId: string): Promise<RecordedEvent[]> => {
    const all: RecordedEvent[] = [];
    for await (const page of app.get<EventStore>(EVENT_STORE).readStream(streamId)) all.push(...page);
    return all;
  };
  const typesOf = async (one: RunningWaylog, streamId: string) =>
    (await eventsOf(one, streamId)).map(({ type }) => type);
  const allSettled = ({ app }: RunningWaylog) => app.get(RunningContexts).settled(60_000);
  const statesIn = async ({ app }: RunningWaylog) =>
    new Map((await app.get(RunningReactors).states()).map((state) => [state.name, state]));
  const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
  const soon = () => inMs(700);
  const never = () => inMs(3_600_000);
  const ready = (one: RunningWaylog) =>
    eventually(async () => (await statesIn(one)).get('pack-paid')?.state === 'active');

  it('send a command once for an event, caused by it, over restarts', async () => {
    const one = await start();
    await ready(one);
    await one.execute(new Place({ orderId: 'a', payBy: never() }));
    await one.execute(new Pay({ orderId: 'a', correlationId: 'sale-1' }));
    await eventually(async () => (await typesOf(one, 'parcel-a')).length > 0);
    const [paid] = (await eventsOf(one, 'order-a')).slice(1);
    const [packed] = await eventsOf(one, 'parcel-a');
    expect(packed?.metadata).toMatchObject({
      command: 'Pack',
      actor: 'reactor:pack-paid',
      causationId: paid?.id,
      correlationId: 'sale-1',
    });
    // As after a kill that came before its place was recorded.
    const { position } = paid as RecordedEvent;
    await one.close();
    processes.splice(0);
    const [before] = (
      await database.pool.query(`select position from projection.reactors where name = 'pack-paid'`)
    ).rows;
    await database.pool.query(`update projection.reactors set position = $1 where name = 'pack-paid'`, [
      packed && log === 'PostgreSQL' ? String(Number(position) - 1) : '0:0',
    ]);
    const again = await start();
    await eventually(async () => (await statesIn(again)).get('pack-paid')?.position === before.position);
    expect(await typesOf(again, 'parcel-a')).toEqual(['Packed']);
  });

  it('act on what is recorded before any process has run them, once it is known that there are any', async () => {
    await database.pool.query(`delete from projection.reactors where name = 'pack-paid'`);
    const idle = await start({ projector: false });
    await idle.execute(new Place({ orderId: 'first', payBy: never() }));
    await idle.execute(new Pay({ orderId: 'first' }));
    expect((await statesIn(idle)).get('pack-paid')).toMatchObject({ state: 'stopped', lagEvents: 2 });
    const one = await start();
    await eventually(async () => (await typesOf(one, 'parcel-first')).length === 1);
  });

  it('run in one of several processes, and in none that is told not to', async () => {
    const first = await start();
    const second = await start();
    const idle = await start({ projector: false });
    await ready(first);
    for (let n = 0; n < 20; n++) {
      await idle.execute(new Place({ orderId: `p${n}`, payBy: never() }));
      await second.execute(new Pay({ orderId: `p${n}` }));
    }
    await eventually(async () => (await statesIn(first)).get('pack-paid')?.lagEvents === 0);
    for (let n = 0; n < 20; n++)
      await eventually(async () => (await typesOf(first, `parcel-p${n}`)).length === 1);
  });

  it('send the command of a deadline at its time, and not before', async () => {
    const one = await start();
    const payBy = soon();
    await one.execute(new Place({ orderId: 'late', payBy }));
    await eventually(async () => (await typesOf(one, 'order-late')).includes('Expired'));
    const [, expired] = await eventsOf(one, 'order-late');
    expect(Date.parse(expired?.recordedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(payBy));
    expect(expired?.metadata).toMatchObject({ command: 'Expire', actor: 'deadline:payment' });
    await eventually(async () => (await statesIn(one)).get('payment')?.lagEvents === 0);
    await allSettled(one);
    expect((await database.pool.query(`select from shop.due_payment where id = 'late'`)).rowCount).toBe(0);
  });

  it('send nothing earlier or later where the clock of a server jumps', async () => {
    const one = await start();
    const payBy = soon();
    const real = Date.now;
    const ahead = jest.spyOn(Date, 'now').mockImplementation(() => real() + 3_600_000);
    try {
      await one.execute(new Place({ orderId: 'clock', payBy }));
      await eventually(async () => (await typesOf(one, 'order-clock')).includes('Expired'));
      ahead.mockImplementation(() => real() - 3_600_000);
      const next = new Date(real() + 700).toISOString();
      await one.execute(new Place({ orderId: 'clock-2', payBy: next }));
      await eventually(async () => (await typesOf(one, 'order-clock-2')).includes('Expired'));
      // By the clock of the database.
      const sent = () =>
        database.pool.query<{ early: boolean }>(
          `select last_attempt_at < due_at as early from projection.sent_deadlines where id like 'clock%'`,
        );
      await eventually(async () => (await sent()).rowCount === 2);
      expect((await sent()).rows).toEqual([{ early: false }, { early: false }]);
    } finally {
      ahead.mockRestore();
    }
  });

  it('send none for what has happened in time, or was moved', async () => {
    const one = await start();
    await one.execute(new Place({ orderId: 'in-time', payBy: soon() }));
    await one.execute(new Pay({ orderId: 'in-time' }));
    await one.execute(new Place({ orderId: 'moved', payBy: soon() }));
    await one.execute(new Place({ orderId: 'moved', payBy: never() }));
    // What comes after these times.
    await one.execute(new Place({ orderId: 'after', payBy: inMs(1_500) }));
    await eventually(async () => (await typesOf(one, 'order-after')).includes('Expired'));
    expect(await typesOf(one, 'order-in-time')).toEqual(['Placed', 'Paid']);
    expect(await typesOf(one, 'order-moved')).toEqual(['Placed', 'Placed']);
  });

  it('send what came due while no process was there, once', async () => {
    const one = await start();
    await one.execute(new Place({ orderId: 'away', payBy: soon() }));
    await eventually(
      async () =>
        (await database.pool.query(`select from shop.due_payment where id = 'away'`)).rowCount === 1,
    );
    await one.close();
    processes.splice(0);
    await eventually(async () => {
      const { rows } = await database.pool.query(
        `select due_at < clock_timestamp() as come from shop.due_payment where id = 'away'`,
      );
      return rows[0].come;
    });
    const again = await start();
    await eventually(async () => (await typesOf(again, 'order-away')).includes('Expired'));
    // As after a kill before it was recorded, with tables that do not know of it yet.
    await database.pool.query(`delete from projection.sent_deadlines where deadline = $1`, [payment.name]);
    expect(await typesOf(again, 'order-away')).toEqual(['Placed', 'Expired']);
  });

  it('forget a command that failed once its deadline is put off', async () => {
    const one = await start();
    // Too long for the command.
    const id = 'x'.repeat(150);
    await database.pool.query(
      `insert into shop.due_payment values ($1, '', now() - interval '1 minute', 0, '{"payBy": "2020-01-01T00:00:00Z"}')`,
      [id],
    );
    await eventually(async () => (await statesIn(one)).get('payment')?.waiting === 1);
    await database.pool.query(`delete from shop.due_payment where id = $1`, [id]);
    await eventually(async () => (await statesIn(one)).get('payment')?.waiting === 0);
  });

  it('ask a decision that does nothing only once', async () => {
    const one = await start();
    await one.execute(new Place({ orderId: 'stale', payBy: never() }));
    // A table that does not know yet what has happened.
    await one.execute(new Pay({ orderId: 'stale' }));
    await allSettled(one);
    await database.pool.query(
      `insert into shop.due_payment values ('stale', '', now() - interval '1 minute', 0, '{"payBy": "2020-01-01T00:00:00Z"}')`,
    );
    const sent = () =>
      database.pool.query(`select attempts, error from projection.sent_deadlines where id = 'stale'`);
    await eventually(async () => (await sent()).rowCount === 1);
    expect((await sent()).rows).toEqual([{ attempts: 1, error: null }]);
    expect((await statesIn(one)).get('payment')).toMatchObject({ lagEvents: 0, waiting: 0, parked: 0 });
    await database.pool.query(`delete from shop.due_payment where id = 'stale'`);
  });
});

describe("Nest's event bus", () => {
  const heard: string[] = [];
  @EventsHandler(OrderPaid)
  class Listening implements IEventHandler<OrderPaid> {
    handle({ streamId, revision }: OrderPaid) {
      heard.push(`${streamId} ${revision}`);
    }
  }
  @Injectable()
  class Sagas {
    @Saga()
    readonly packAtOnce = (events: Observable<object>): Observable<ICommand> =>
      events.pipe(
        ofType(OrderPlaced),
        map(({ streamId, id }) => new Pack({ parcelId: `of-${streamId}`, commandId: `saga-${id}` })),
      );
  }
  const host = context('host', { streams: [], providers: [Listening, Sagas] });

  it.each(['each process', 'one process'] as const)('hears the events of the log in %s', async (delivery) => {
    const database = await testDatabase();
    await migrate(database.url, { contexts: [shop] });
    heard.length = 0;
    const options = {
      contexts: [flight, shop, host],
      eventBus: { events: [OrderPaid, OrderPlaced], delivery },
    };
    const one = await startWaylog(database, options);
    const other = await startWaylog(database, options);
    try {
      if (delivery === 'one process') {
        const bus = async () =>
          (await one.app.get(RunningReactors).states()).find(({ name }) => name === 'event-bus');
        await eventually(async () => (await bus())?.state === 'active');
      } else await eventually(() => hears(one) && hears(other));
      await one.execute(new Place({ orderId: 'a', payBy: '2100-01-01T00:00:00Z' }));
      await other.execute(new Pay({ orderId: 'a' }));
      const times = delivery === 'each process' ? 2 : 1;
      await eventually(() => heard.length >= times);
      const store = one.app.get<EventStore>(EVENT_STORE);
      await eventually(async () => (await store.readAll({ limit: 10, categories: ['parcel'] })).length === 2);
      expect(heard).toEqual(Array(times).fill('order-a 1'));
    } finally {
      await one.close();
      await other.close();
      await database.drop();
    }
  });

  const hears = ({ app }: RunningWaylog) => app.get(RunningReactors).hears;
});
