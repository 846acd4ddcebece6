import { v7 as uuidv7 } from 'uuid';
import { DecisionStreams } from '../decisions/decision-streams.js';
import type { EventStore } from '../event-store.js';
import type { Vocabulary } from '../vocabulary.js';
import { collect, type StoreUnderTest } from './event-store.contract.js';
import { claimOf, erase, eventsOfCategory, holdersOf, person, take } from './persons.js';

const run = uuidv7();
const as = { command: 'Name' };
const taken = { code: 'name.taken' };

type Append = EventStore['append'];

/** A store whose appends go through `change`, which is given each of its two ways, if it has it. */
const changed = (
  store: EventStore,
  change: (append: Append, name: string) => Append | undefined,
): EventStore =>
  new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const bound = value.bind(target) as Append;
      return name === 'append' || name === 'appendTogether' ? change(bound, name) : bound;
    },
  });
/** The same store without what it can do beyond others. */
const withoutTogether = (store: EventStore): EventStore =>
  changed(store, (append, name) => (name === 'append' ? append : undefined));

/** Unique values, over every store, with and without appends to several streams together. */
export function describeClaims(
  name: string,
  open: (vocabulary: Vocabulary) => Promise<StoreUnderTest>,
): void {
  let subject: StoreUnderTest;
  beforeAll(async () => {
    subject = await open({});
  });
  afterAll(() => subject.dispose());
  const ways: readonly (readonly [string, () => EventStore])[] = [
    ['as it appends', () => subject.store],
    ['one stream at a time', () => withoutTogether(subject.store)],
  ];

  describe.each(ways)(`${name} keeps values unique, %s`, (way, ofWay) => {
    const category = `person${way.length}`;
    const inProcess = (store = ofWay(), claimLapseMs = 0) =>
      new DecisionStreams({ store, decider: person, category, claimLapseMs });
    const id = () => uuidv7();
    const newName = () => `${run}-${uuidv7()}`;

    /** Whoever held it, one after another. */
    const holders = async (name: string) =>
      holdersOf(name, await eventsOfCategory(subject.store, category)).filter(Boolean);

    it('for one of many that want a value at a time', async () => {
      const name = newName();
      const processes = [
        inProcess(undefined, 30_000),
        inProcess(undefined, 30_000),
        inProcess(undefined, 30_000),
      ];
      const ended = await Promise.allSettled(
        Array.from({ length: 12 }, (_, n) =>
          (processes[n % 3] as (typeof processes)[0]).change(id(), take(name), as),
        ),
      );
      expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const one of ended)
        if (one.status === 'rejected')
          expect(['name.taken', 'claim.pending']).toContain((one.reason as { code: string }).code);
      expect(await holders(name)).toHaveLength(1);
    });

    it('until they are given back', async () => {
      const [persons, others] = [inProcess(), inProcess()];
      const [ann, bob, name] = [id(), id(), newName()];
      await persons.change(ann, take(name), as);
      await expect(others.change(bob, take(name), as)).rejects.toMatchObject(taken);
      // Its holder takes it again, for nothing.
      await persons.change(ann, take(name), as);
      await persons.change(ann, take(newName()), as);
      await others.change(bob, take(name), as);
      await expect(persons.change(ann, take(name), as)).rejects.toMatchObject(taken);
      expect(await holders(name)).toEqual([`${category}-${ann}`, `${category}-${bob}`]);
    });

    it('and gives all back at an erasure but those that are unique for ever', async () => {
      const persons = inProcess();
      const [name, forEver] = [newName(), newName()];
      const [ann, bob] = [id(), id()];
      await persons.change(ann, take(name), as);
      await persons.change(bob, take(forEver, true), as);
      await persons.change(ann, erase, as);
      await persons.change(bob, erase, as);
      await inProcess().change(id(), take(name), as);
      await expect(inProcess().change(id(), take(forEver, true), as)).rejects.toMatchObject(taken);
      const texts = JSON.stringify(await collect(subject.store.readStream(claimOf(name).streamId)));
      expect(texts).not.toContain('"name"');
    });

    it('across commands that are decided in one batch, and a snapshot', async () => {
      const persons = new DecisionStreams({
        store: ofWay(),
        decider: person,
        category,
        snapshotEvery: 1,
        claimLapseMs: 0,
      });
      const ann = id();
      const names = [newName(), newName(), newName()];
      await Promise.all(names.map((name) => persons.change(ann, take(name), as)));
      await persons.drain();
      expect((await inProcess().load(ann)).state.name).toBe(names[2]);
      // The first two are free again; the last is not.
      const cold = inProcess();
      await cold.change(id(), take(names[0] ?? ''), as);
      await expect(cold.change(id(), take(names[2] ?? ''), as)).rejects.toMatchObject(taken);
      await cold.change(ann, take(newName()), as);
      await cold.change(id(), take(names[2] ?? ''), as);
      for (const name of names) await holders(name);
    });

    it('whatever a process does that was frozen before it recorded, and wakes up late', async () => {
      const [ann, bob, name] = [id(), id(), newName()];
      const annStream = `${category}-${ann}`;
      let wake: () => void = () => undefined;
      let asleep: () => void = () => undefined;
      const isAsleep = new Promise<void>((resolve) => (asleep = resolve));
      const store = ofWay();
      const freezing = changed(store, (append) => async (requests) => {
        if (requests[0]?.streamId === annStream) {
          asleep();
          await new Promise<void>((resolve) => (wake = resolve));
        }
        return append(requests);
      });
      const late = inProcess(freezing).change(ann, take(name), as);
      late.catch(() => undefined);
      await Promise.race([isAsleep, late]);
      await inProcess().change(bob, take(name), as);
      wake();
      // It decides again, and so sleeps again.
      await expect(late).rejects.toMatchObject(taken);
      expect(await holders(name)).toEqual([`${category}-${bob}`]);
      // And it goes on as if nothing had happened.
      await inProcess().change(ann, take(newName()), as);
    });

    it('after a kill between any two steps', async () => {
      for (let step = 0; step < 6; step++) {
        const [ann, bob, name, other] = [id(), id(), newName(), newName()];
        await inProcess().change(ann, take(other), as);
        let calls = 0;
        const store = ofWay();
        // The process is gone before or after one of its appends has reached the log.
        const killed = changed(store, (append) => async (requests) => {
          const call = calls++;
          if (call > step >> 1 || (call === step >> 1 && step % 2 === 0)) throw new Error('killed');
          const outcomes = await append(requests);
          if (call === step >> 1) throw new Error('killed');
          return outcomes;
        });
        await inProcess(killed)
          .change(ann, take(name), as)
          .catch((error: unknown) => expect(String(error)).toContain('killed'));
        const cold = inProcess();
        const has = (await cold.load(ann)).state.name;
        // Whichever of the two names it has now, the other one is free.
        await expect(cold.change(bob, take(has ?? ''), as)).rejects.toMatchObject(taken);
        await cold.change(bob, take(has === name ? other : name), as);
        for (const one of [name, other]) await holders(one);
      }
    });
  });
}
