import { Webhook as StandardWebhook } from 'standardwebhooks';
import { EVENT_STORE, RunningReactors, Webhooks, type WaylogOptions } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { CreateFlight, flight } from '#lib/flight';
import { MAX_WEBHOOKS, type NewWebhook } from '#lib/webhooks';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { startReceiver, type Receiver } from './support/receiver.js';
import { aFlight } from './support/samples.js';
import { Pay, Place, shop } from './support/shop-context.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

const payBy = '2100-01-01T00:00:00Z';

describe.each(logs)('webhooks, with the log in %s', (log) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase(log);
    await migrate(database.url, { contexts: [flight, shop] });
  });
  afterAll(() => database.drop());

  const processes: RunningWaylog[] = [];
  const receivers: Receiver[] = [];
  let hooks: Webhooks;
  let reactors: RunningReactors;
  let execute: RunningWaylog['execute'];
  const start = async (options: Partial<WaylogOptions> = {}) => {
    const one = await startWaylog(database, {
      contexts: [flight, shop],
      webhookNetworks: ['127.0.0.0/8'],
      ...options,
    });
    processes.push(one);
    return one;
  };
  const receiver = async (...args: Parameters<typeof startReceiver>) => {
    const one = await startReceiver(...args);
    receivers.push(one);
    return one;
  };
  let tests = 0;
  /** A name that no other test has. */
  const named = (what: string) => `${what}${tests}`;
  beforeEach(async () => {
    tests++;
    const one = await start();
    hooks = one.app.get(Webhooks);
    reactors = one.app.get(RunningReactors);
    execute = one.execute;
  });
  afterEach(async () => {
    for (const { name } of await hooks.list()) await hooks.remove(name, 'test');
    for (const one of processes.splice(0)) await one.close();
    for (const one of receivers.splice(0)) await one.close();
  });
  const add = (url: string, more: Partial<NewWebhook> = {}) =>
    hooks.add({ name: named('hook'), url, signing: 'hmac', ...more }, 'test');
  const stateOf = async (name = named('hook')) =>
    (await reactors.states()).find((one) => one.name === `webhook-${name}`);
  const isActive = async (name?: string) => (await stateOf(name))?.state === 'active';
  const order = async (what: string, ...more: 'paid'[]) => {
    await execute(new Place({ orderId: named(what), payBy }));
    if (more.length > 0) await execute(new Pay({ orderId: named(what) }));
  };

  it('are sent what is recorded after they were added, signed, in the order of each stream', async () => {
    await order('before', 'paid');
    const to = await receiver();
    const { secret = '' } = await add(to.url);
    for (const what of ['a', 'b', 'c']) await order(what, 'paid');
    await eventually(async () => (await stateOf())?.lagEvents === 0 && to.deliveries.length >= 9);
    const orders = to.taken().filter((one) => one.startsWith('order-'));
    for (const what of ['a', 'b', 'c'])
      expect(orders.filter((one) => one.startsWith(`order-${named(what)} `))).toEqual([
        `order-${named(what)} 0`,
        `order-${named(what)} 1`,
      ]);
    expect(orders.join()).not.toContain('before');
    // And what its reactor made of them.
    for (const what of ['a', 'b', 'c']) expect(to.taken()).toContain(`parcel-${named(what)} 0`);
    expect(new Set(to.taken()).size).toBe(to.taken().length);

    const events = await processes[0]?.app
      .get<EventStore>(EVENT_STORE)
      .readAll({ limit: 1_000, categories: ['order'] });
    const placed = events?.find(({ streamId }) => streamId === `order-${named('a')}`);
    const delivery = to.deliveries.find(({ body }) => body.data.eventId === placed?.id);
    expect(delivery?.body).toEqual({
      type: 'order.Placed',
      timestamp: placed?.recordedAt,
      data: {
        eventId: placed?.id,
        streamId: placed?.streamId,
        revision: 0,
        position: placed?.position,
        schemaVersion: 1,
        correlationId: placed?.metadata.correlationId,
        causationId: placed?.metadata.causationId,
        data: { payBy },
      },
    });
    expect(delivery?.headers['webhook-id']).toBe(placed?.id);
    for (const { text, headers } of to.deliveries)
      expect(new StandardWebhook(secret).verify(text, headers as Record<string, string>)).toBeDefined();
  });

  it('begin and end in all processes that run, and one of them sends', async () => {
    await start();
    await start({ projector: false });
    const to = await receiver();
    await add(to.url);
    await eventually(isActive);
    await order('a');
    await eventually(() => to.deliveries.length === 1);
    await hooks.remove(named('hook'), 'test');
    expect(await stateOf()).toBeUndefined();
    // A webhook that is there after it hears what the ended one must not.
    const other = await receiver();
    await add(other.url, { name: named('other') });
    await eventually(async () => {
      const { rows } = await database.pool.query(`select from pg_stat_activity where application_name = $1`, [
        `waylog reactor webhook-${named('hook')}`,
      ]);
      return rows.length === 0;
    });
    await order('b');
    await eventually(() => other.deliveries.length === 1);
    expect(to.taken()).toEqual([`order-${named('a')} 0`]);
  });

  it('of a name that an ended one had begin anew, and are sent nothing of the time between', async () => {
    const away = await receiver(() => 503);
    await add(away.url);
    await order('a');
    await eventually(async () => (await stateOf())?.waiting === 1);
    await reactors.pause(`webhook-${named('hook')}`, { reason: 'test', by: 'test' });
    await hooks.remove(named('hook'), 'test');
    await order('between');
    const to = await receiver();
    await add(to.url);
    expect(await stateOf()).toMatchObject({ waiting: 0, lagEvents: 0 });
    await order('c');
    await eventually(() => to.deliveries.length > 0);
    await eventually(async () => (await stateOf())?.lagEvents === 0);
    expect(to.taken()).toEqual([`order-${named('c')} 0`]);
  });

  it('wait with everything while a receiver fails, and then send all, with the ids that they had', async () => {
    let isAway = true;
    const to = await receiver(() => (isAway ? 500 : 200));
    await add(to.url);
    for (const what of ['a', 'b', 'c']) await order(what);
    await eventually(async () => (await stateOf())?.waiting === 1);
    const [waits] = await reactors.waiting(`webhook-${named('hook')}`);
    expect(waits).toMatchObject({ error: 'It answered 500.', attempts: 1, of: `order-${named('a')}` });
    isAway = false;
    await reactors.retry(`webhook-${named('hook')}`);
    await eventually(() => to.taken().length === 3);
    const ids = (status: number) =>
      to.deliveries.filter((one) => one.status === status).map(({ headers }) => headers['webhook-id']);
    expect(ids(200)).toEqual(expect.arrayContaining(ids(500)));
    await eventually(async () => (await stateOf())?.lagEvents === 0);
    expect(await stateOf()).toMatchObject({ waiting: 0, parked: 0 });
  });

  it('are parked at once by a receiver that is gone, until somebody has them tried again', async () => {
    let status = 410;
    const to = await receiver(() => status);
    await add(to.url);
    await order('a');
    await order('b');
    await eventually(async () => (await stateOf())?.parked === 1);
    const [waits] = await reactors.waiting(`webhook-${named('hook')}`);
    expect(waits?.error).toContain('waylog webhooks remove');
    status = 204;
    await reactors.retry(`webhook-${named('hook')}`);
    await eventually(() => to.taken().length === 2);
  });

  it('hear the categories and types that they name', async () => {
    const [paid, parcels] = [await receiver(), await receiver()];
    await add(paid.url, { name: named('paid'), events: ['order.Paid'] });
    await add(parcels.url, { name: named('parcels'), events: ['parcel', 'flight.FlightCreated'] });
    await order('a', 'paid');
    await eventually(() => paid.taken().length > 0 && parcels.taken().length > 0);
    await eventually(async () => (await stateOf(named('paid')))?.lagEvents === 0);
    expect(paid.taken()).toEqual([`order-${named('a')} 1`]);
    expect(parcels.taken()).toEqual([`parcel-${named('a')} 0`]);
  });

  it('are not sent what an erasure would reach, unless they ask for it', async () => {
    const [plain, full] = [await receiver(), await receiver()];
    const events = ['flight.FlightCreated'];
    await add(plain.url, { name: named('plain'), events });
    await add(full.url, { name: named('full'), events, withSensitiveFields: true });
    await execute(new CreateFlight({ flight: { ...aFlight(named('f')), name: 'Over my house' } }));
    await eventually(() => plain.taken().length === 1 && full.taken().length === 1);
    expect(full.deliveries[0]?.body.data.data).toMatchObject({ name: 'Over my house' });
    expect(plain.deliveries[0]?.text).not.toContain('Over my house');
    expect(plain.deliveries[0]?.body.data.data).toMatchObject({ name: 'erased' });
    const { name: _, description: __, cameraParams: ___, ...open } = full.deliveries[0]?.body.data.data ?? {};
    expect(plain.deliveries[0]?.body.data.data).toMatchObject(open);
  });

  it('sign with the key before a rotation as well, for a day', async () => {
    const to = await receiver();
    const { secret: older = '' } = await add(to.url);
    const { secret: newer = '', previousKeyUntil = '' } = await hooks.rotate(named('hook'));
    expect(newer).not.toBe(older);
    expect(Math.round((Date.parse(previousKeyUntil) - Date.now()) / 3_600_000)).toBe(24);
    const verifies = (secret: string) => {
      const { text = '', headers = {} } = to.deliveries.at(-1) ?? {};
      try {
        new StandardWebhook(secret).verify(text, headers as Record<string, string>);
        return true;
      } catch {
        return false;
      }
    };
    await order('a');
    await eventually(() => to.deliveries.length === 1);
    expect([verifies(older), verifies(newer)]).toEqual([true, true]);
    await database.pool.query(
      `update access.webhooks set previous_key_until = clock_timestamp() where name = $1`,
      [named('hook')],
    );
    await hooks.rotate(named('hook'));
    await database.pool.query(
      `update access.webhooks set previous_key_until = clock_timestamp() where name = $1`,
      [named('hook')],
    );
    expect(await hooks.test(named('hook'))).toEqual({ status: 204 });
    expect(verifies(newer)).toBe(false);
    expect((await hooks.list())[0]).not.toHaveProperty('previousKeyUntil');
  });

  it('reach no private address that this process does not allow', async () => {
    const to = await receiver();
    const url = to.url.replace('127.0.0.1', 'localhost');
    const strict = (await start({ webhookNetworks: ['10.1.0.0/16'], projector: false })).app.get(Webhooks);
    await expect(
      strict.add({ name: named('hook'), url: to.url, signing: 'hmac' }, 'test'),
    ).rejects.toMatchObject({ code: 'input.invalid', data: { errors: [{ field: 'url' }] } });
    await strict.add({ name: named('hook'), url, signing: 'ed25519' }, 'test');
    expect(await strict.test(named('hook'))).toEqual({
      error: expect.stringMatching(/localhost is no public address .*WAYLOG_WEBHOOK_NETWORKS/) as string,
    });
    expect(to.deliveries).toEqual([]);
    expect(await hooks.test(named('hook'))).toEqual({ status: 204 });
    expect(to.deliveries[0]?.headers['webhook-signature']).toMatch(/^v1a,/);
  });

  it('refuse names that are taken, events that nobody has, and too many', async () => {
    await add('https://receiver.example/');
    await expect(add('https://receiver.example/')).rejects.toMatchObject({ code: 'webhook.exists' });
    await expect(
      add('https://receiver.example/', { name: named('x'), events: ['order', 'order.Lost', 'claim'] }),
    ).rejects.toMatchObject({ data: { errors: [{ field: 'events' }, { field: 'events' }] } });
    await expect(add('https://receiver.example/', { name: 'No' })).rejects.toMatchObject({
      code: 'input.invalid',
    });
    await expect(hooks.remove('nobody', 'test')).rejects.toMatchObject({ code: 'webhook.not-found' });
    for (let n = 1; n < MAX_WEBHOOKS; n++)
      await add('https://receiver.example/', { name: named(`more-${n}-x`) });
    await expect(add('https://receiver.example/', { name: named('x') })).rejects.toMatchObject({
      code: 'webhook.too-many',
    });
  });
});
