import { mapInTurns } from './turns.js';

describe('work in turns', () => {
  it('is done in its order', async () => {
    const items = Array.from({ length: 1_000 }, (_, i) => i);
    expect(await mapInTurns(items, (n) => n * 2)).toEqual(items.map((n) => n * 2));
    expect(await mapInTurns([], String)).toEqual([]);
  });

  it('lets others go on as soon as one has taken longer than a turn', async () => {
    const order: string[] = [];
    setImmediate(() => order.push('another'));
    await mapInTurns(['a', 'b'], (item) => {
      for (const began = performance.now(); performance.now() - began < 20;);
      order.push(item);
    });
    expect(order).toEqual(['a', 'another', 'b']);
  });
});
