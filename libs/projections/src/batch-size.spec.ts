import { BatchSize } from './batch-size.js';

describe('the size of a batch', () => {
  it('falls quickly to one event, and doubles again while batches are fast', () => {
    const size = new BatchSize(2_000);
    const sizes = [];
    while (size.now > 1) {
      size.wasTooMuch(size.now);
      sizes.push(size.now);
    }
    expect(sizes).toEqual([500, 125, 32, 8, 2, 1]);
    size.wasTooMuch(1);
    expect(size.now).toBe(1);
    size.wentWell(10_000);
    expect(size.now).toBe(1);
    for (let n = 0; n < 12; n++) size.wentWell(10);
    expect(size.now).toBe(2_000);
  });
});
