import type { ChildProcess } from 'node:child_process';
import { openEventStore, type RecordedEvent } from '#lib/event-store';
import { eventsOfCategory } from '../../libs/event-store/src/testing/persons.js';
import { migrate } from '../../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { OwnServer } from '../support/own-server.js';
import { shop } from '../support/shop-context.js';
import { Programs, restartAgainAndAgain, ROUNDS, stepsOf, untilMore } from './programs.js';

const PROGRAM = 'shop-process';
/** Fewer prove nothing. */
const LEAST_PAID = 20;

/** Where a process can die that acts on events, and sends the commands of deadlines. */
const STEPS = [
  ...['before', 'during', 'after'].map((when) => `${when} append Packed`),
  ...['before', 'during', 'after'].map((when) => `${when} sql reactor.settle pack-paid`),
  ...['before', 'during', 'after'].map((when) => `${when} append Expired`),
  ...['before', 'during', 'after'].map((when) => `${when} sql deadline.sent payment`),
];

const FREEZES = [
  'before append Packed',
  'before sql reactor.settle pack-paid',
  'before append Expired',
  'before sql deadline.sent payment',
];

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.named('fault-reactors');
});
afterAll(() => server.down());

describe.each(logs)(
  'an event has its effect once, and no deadline is early, lost or twice, with the log in %s, while',
  (log) => {
    let database: TestDatabase;
    let placed: Set<string>;
    let paid: Set<string>;
    let failed: string[];
    let programs: Programs;
    beforeEach(async () => {
      [placed, paid, failed] = [new Set(), new Set(), []];
      database = await testDatabase(log, (url) => migrate(url, { contexts: [shop] }), server.url);
      programs = new Programs((what, ...words) => {
        if (what === 'placed') placed.add(words[0] ?? '');
        else if (what === 'paid') paid.add(words[0] ?? '');
        else if (what === 'failed') failed.push(words.join(' '));
      });
    });
    afterEach(async () => {
      await programs.killAll();
      await database.drop();
    });

    const args = (...part: readonly ('idle' | 'orders')[]) => [
      ...[database.url, database.eventStore ?? ''],
      ...part,
    ];
    const start = (...part: readonly ('idle' | 'orders')[]) => programs.start(PROGRAM, args(...part));
    const more = (count: number) => untilMore(count, () => placed.size);
    /** The process that leads one of them, as its session says. */
    const endSessions = (like = '%') =>
      database.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name like $1 and pid <> pg_backend_pid()
            and application_name <> 'waylog test'`,
        [like],
      );

    /** How far whoever leads has come. */
    const progress = async () => {
      const { rows } = await database.pool.query<{ reactor: string; deadline: string }>(
        `select (select position from projection.reactors where name = 'pack-paid') as reactor,
                (select count(*) from projection.sent_deadlines) as deadline`,
      );
      return [rows[0]?.reactor, rows[0]?.deadline];
    };

    /** Judged by the log alone, once nothing is left to be done. */
    async function check(): Promise<void> {
      await programs.killAll();
      start('idle');
      const store = await openEventStore({
        eventStore: database.eventStore,
        pool: database.pool,
        listener: database.listener,
        vocabulary: { order: {}, parcel: {} },
      });
      const orders = new Map<string, RecordedEvent[]>();
      const read = async () => {
        orders.clear();
        for (const event of await eventsOfCategory(store, 'order')) {
          const id = event.streamId.slice('order-'.length);
          orders.set(id, [...(orders.get(id) ?? []), event]);
        }
        return await eventsOfCategory(store, 'parcel');
      };
      // All that was paid is packed, and all that was not paid in time has expired.
      const isDone = async () => {
        const causes = new Set((await read()).map(({ metadata }) => metadata.causationId));
        return [...orders.values()].every((events) => {
          const payment = events.find(({ type }) => type === 'Paid');
          return payment ? causes.has(payment.id) : events.some(({ type }) => type === 'Expired');
        });
      };
      await eventually(isDone, () => orders.size);
      await programs.killAll();
      expect(programs.ended).toEqual([]);

      const packed = await read();
      const hasPaid = (id: string) => orders.get(id)?.some(({ type }) => type === 'Paid');
      expect([...placed].filter((id) => !orders.has(id))).toEqual([]);
      expect([...paid].filter((id) => !hasPaid(id))).toEqual([]);
      const payments = [...orders.values()].flat().filter(({ type }) => type === 'Paid');
      expect(packed.map(({ metadata }) => metadata.causationId).toSorted()).toEqual(
        payments.map(({ id }) => id).toSorted(),
      );
      for (const [id, events] of orders) {
        const types = events.map(({ type }) => type);
        const expiries = events.filter(({ type }) => type === 'Expired');
        expect({ id, expiries: expiries.length <= 1 }).toEqual({ id, expiries: true });
        // Once it is paid it does not expire any more.
        if (types.includes('Paid') && types.includes('Expired'))
          expect(types.indexOf('Expired')).toBeLessThan(types.indexOf('Paid'));
        for (const { recordedAt, data } of expiries)
          expect(Date.parse(recordedAt)).toBeGreaterThanOrEqual(Date.parse(data['payBy'] as string));
      }
      expect(failed).toEqual([]);
      expect(payments.length).toBeGreaterThan(LEAST_PAID);
      await store.close();
    }

    it('processes are killed, frozen and cut off', async () => {
      const processes = [start(), start()];
      await more(20);
      for (let round = 0; round < ROUNDS; round++) {
        const which = round % 2;
        if (round % 4 < 2) {
          processes[which]?.kill('SIGKILL');
          processes[which] = start();
          await more(10);
        } else if (round % 4 === 2) {
          processes[which]?.kill('SIGSTOP');
          await more(10);
          // As the database does with the session of a leader that is silent: the other process leads before this one continues.
          await endSessions('waylog reactor %');
          await endSessions('waylog deadline %');
          await more(10);
          processes[which]?.kill('SIGCONT');
        } else {
          // As an administrator can.
          await endSessions();
          await more(10);
        }
      }
      await more(20);
      await check();
    });

    it('processes die at every step', async () => {
      // What is to die leads then: this one runs no reactors.
      start('orders');
      await more(5);
      for (const step of stepsOf(log, STEPS)) await programs.dieAt(step, PROGRAM, args('idle'));
      await more(LEAST_PAID);
      await check();
    });

    it('the leader is frozen at every step until another one leads', async () => {
      start('orders');
      await more(5);
      for (const step of stepsOf(log, FREEZES)) {
        const children: ChildProcess[] = [];
        const frozen = await programs.freezeAt(step, PROGRAM, args('idle'), async () => {
          children.push(start('idle'));
          const before = await progress();
          // As the database does with the session of a leader that is silent.
          await endSessions('waylog reactor %');
          await endSessions('waylog deadline %');
          await eventually(async () => (await progress()).every((one, i) => one !== before[i]));
        });
        // It wakes up and finds that another one leads.
        await more(10);
        // The next one leads again.
        for (const child of [frozen, ...children]) child.kill('SIGKILL');
      }
      await more(LEAST_PAID);
      await check();
    });

    it('the database restarts and crashes', async () => {
      start();
      start();
      await more(20);
      await programs.ready();
      await restartAgainAndAgain(server, () => more(20));
      await check();
    });
  },
);
