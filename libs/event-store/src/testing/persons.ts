import { conflict } from '#lib/platform';
import { claimsOfEvent, type Claim } from '../decisions/claims.js';
import type { Decider, WholeDecision } from '../decisions/decider.js';
import type { EventStore, RecordedEvent } from '../event-store.js';

// Persons with names that no two have.

export type PersonEvent = { readonly type: 'Named' | 'Erased'; readonly data: { readonly name: string } };
export interface Person {
  readonly name: string | undefined;
}

export const person: Decider<Person, PersonEvent> = {
  version: 1,
  initialState: () => ({ name: undefined }),
  evolve: (_, { type, data }) => ({ name: type === 'Named' ? data.name : undefined }),
  fork: (state) => state,
  sizeOf: () => 100,
};

export const claimOf = (name: string, isForEver = false): Claim => ({
  streamId: `claim-person.name-${name}`,
  isForEver,
  refusal: () => conflict('name.taken', 'There is another one of this name.'),
});

/** Takes a name, and gives the one before back. */
export const take =
  (name: string, isForEver = false) =>
  (before: Person): WholeDecision<PersonEvent> =>
    before.name === name
      ? { events: [] }
      : {
          events: [{ type: 'Named', data: { name } }],
          takes: [claimOf(name, isForEver)],
          releases: before.name === undefined ? [] : [claimOf(before.name)],
        };

export const erase = ({ name }: Person): WholeDecision<PersonEvent> =>
  name === undefined ? { events: [] } : { events: [{ type: 'Erased', data: { name: '' } }], releases: 'all' };

/** All events of a category, in the order of the log. */
export async function eventsOfCategory(store: EventStore, category: string): Promise<RecordedEvent[]> {
  const all: RecordedEvent[] = [];
  for (let after = store.beginning; ;) {
    const page = await store.readAll({ after, limit: 1_000, categories: [category] });
    all.push(...page);
    const last = page.at(-1);
    if (!last || page.length < 1_000) return all;
    after = last.position;
  }
}

/**
 * Who held a name, one after another, as the events of the holders alone say. Throws if two did at a time, or somebody gave
 * back what was not his.
 */
export function holdersOf(name: string, events: readonly RecordedEvent[]): (string | undefined)[] {
  const claim = claimOf(name).streamId;
  const holders: (string | undefined)[] = [];
  let holder: string | undefined;
  for (const { streamId, position, ...event } of events) {
    const claims = claimsOfEvent(event);
    if (claims?.released?.includes(claim)) {
      if (holder !== streamId)
        throw new Error(`${streamId} gave ${name} back at ${position}, which ${holder ?? 'nobody'} held.`);
      holders.push((holder = undefined));
    }
    if (claims?.taken?.[claim] === undefined) continue;
    if (holder !== undefined)
      throw new Error(`${streamId} took ${name} at ${position}, which ${holder} held.`);
    holders.push((holder = streamId));
  }
  return holders;
}
