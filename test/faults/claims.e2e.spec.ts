import { DecisionStreams, openEventStore } from '#lib/event-store';
import { eventsOfCategory, holdersOf, person, take } from '../../libs/event-store/src/testing/persons.js';
import { migrate } from '../../migrations/index.js';
import { logs, testDatabase, type Log, type TestDatabase } from '../support/database.js';
import { OwnServer } from '../support/own-server.js';
import { Programs, restartAgainAndAgain, ROUNDS, untilMore, whileFrozen } from './programs.js';

const PROGRAM = 'claiming-process';
const NAMES = ['Ann', 'Bob', 'Cem', 'Dea', 'Eva', 'Fay'];
const PERSONS = Array.from({ length: 10 }, (_, n) => `p${n}`);
/** A name that the processes that run on do not want. */
const OF_FEW = 'Gus';
/** So short that others go on while a process is frozen. */
const LAPSE_MS = 100;

/** Somebody else has the name, or is taking it. */
const REFUSALS = ['name.taken', 'claim.pending'];
/** And what a database is answered with that is away. */
const OUTAGES = ['database.unavailable'];

/** Where a process can die that takes names and gives them back. */
const STEPS: Readonly<Record<Log, readonly string[]>> = {
  // Everything about a name is one append.
  PostgreSQL: ['Named', 'Erased'].flatMap(at),
  // Taken, then confirmed, then given back.
  EventStoreDB: ['ClaimTaken', 'Named', 'Erased', 'ClaimReleased'].flatMap(at),
};
function at(type: string): string[] {
  return ['before', 'during', 'after'].map((when) => `${when} append ${type}`);
}

const FREEZES: typeof STEPS = {
  PostgreSQL: ['before append Named', 'before append Erased'],
  EventStoreDB: ['after append ClaimTaken', 'before append Named', 'before append Erased'],
};

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.named('fault-claims');
});
afterAll(() => server.down());

describe.each(logs)('claims are never held twice and never lost, with the log in %s, while', (log) => {
  let database: TestDatabase;
  let answered: { readonly streamId: string; readonly revision: number }[];
  let refused: Set<string>;
  let programs: Programs;
  beforeEach(async () => {
    [answered, refused] = [[], new Set()];
    database = await testDatabase(log, migrate, server.url);
    programs = new Programs((what, subject = '', revision) => {
      if (what === 'done') answered.push({ streamId: subject, revision: Number(revision) });
      else refused.add(subject);
    });
  });
  afterEach(async () => {
    await programs.killAll();
    await database.drop();
  });

  const args = (names = NAMES, persons = PERSONS) => [
    database.url,
    database.eventStore ?? '',
    String(LAPSE_MS),
    names.join(),
    persons.join(),
  ];
  const start = () => programs.start(PROGRAM, args());
  /** Until so many more commands were answered. */
  const more = (count: number) => untilMore(count, () => answered.length);

  /** What was answered is there, and one at a time has a name: judged by the events of those who have it alone. */
  async function check(codes: readonly string[] = REFUSALS): Promise<void> {
    await programs.killAll();
    expect(programs.ended).toEqual([]);
    const store = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      vocabulary: { person: {}, claim: {} },
    });
    const events = await eventsOfCategory(store, 'person');
    const ends = new Map(events.map(({ streamId, revision }) => [streamId, revision]));
    expect(answered.filter(({ streamId, revision }) => (ends.get(streamId) ?? -1) < revision)).toEqual([]);
    expect([...refused].filter((code) => !codes.includes(code))).toEqual([]);
    // One holder at a time; and who held a name last has it still, while every other name is free.
    const persons = new DecisionStreams({ store, decider: person, category: 'person', claimLapseMs: 0 });
    const names = [...NAMES, OF_FEW];
    const holders = names.map((name) => holdersOf(name, events));
    expect(holders.flat().length).toBeGreaterThan(NAMES.length);
    for (const [i, name] of names.entries()) {
      const taking = persons.change(`new-${name}`, take(name), { command: 'Name' });
      if (holders[i]?.at(-1) === undefined) await expect(taking).resolves.toMatchObject({ revision: 0 });
      else await expect(taking).rejects.toMatchObject({ code: 'name.taken' });
    }
    await store.close();
  }

  it('processes are killed and frozen', async () => {
    const processes = [start(), start(), start()];
    await more(20);
    for (let round = 0; round < ROUNDS; round++) {
      const which = round % 3;
      if (round % 2 === 0) {
        processes[which]?.kill('SIGKILL');
        processes[which] = start();
        await more(15);
      } else {
        await whileFrozen(processes[which], () => more(15));
      }
    }
    await more(20);
    await check();
  });

  it('processes die at every step', async () => {
    start();
    await more(20);
    for (const step of STEPS[log]) await programs.dieAt(step, PROGRAM, args());
    await more(20);
    // One that was taken and never confirmed is taken over by another person: nothing else can happen to it.
    for (const [i, step] of log === 'PostgreSQL' ? [] : at('ClaimLapsed').entries()) {
      await programs.dieAt('after append ClaimTaken', PROGRAM, args([OF_FEW], [`taker${i}`]), 1);
      await programs.dieAt(step, PROGRAM, args([OF_FEW], [`next${i}`]), 1);
    }
    await more(20);
    await check();
  });

  it('a process is frozen at every step, and goes on later than others wait for it', async () => {
    start();
    start();
    await more(20);
    for (const step of FREEZES[log]) await programs.freezeAt(step, PROGRAM, args(), () => more(20));
    await more(20);
    await check();
  });

  it('the database restarts and crashes', async () => {
    start();
    start();
    await more(20);
    await programs.ready();
    await restartAgainAndAgain(server, () => more(30));
    await check([...REFUSALS, ...OUTAGES]);
  });
});
