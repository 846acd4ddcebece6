import { observed as observedQuery, waiting } from './observing.js';
import type { ReadOptions } from './read-options.js';

class GetSomething {
  constructor(readonly options: ReadOptions = {}) {}
}

describe('the time of a query', () => {
  let now = 0;
  beforeEach(() => {
    now = 0;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => jest.restoreAllMocks());

  /** Queries that wait for five seconds, with the given result, and then work for ten milliseconds. */
  function observed(wait: () => Promise<void> = () => Promise.resolve()) {
    const told: [string, string, number][] = [];
    const execute = (query: GetSomething) =>
      observedQuery(
        query,
        (name, outcome, seconds) => told.push([name, outcome, seconds]),
        async () => {
          await waiting(query.options, async () => {
            now += 5_000;
            await wait();
          });
          now += 10;
          return 'answer';
        },
      );
    return { execute, told };
  }

  it('does not include the wait for its minimum position', async () => {
    const { execute, told } = observed();
    await expect(execute(new GetSomething({ minPosition: '1' }))).resolves.toBe('answer');
    expect(told).toEqual([['GetSomething', 'done', 0.01]]);
  });

  it('is separate for each query, also when a caller passes the same options to several', async () => {
    const { execute, told } = observed();
    const options = { minPosition: '1' };
    for (let n = 0; n < 3; n++) await execute(new GetSomething(options));
    expect(told.map(([, , seconds]) => seconds)).toEqual([0.01, 0.01, 0.01]);
  });

  it('is close to zero when it waited in vain', async () => {
    const { execute, told } = observed(() => Promise.reject(new Error('behind')));
    await expect(execute(new GetSomething({ minPosition: '1' }))).rejects.toThrow('behind');
    expect(told).toEqual([['GetSomething', 'failed', 0]]);
  });
});
