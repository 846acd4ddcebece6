import { mapInTurns, nextTurn } from './turns.js';

describe('work in turns', () => {
  it('is done in order', async () => {
    const items = Array.from({ length: 1_000 }, (_, i) => i);
    expect(await mapInTurns(items, (n) => n * 2)).toEqual(items.map((n) => n * 2));
    expect(await mapInTurns([], String)).toEqual([]);
  });

  it('lets other work run as soon as one piece has taken longer than a turn', async () => {
    const order: string[] = [];
    setImmediate(() => order.push('another'));
    await mapInTurns(['a', 'b'], (item) => {
      for (const began = performance.now(); performance.now() - began < 20;);
      order.push(item);
    });
    expect(order).toEqual(['a', 'another', 'b']);
  });

  it('lets other work run between any two pieces, however many tasks there are', async () => {
    const order: string[] = [];
    let next = setImmediate(function another() {
      order.push('another');
      next = setImmediate(another);
    });
    const long = async (name: string) => {
      for (let n = 0; n < 3; n++) {
        await nextTurn();
        order.push(name);
      }
    };
    await Promise.all(['a', 'b', 'c'].map(long));
    clearImmediate(next);
    expect(order.filter((name) => name !== 'another')).toEqual([...'abcabcabc']);
    order.forEach((name, i) => expect(name === 'another' || order[i - 1] === 'another').toBe(true));
  });

  it('continues first with ending work, and now and then with the rest', async () => {
    const order: string[] = [];
    const long = async (name: string, isEnding: boolean) => {
      for (let n = 0; n < 8; n++) {
        await nextTurn(isEnding);
        order.push(name);
      }
    };
    await Promise.all([long('reads', false), long('writes', true)]);
    const before = order.slice(0, order.lastIndexOf('writes'));
    expect(before.filter((name) => name === 'reads').length).toBeGreaterThanOrEqual(1);
    expect(before.filter((name) => name === 'reads').length).toBeLessThanOrEqual(3);
  });
});
