import { TokenBuckets } from './token-bucket.js';

describe('TokenBuckets', () => {
  let now = 0;
  beforeEach(() => (now = 0));
  const takeAll = (buckets: TokenBuckets, caller = 'a') => {
    let taken = 0;
    while (buckets.take(caller)) taken++;
    return taken;
  };

  it('let a burst of one second through, and then as many as they fill up with', () => {
    const buckets = new TokenBuckets(10, 0, () => now);
    expect(takeAll(buckets)).toBe(10);
    now = 250;
    expect(takeAll(buckets)).toBe(2);
    now = 60_000;
    expect(takeAll(buckets)).toBe(10);
  });

  it('are one for each caller', () => {
    const buckets = new TokenBuckets(3, 0, () => now);
    expect([takeAll(buckets, 'a'), takeAll(buckets, 'b'), takeAll(buckets, 'a')]).toEqual([3, 3, 0]);
  });

  it('make a caller pay back what was charged, up to a limit', () => {
    const buckets = new TokenBuckets(10, 20, () => now);
    for (let n = 0; n < 1_000; n++) buckets.charge('a');
    expect(buckets.has('a')).toBe(false);
    expect(buckets.secondsToWait('a')).toBe(3);
    now = 2_000;
    expect(buckets.has('a')).toBe(false);
    now = 2_100;
    expect(buckets.has('a')).toBe(true);
  });
});
