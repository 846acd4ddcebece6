import { Logger } from '@nestjs/common';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import type { EventStore, Position, RecordedEvent } from '#lib/event-store';
import { flight } from '#lib/flight';
import { EVENT_STORE, Webhooks } from '#lib/waylog';
import { eventsOfCategory } from '../../libs/event-store/src/testing/persons.js';
import { migrate } from '../../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { OwnServer } from '../support/own-server.js';
import { startReceiver, type Receiver } from '../support/receiver.js';
import { shop } from '../support/shop-context.js';
import { startWaylog, type RunningWaylog } from '../support/waylog.js';
import { Programs, restartAgainAndAgain, ROUNDS, stepsOf } from './programs.js';

/** Fewer prove nothing. */
const LEAST_SENT = 60;

/** Where a process can die that sends: sent or not, taken or not, recorded or not; and after a failure sent again or not. */
const STEPS = [
  ...['before', 'during', 'after'].map((when) => `${when} delivery`),
  ...['before', 'during', 'after'].map((when) => `${when} sql reactor.settle webhook-checker`),
  ...['before', 'after'].map((when) => `${when} sql delete projection.reactions webhook-checker`),
];

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.named('fault-webhooks');
});
afterAll(() => server.down());

describe.each(logs)(
  'a webhook is sent every event after its registration, in the order of each stream, with the log in %s, while',
  (log) => {
    let database: TestDatabase;
    let watching: RunningWaylog;
    let store: EventStore;
    let programs: Programs;
    let receiver: Receiver;
    let placed: number;
    let failed: string[];
    /** The receiver takes nothing: `refuses` says so, and `hangs up` says nothing. */
    let trouble: 'refuses' | 'hangs up' | undefined;
    let troubles: number;
    let registration: {
      readonly secret: string;
      readonly before: readonly RecordedEvent[];
      readonly at: Position;
    };
    beforeEach(async () => {
      [placed, failed, trouble, troubles] = [0, [], undefined, 0];
      database = await testDatabase(log, (url) => migrate(url, { contexts: [flight, shop] }), server.url);
      programs = new Programs((what, ...words) => {
        if (what === 'placed') placed++;
        else if (what === 'failed') failed.push(words.join(' '));
      });
      let requests = 0;
      // Some are refused, and of some the sender never learns that they were taken.
      receiver = await startReceiver(() => {
        requests++;
        if (trouble) troubles++;
        if (trouble) return trouble === 'refuses' ? 500 : 0;
        return requests % 61 === 0 ? 503 : requests % 41 === 0 ? 0 : 204;
      });
      watching = await startWaylog(database, {
        contexts: [flight, shop],
        projector: false,
        webhookNetworks: ['127.0.0.0/8'],
      });
      // It says that the database is away.
      Logger.overrideLogger(false);
      store = watching.app.get<EventStore>(EVENT_STORE);
    });
    afterEach(async () => {
      await programs.killAll();
      await receiver.close();
      await watching.close();
      await database.drop();
    });

    const args = (...part: readonly ('idle' | 'orders')[]) => [
      ...[database.url, database.eventStore ?? ''],
      ...part,
    ];
    const start = (...part: readonly ('idle' | 'orders')[]) => programs.start('shop-process', args(...part));
    const more = async (count: number) => {
      const before = [placed, receiver.deliveries.length] as const;
      await eventually(
        () => placed >= before[0] + count && receiver.deliveries.length >= before[1] + count,
        () => [placed, receiver.deliveries.length],
      );
    };
    const eventsNow = async (): Promise<RecordedEvent[]> => [
      ...(await eventsOfCategory(store, 'order')),
      ...(await eventsOfCategory(store, 'parcel')),
    ];

    /** Once there are events that it must not hear. */
    async function register(): Promise<void> {
      await eventually(
        () => placed >= 10,
        () => placed,
      );
      const before = await eventsNow();
      expect(before.length).toBeGreaterThanOrEqual(10);
      const webhooks = watching.app.get(Webhooks);
      const { secret } = await webhooks.add({ name: 'checker', url: receiver.url, signing: 'hmac' }, 'test');
      registration = { secret: secret ?? '', before, at: await store.head() };
    }

    /** Judged by what has come, and by the log, once nothing is left to be sent. */
    async function check(): Promise<void> {
      await programs.killAll();
      start('idle');
      const taken = () =>
        new Set(
          receiver.deliveries.flatMap(({ status, body }) => (status === 204 ? [body.data.eventId] : [])),
        );
      const unsent = async () => {
        const has = taken();
        return (await eventsNow()).filter(
          ({ id, position }) => store.compare(position, registration.at) > 0 && !has.has(id),
        );
      };
      await eventually(
        async () => (await unsent()).length === 0,
        () => receiver.deliveries.length,
      );
      await programs.killAll();
      expect(programs.ended).toEqual([]);
      expect(failed).toEqual([]);

      // At least once, and nothing from before.
      expect(await unsent()).toEqual([]);
      const has = taken();
      expect(has.size).toBeGreaterThan(LEAST_SENT);
      const heard = new Set(receiver.deliveries.map(({ body }) => body.data.eventId));
      expect(registration.before.filter(({ id }) => heard.has(id))).toEqual([]);
      // Before an event comes, every earlier one of its stream was taken.
      const events = new Map((await eventsNow()).map((event) => [event.id, event]));
      const ends = new Map<string, number>();
      for (const { streamId, revision } of registration.before) ends.set(streamId, revision);
      for (const { id, position, streamId, revision } of events.values())
        // Recorded while it was registered: it may have heard it or not.
        if (store.compare(position, registration.at) <= 0 && !heard.has(id))
          ends.set(streamId, Math.max(revision, ends.get(streamId) ?? -1));
      const disorder: string[] = [];
      const texts = new Map<string, string>();
      const standard = new StandardWebhook(registration.secret);
      for (const { headers, text, body, status } of receiver.deliveries) {
        const { eventId, streamId, revision } = body.data;
        const event = events.get(eventId);
        expect(event).toMatchObject({ streamId, revision });
        // The same name and the same text each time, and signed.
        expect(headers['webhook-id']).toBe(eventId);
        expect(texts.get(eventId) ?? text).toBe(text);
        texts.set(eventId, text);
        standard.verify(text, headers as Record<string, string>);
        const end = ends.get(streamId) ?? -1;
        if (revision > end + 1) disorder.push(`${streamId} ${revision} after ${end}`);
        if (status === 204) ends.set(streamId, Math.max(end, revision));
      }
      expect(disorder).toEqual([]);
    }

    it('processes are killed and frozen, and the receiver fails in between', async () => {
      const processes = [start(), start()];
      await register();
      await more(20);
      for (let round = 0; round < ROUNDS; round++) {
        const which = round % 2;
        if (round % 5 === 4) {
          processes[which]?.kill('SIGSTOP');
          // As the database does with the session of a leader that is silent.
          await database.pool.query(
            `select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = 'waylog reactor webhook-checker'`,
          );
          await more(10);
          processes[which]?.kill('SIGCONT');
        } else {
          processes[which]?.kill('SIGKILL');
          processes[which] = start();
        }
        if (round % 3 === 2) {
          trouble = round % 2 === 0 ? 'refuses' : 'hangs up';
          const before = troubles;
          await eventually(() => troubles > before);
          trouble = undefined;
        }
        await more(10);
      }
      await check();
    });

    it('processes die at every step', async () => {
      // What is to die leads then: this one runs no reactors.
      start('orders');
      await register();
      for (const step of stepsOf(log, STEPS)) await programs.dieAt(step, 'shop-process', args('idle'));
      const sent = () => receiver.deliveries.length > LEAST_SENT * 2;
      start('idle');
      await eventually(sent, () => receiver.deliveries.length);
      await check();
    });

    it('the database restarts and crashes', async () => {
      start();
      start();
      await register();
      await more(20);
      await programs.ready();
      await restartAgainAndAgain(server, () => more(20));
      await check();
    });
  },
);
