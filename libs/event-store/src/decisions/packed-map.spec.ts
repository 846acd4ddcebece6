import { seededRandom } from '#lib/platform';
import { PackedMap, type Packing } from './packed-map.js';
import { decodeState, encodeState } from './snapshot-codec.js';

interface Reading {
  readonly at: number;
  readonly value: number | null;
}

const packing: Packing<Reading> = {
  width: 1,
  write: ({ at: key, value, ...more }, to, at) => {
    to[at] = value as number;
    return typeof key === 'number' && typeof value === 'number' && Object.keys(more).length === 0;
  },
  read: (key, from, at) => ({ at: key, value: from[at] as number }),
};

describe('PackedMap', () => {
  it('behaves as a Map does through thousands of random steps, also with values that numbers cannot represent', () => {
    const random = seededRandom(7);
    const map = new Map<number, Reading>();
    const packed = new PackedMap(packing);
    const odd = [null, NaN, -0, Infinity];
    for (let step = 0; step < 10_000; step++) {
      const key = Math.floor(random() * 200);
      if (random() < 0.7) {
        const value = random() < 0.2 ? (odd[step % odd.length] as number | null) : random();
        map.set(key, { at: key, value });
        packed.set(key, { at: key, value });
      } else {
        expect(packed.delete(key)).toBe(map.delete(key));
      }
      expect([packed.get(key), packed.has(key), packed.size]).toEqual([map.get(key), map.has(key), map.size]);
    }
    const inOrder = (entries: Iterable<[number, Reading]>) => [...entries].sort(([a], [b]) => a - b);
    expect(inOrder(packed.entries())).toEqual(inOrder(map));
    expect([...packed.values()]).toHaveLength(map.size);
    expect(inOrder(new PackedMap(packing, packed.entries()).entries())).toEqual(inOrder(map));
  });

  it('keeps values that the numbers cannot represent as they were given', () => {
    const odd = { at: 1, value: 2, unit: 'm' };
    const packed = new PackedMap<Reading>(packing, [[1, odd]]);
    expect(packed.get(1)).toBe(odd);
    packed.set(1, { at: 1, value: 3 });
    expect([packed.get(1), packed.size]).toEqual([{ at: 1, value: 3 }, 1]);
  });

  it('knows its approximate size, and reuses the space of deleted values', () => {
    const packed = new PackedMap(packing);
    const fill = () => {
      for (let at = 0; at < 1_000; at++) packed.set(at, { at, value: at });
      return packed.bytes;
    };
    const bytes = fill();
    expect(bytes).toBeGreaterThan(1_000 * 8);
    expect(bytes).toBeLessThan(1_000 * 100);
    for (let at = 0; at < 1_000; at++) packed.delete(at);
    expect(fill()).toBe(bytes);
  });

  it('is a plain map in a snapshot', () => {
    const packed = new PackedMap(packing, [[1, { at: 1, value: 2 }]]);
    expect(decodeState(encodeState({ packed }))).toEqual({ packed: new Map([[1, { at: 1, value: 2 }]]) });
  });
});
