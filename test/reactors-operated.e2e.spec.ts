import { execFile } from 'node:child_process';
import { eventually } from './support/eventually.js';
import { appendRaw } from './support/poison.js';
import { bearer, newKey, useServer } from './support/server.js';
import { shop } from './support/shop-context.js';
import type { EventStore } from '#lib/event-store';
import { leaderLock } from '#lib/projections';
import { EVENT_STORE } from '#lib/waylog';

// The one line of the server, with another context in it.
jest.mock('../apps/contexts.js', () => ({
  contexts: [
    jest.requireActual<typeof import('#lib/flight')>('#lib/flight').flight,
    jest.requireActual<typeof import('./support/shop-context.js')>('./support/shop-context.js').shop,
  ],
}));

describe('reactors and deadlines in the hands of operators', () => {
  const server = useServer({ WAYLOG_RATE_LIMIT: '1000' }, 'PostgreSQL', [shop]);
  const call = (...request: Parameters<typeof server.call>) => server.call(...request);
  const command = async (name: string, parameters: object) => {
    const answer = await call('POST', '/v1/commands', { command: name, parameters, serviceName: 'test' });
    expect(answer).toMatchObject({ status: 200 });
    return answer.body;
  };
  const never = '2100-01-01T00:00:00Z';
  const paid = async (orderId: string) => {
    await command('Place', { orderId, payBy: never });
    return (await command('Pay', { orderId })).position as string;
  };
  interface State {
    readonly name: string;
    readonly lagEvents: number;
    readonly state: string;
  }
  const stateOf = async (name: string) =>
    ((await call('GET', '/v1/admin/reactors')).body as State[]).find((one) => one.name === name);
  const waiting = async () => (await call('GET', '/v1/admin/reactors/waiting')).body as { of: string }[];
  const packed = async (id: string) =>
    ((await call('GET', '/v1/events?types=Packed')).body as { streamId: string }[]).filter(
      ({ streamId }) => streamId === `parcel-${id}`,
    ).length;
  const bad = `order-${'x'.repeat(150)}`;

  /** The command line of the same application. */
  const waylog = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        ['--import', './dist/test/support/with-shop.js', 'dist/apps/cli/src/main.js', ...args],
        { env: { ...process.env, DATABASE_URL: server.store.url } },
        (error, out, err) =>
          resolve({ code: error ? (typeof error.code === 'number' ? error.code : -1) : 0, out, err }),
      );
    });

  it('are listed, paused, resumed and moved over HTTP', async () => {
    const position = await paid('a');
    await eventually(async () => (await stateOf('pack-paid'))?.lagEvents === 0);
    expect(await call('GET', '/v1/admin/reactors')).toMatchObject({
      status: 200,
      body: [
        {
          name: 'pack-paid',
          kind: 'reactor',
          context: 'shop',
          state: 'active',
          waiting: 0,
          parked: 0,
          position,
        },
        { name: 'payment', kind: 'deadline', context: 'shop', state: 'active', lagEvents: 0 },
      ],
    });
    const operator = bearer(await newKey(server, 'operator'));
    const reason = { reason: 'the packer is ill' };
    expect(await call('POST', '/v1/admin/reactors/pack-paid/pause', reason, operator)).toMatchObject({
      status: 403,
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/pause', {})).toMatchObject({
      status: 400,
      body: { errors: [{ field: 'reason' }] },
    });
    expect(await call('POST', '/v1/admin/reactors/nobody/pause', reason)).toMatchObject({
      status: 404,
      body: { code: 'reactor.not-found' },
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/pause', reason)).toMatchObject({
      status: 200,
      body: [{ state: 'paused', pauseReason: 'the packer is ill' }, {}],
    });
    await paid('b');
    expect(await call('GET', '/metrics')).toMatchObject({
      body: expect.stringMatching(/waylog_reactor_paused\{reactor="pack-paid"\} 1/),
    });
    expect(await call('POST', '/v1/admin/reactors/payment/reset', { to: 'end' })).toMatchObject({
      status: 409,
      body: { code: 'reactor.is-deadline' },
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/reset', { to: '99999999' })).toMatchObject({
      status: 409,
      body: { code: 'reactor.beyond-end' },
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/reset', { to: 'nowhere' })).toMatchObject({
      status: 400,
      body: { code: 'position.invalid' },
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/reset', { to: 'beginning' })).toMatchObject({
      status: 200,
    });
    expect(await call('POST', '/v1/admin/reactors/pack-paid/resume')).toMatchObject({ status: 200 });
    await eventually(async () => (await stateOf('pack-paid'))?.lagEvents === 0);
    expect(await call('GET', '/v1/admin/reactors/waiting')).toMatchObject({ status: 200, body: [] });
  });

  it('show what failed in the API, metrics, alerts, doctor and verification, until it is discarded', async () => {
    // An order whose id is too long for the command of a parcel.
    await appendRaw(server.app.get<EventStore>(EVENT_STORE), bad, 'Paid', {});
    await eventually(async () => (await waiting()).length === 1);
    expect(await waiting()).toMatchObject([
      { reactor: 'pack-paid', of: bad, type: 'Paid', attempts: expect.any(Number) },
    ]);
    await server.store.pool.query(`update projection.reactions set next_attempt_at = null`);
    await eventually(async () =>
      (await call('GET', '/v1/admin/alerts')).body.some(
        ({ name, state }: { name: string; state: string }) =>
          name === 'ReactionsParked' && state === 'firing',
      ),
    );
    expect((await call('GET', '/metrics')).body).toMatch(/waylog_reactor_parked\{reactor="pack-paid"\} 1/);
    const list = await waylog('reactors');
    expect(list.out).toMatch(/^pack-paid +reactor +active /m);
    expect(list.out).toMatch(/waylog reactors waiting/);
    expect((await waylog('reactors', 'waiting')).out).toMatch(
      /pack-paid: order-x+: Paid at revision 0: .*\n +PARKED/,
    );
    expect((await waylog('doctor')).out).toMatch(/pack-paid: 1 parked/);
    expect(await waylog('verify')).toMatchObject({ code: 0 });
    expect(await waylog('reactors', 'retry', 'pack-paid', 'order-other')).toMatchObject({ code: 1 });
    expect((await waylog('reactors', 'retry', 'pack-paid')).out).toMatch(/^1 to be tried/);
    const discard = ['reactors', 'discard', 'pack-paid', bad];
    expect(await waylog(...discard)).toMatchObject({ code: 2 });
    expect((await waylog(...discard, '--reason', 'nobody has ordered that')).out).toMatch(
      /discarded, for good/,
    );
    await eventually(async () => (await waiting()).length === 0);
    await paid('c');
    await eventually(async () => (await packed('c')) > 0);
  });

  it('say what is wrong with their records', async () => {
    expect(await waylog('reactors', 'pause', 'pack-paid', '--reason', 'test')).toMatchObject({ code: 0 });
    await server.store.pool.query(
      `insert into projection.reactions (reactor, stream_id, revision, position, event_id, type, error)
       values ('pack-paid', 'order-c', 1, '1', '00000000-0000-4000-8000-000000000000', 'Paid', 'made up')`,
    );
    await server.store.pool.query(`update projection.reactors set log = 'another' where name = 'pack-paid'`);
    expect(await waylog('verify')).toMatchObject({
      code: 3,
      out: expect.stringMatching(/reactors +WRONG · pack-paid: its position \d+ is one of another log/),
    });
    expect((await waylog('doctor')).out).toMatch(/pack-paid: its position is one of another log/);
    expect((await waylog('reactors', 'reset', 'pack-paid', '--to', 'end')).out).toMatch(
      /acts on what comes after position \d/,
    );
    expect(await waylog('verify')).toMatchObject({
      code: 3,
      out: expect.stringMatching(
        /it waits with order-c for its Paid at revision 1, which is no longer in the log/,
      ),
    });
    expect(await waylog('reactors', 'discard', 'pack-paid', 'order-c', '--reason', 'made up')).toMatchObject({
      code: 0,
    });
    expect(await waylog('reactors', 'resume', 'pack-paid')).toMatchObject({ code: 0 });
    await eventually(async () => (await waiting()).length === 0);
    expect(await waylog('verify')).toMatchObject({ code: 0 });
  });

  it('are forgotten once they are gone from the code, and not before', async () => {
    const pool = server.store.pool;
    await pool.query(
      `insert into projection.reactors (name, version, position) values ('pack-ordered', 1, '1')`,
    );
    await pool.query(
      `insert into projection.reactions (reactor, stream_id, revision, position, event_id, type, error)
       values ('pack-ordered', 'order-z', 1, '1', '00000000-0000-4000-8000-000000000000', 'Paid', 'made up')`,
    );
    expect((await waylog('doctor')).out).toMatch(
      /pack-ordered has run here, and no context .* nobody does the 1 thing that wait/,
    );
    expect(await waylog('reactors', 'forget', 'pack-paid')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/This application has pack-paid/),
    });
    // A process of an older version that still runs it.
    const other = await pool.connect();
    const lock = leaderLock('reactor:pack-ordered');
    await other.query('select pg_advisory_lock($1)', [lock]);
    expect(await call('DELETE', '/v1/admin/reactors/pack-ordered')).toMatchObject({
      status: 409,
      body: { code: 'reactor.runs' },
    });
    await other.query('select pg_advisory_unlock($1)', [lock]);
    other.release();
    expect(await call('DELETE', '/v1/admin/reactors/pack-ordered')).toMatchObject({
      status: 200,
      body: { waited: 1 },
    });
    expect(await waylog('reactors', 'forget', 'pack-ordered')).toMatchObject({ code: 1 });
    expect(
      (await pool.query(`select from projection.reactions where reactor = 'pack-ordered'`)).rowCount,
    ).toBe(0);
    expect((await waylog('doctor')).out).not.toMatch(/pack-ordered/);
  });
});
