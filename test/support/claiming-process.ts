import { createPool, Listener, messageOf } from '#lib/platform';
import { DecisionStreams, openEventStore } from '#lib/event-store';
import { erase, person, take } from '../../libs/event-store/src/testing/persons.js';

// A process that takes names and gives them back until it is killed, and says what it was answered:
// node dist/test/support/claiming-process.js DATABASE_URL EVENT_STORE LAPSE_MS NAME,... PERSON,...

const [connectionString = '', eventStore, lapse, names = '', ids = ''] = process.argv.slice(2);
const pool = createPool({
  connectionString,
  size: 5,
  applicationName: 'waylog test claims',
  statementTimeoutMs: 30_000,
  connectTimeoutMs: 5_000,
});
const store = await openEventStore({
  eventStore: eventStore || undefined,
  pool,
  listener: new Listener(connectionString, 'waylog test claims'),
  vocabulary: { person: {}, claim: {} },
});
const persons = new DecisionStreams({
  store,
  decider: person,
  category: 'person',
  claimLapseMs: Number(lapse),
});

const any = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)] as T;
const NAMES = names.split(',');
const IDS = ids.split(',');

async function goOn(): Promise<never> {
  for (;;) {
    const [id, name] = [any(IDS), any(NAMES)];
    const decide = Math.random() < 0.2 ? erase : take(name);
    try {
      const { revision } = await persons.change(id, decide, { command: 'Name' });
      console.log(`done person-${id} ${revision}`);
    } catch (error) {
      const { code } = error as { code?: string };
      console.log(`refused ${code ?? messageOf(error)}`);
    }
  }
}
console.log('ready');
await Promise.all([goOn(), goOn(), goOn()]);
