import { seededRandom } from '#lib/platform';
import { LayeredMap } from './layered-map.js';

describe('LayeredMap', () => {
  it('behaves as a copy of its base would, through thousands of random steps, and leaves the base unchanged', () => {
    const random = seededRandom(42);
    const base = new Map<number, string>(Array.from({ length: 20 }, (_, n) => [n, `base ${n}`]));
    const before = [...base];
    const copy = new Map(base);
    const layered = new LayeredMap(new LayeredMap(base));
    for (let step = 0; step < 5_000; step++) {
      const key = Math.floor(random() * 40);
      if (random() < 0.5) {
        copy.set(key, `step ${step}`);
        layered.set(key, `step ${step}`);
      } else {
        expect(layered.delete(key)).toBe(copy.delete(key));
      }
      expect([layered.get(key), layered.has(key), layered.size]).toEqual([
        copy.get(key),
        copy.has(key),
        copy.size,
      ]);
    }
    expect([...layered.entries()].sort(([a], [b]) => a - b)).toEqual([...copy].sort(([a], [b]) => a - b));
    expect([...layered.values()].sort()).toEqual([...copy.values()].sort());
    expect([...base]).toEqual(before);
  });
});
