import { LastMinute } from './statistics.js';

describe('the last minute', () => {
  it('counts, averages, and forgets older values', () => {
    let now = 1_000_000;
    const minute = new LastMinute(() => now);
    expect(minute.get()).toEqual({ count: 0, failedShare: 0, mean: 0, max: 0 });
    minute.add(1);
    now += 20_000;
    minute.add(3, true);
    expect(minute.get()).toEqual({ count: 2, failedShare: 0.5, mean: 2, max: 3 });
    now += 45_000;
    expect(minute.get()).toEqual({ count: 1, failedShare: 1, mean: 3, max: 3 });
    now += 60_000;
    expect(minute.get().count).toBe(0);
  });
});
