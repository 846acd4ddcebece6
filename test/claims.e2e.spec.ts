import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { DecisionStreams, openEventStore } from '#lib/event-store';
import { eventsOfCategory, holdersOf, person, take } from '../libs/event-store/src/testing/persons.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';

const NAMES = ['Ann', 'Bob', 'Cem', 'Dea', 'Eva', 'Fay'];
/** So short that others go on while a process is frozen. */
const LAPSE_MS = 100;
const ROUNDS = 12;

describe.each(logs)('claims of processes that are killed and frozen, with the log in %s', (log) => {
  let database: TestDatabase;
  const children = new Set<ChildProcess>();
  const answered: { readonly streamId: string; readonly revision: number }[] = [];
  const refused = new Map<string, number>();
  beforeAll(async () => {
    database = await testDatabase(log);
  });
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await database.drop();
  });

  function start(): ChildProcess {
    const args = [
      'dist/test/support/claiming-process.js',
      database.url,
      database.eventStore ?? '',
      String(LAPSE_MS),
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.add(child);
    child.once('exit', () => children.delete(child));
    createInterface(child.stdout).on('line', (line) => {
      const [what, subject = '', revision] = line.split(' ');
      if (what === 'done') answered.push({ streamId: subject, revision: Number(revision) });
      else refused.set(subject, (refused.get(subject) ?? 0) + 1);
    });
    return child;
  }
  /** Until so many more commands were answered. */
  const more = async (count: number) => {
    const before = answered.length;
    await eventually(() => answered.length >= before + count);
  };

  it('are never held twice and never lost', async () => {
    const processes = [start(), start(), start()];
    await more(20);
    for (let round = 0; round < ROUNDS; round++) {
      const which = round % 3;
      const child = processes[which] as ChildProcess;
      if (round % 2 === 0) {
        child.kill('SIGKILL');
        processes[which] = start();
        await more(15);
      } else {
        child.kill('SIGSTOP');
        await more(15);
        child.kill('SIGCONT');
      }
    }
    await more(20);
    for (const child of processes) child.kill('SIGKILL');
    await eventually(() => children.size === 0);

    const store = await openEventStore({
      eventStore: database.eventStore,
      pool: database.pool,
      listener: database.listener,
      vocabulary: { person: {}, claim: {} },
    });
    const events = await eventsOfCategory(store, 'person');
    // What was answered is there.
    const ends = new Map(events.map(({ streamId, revision }) => [streamId, revision]));
    for (const { streamId, revision } of answered)
      expect({ streamId, isThere: (ends.get(streamId) ?? -1) >= revision }).toEqual({
        streamId,
        isThere: true,
      });
    // Nobody is refused for anything but that somebody else has the name, or is taking it.
    const others = [...refused.keys()].filter((code) => code !== 'name.taken' && code !== 'claim.pending');
    expect(others).toEqual([]);
    // One holder at a time; and who held a name last has it still, while every other name is free.
    const persons = new DecisionStreams({ store, decider: person, category: 'person', claimLapseMs: 0 });
    const holders = NAMES.map((name) => holdersOf(name, events));
    expect(holders.flat().length).toBeGreaterThan(NAMES.length);
    for (const [i, name] of NAMES.entries()) {
      const taking = persons.change(`new-${name}`, take(name), { command: 'Name' });
      if (holders[i]?.at(-1) === undefined) await expect(taking).resolves.toMatchObject({ revision: 0 });
      else await expect(taking).rejects.toMatchObject({ code: 'name.taken' });
    }
    await store.close();
  });
});
