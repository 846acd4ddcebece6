import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { openEventStore, type RecordedEvent } from '#lib/event-store';
import { eventsOfCategory } from '../libs/event-store/src/testing/persons.js';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { shop } from './support/shop-context.js';

const ROUNDS = 12;

describe.each(logs)(
  'reactors and deadlines of processes that are killed, frozen and cut off, with the log in %s',
  (log) => {
    let database: TestDatabase;
    const children = new Set<ChildProcess>();
    const placed = new Set<string>();
    const paid = new Set<string>();
    const failed: string[] = [];
    beforeAll(async () => {
      database = await testDatabase(log);
      await migrate(database.url, { contexts: [shop] });
    });
    afterAll(async () => {
      for (const child of children) child.kill('SIGKILL');
      await database.drop();
    });

    /** `idle`: it runs reactors and deadlines, and places no orders. */
    function start(...idle: readonly 'idle'[]): ChildProcess {
      const args = ['dist/test/support/shop-process.js', database.url, database.eventStore ?? '', ...idle];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      children.add(child);
      child.once('exit', () => children.delete(child));
      createInterface(child.stdout).on('line', (line) => {
        const [what, order = ''] = line.split(' ');
        if (what === 'placed') placed.add(order);
        else if (what === 'paid') paid.add(order);
        else if (what === 'failed') failed.push(line);
      });
      return child;
    }
    const more = async (count: number) => {
      const before = placed.size;
      await eventually(
        () => placed.size >= before + count,
        () => placed.size,
      );
    };
    /** The process that leads one of them, as its session says. */
    const endSessions = (like = '%') =>
      database.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like $1 and pid <> pg_backend_pid()
          and application_name <> 'waylog test'`,
        [like],
      );

    it('have the effect of an event once, and no deadline is early, lost or twice', async () => {
      const processes = [start(), start()];
      await more(20);
      for (let round = 0; round < ROUNDS; round++) {
        const which = round % 2;
        const child = processes[which] as ChildProcess;
        if (round % 4 < 2) {
          child.kill('SIGKILL');
          processes[which] = start();
          await more(10);
        } else if (round % 4 === 2) {
          child.kill('SIGSTOP');
          await more(10);
          // As the database does with the session of a leader that is silent: the other process leads before this one continues.
          await endSessions('waylog reactor %');
          await endSessions('waylog deadline %');
          await more(10);
          child.kill('SIGCONT');
        } else {
          // As when the database restarts.
          await endSessions();
          await more(10);
        }
      }
      await more(20);
      for (const child of processes) child.kill('SIGKILL');
      await eventually(() => children.size === 0);
      const idle = start('idle');

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
      idle.kill('SIGKILL');

      const packed = await read();
      for (const id of placed) expect({ id, isThere: orders.has(id) }).toEqual({ id, isThere: true });
      for (const id of paid)
        expect({ id, isPaid: orders.get(id)?.some(({ type }) => type === 'Paid') }).toEqual({
          id,
          isPaid: true,
        });
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
      expect(payments.length).toBeGreaterThan(20);
      await store.close();
    });
  },
);
