import type { AppendOutcome, AppendRequest } from '../event-store.js';
import { numbered } from '../testing/event-store.contract.js';
import { GroupCommit } from './group-commit.js';

describe('GroupCommit', () => {
  /** Flushes that are answered when the test says so. */
  const controlled = (options = { maxInFlight: 2, maxEvents: 10 }) => {
    const flushes: { streams: string[]; answer: () => void }[] = [];
    const group = new GroupCommit(
      (requests) =>
        new Promise((resolve) =>
          flushes.push({
            streams: requests.map(({ streamId }) => streamId),
            answer: () =>
              resolve(requests.map((): AppendOutcome => ({ accepted: false, currentRevision: 0 }))),
          }),
        ),
      options,
    );
    const turn = () => new Promise(setImmediate);
    return { group, flushes, turn };
  };
  const to = (streamId: string, events = 1): AppendRequest => ({
    streamId,
    expectedRevision: 'any',
    events: Array.from({ length: events }, (_, n) => numbered(n)),
  });

  it('sends a single append at once, and later ones together', async () => {
    const { group, flushes, turn } = controlled({ maxInFlight: 1, maxEvents: 10 });
    const all = [group.add(to('a'))];
    await turn();
    all.push(...['b', 'c', 'd'].map((stream) => group.add(to(stream))));
    await turn();
    expect(flushes.map(({ streams }) => streams)).toEqual([['a']]);
    flushes[0]?.answer();
    await turn();
    expect(flushes.map(({ streams }) => streams)).toEqual([['a'], ['b', 'c', 'd']]);
    flushes[1]?.answer();
    await Promise.all(all);
    await group.settled();
  });

  it('sends many requests in two halves when nothing is in progress, so that one is written while the other is decided', async () => {
    const { group, flushes, turn } = controlled({ maxInFlight: 2, maxEvents: 1_000 });
    const streams = Array.from({ length: 17 }, (_, n) => `s${n}`);
    const all = streams.map((stream) => group.add(to(stream)));
    await turn();
    expect(flushes.map((flush) => flush.streams)).toEqual([streams.slice(0, 9), streams.slice(9)]);
    all.push(...streams.map((stream) => group.add(to(stream))));
    flushes[0]?.answer();
    await turn();
    await turn();
    // The other half is still in progress: everything that can be sent is.
    expect(flushes[2]?.streams).toEqual(streams.slice(0, 9));
    for (let n = 1; n < 4; n++) {
      flushes[n]?.answer();
      await turn();
      await turn();
    }
    await Promise.all(all);
  });

  it('never has two requests of one stream in progress, so that they arrive in order', async () => {
    const { group, flushes, turn } = controlled();
    const all = [group.add(to('a')), group.add(to('a')), group.add(to('b')), group.add(to('a'))];
    await turn();
    expect(flushes.map(({ streams }) => streams)).toEqual([['a', 'b']]);
    flushes[0]?.answer();
    await turn();
    await turn();
    expect(flushes.map(({ streams }) => streams)).toEqual([['a', 'b'], ['a']]);
    flushes[1]?.answer();
    await turn();
    await turn();
    flushes[2]?.answer();
    await Promise.all(all);
    expect(flushes).toHaveLength(3);
  });

  it('keeps to its limit of events, except for one request that is larger', async () => {
    const { group, flushes, turn } = controlled({ maxInFlight: 9, maxEvents: 10 });
    const all = [group.add(to('a', 6)), group.add(to('b', 6)), group.add(to('c', 50))];
    await turn();
    expect(flushes.map(({ streams }) => streams)).toEqual([['a'], ['b'], ['c']]);
    for (const { answer } of flushes) answer();
    await Promise.all(all);
  });
});
