import { deciderOf } from './declared-state.js';
import { PackedMap } from './packed-map.js';
import { decodeState, encodeState } from './snapshot-codec.js';

interface Purse {
  owner: string | undefined;
  coins: Map<string, number> | PackedMap<number>;
  readings: PackedMap<number>;
  days: readonly string[];
}
const packing = {
  width: 1,
  write: (value: number, to: Float64Array, at: number) => {
    to[at] = value;
    return true;
  },
  read: (_key: number, from: Float64Array, at: number) => from[at] as number,
};
type Put = { readonly type: 'Put'; readonly data: { readonly n: number } };
const empty = (): Purse => ({
  owner: undefined,
  coins: new Map(),
  readings: new PackedMap(packing),
  days: [],
});
const declared = {
  initialState: empty,
  evolve: (purse: Purse, { data: { n } }: Put) => {
    (purse.coins as Map<string, number>).set(`c${n}`, n);
    purse.readings.set(n, n);
    purse.days = [...purse.days, String(n)];
    return purse;
  },
  version: 1,
};
const put = (n: number): Put => ({ type: 'Put', data: { n } });

describe('the decider of a declared state', () => {
  const decider = deciderOf<Purse, Put>(declared);
  const filled = () => [1, 2, 3].reduce((state, n) => decider.evolve(state, put(n)), decider.initialState());

  it('tries events on a copy, which leaves the original as it is', () => {
    const state = filled();
    const before = encodeState(state);
    const copy = decider.evolve(decider.fork(decider.fork(state)), put(4));
    expect(copy.coins.size).toBe(4);
    expect(copy.readings.get(4)).toBe(4);
    expect(copy.days).toEqual(['1', '2', '3', '4']);
    expect(encodeState(state)).toBe(before);
  });

  it('comes back from a snapshot with its packed maps', () => {
    const restored = decider.revive?.(decodeState(encodeState(filled())) as Purse) as Purse;
    expect(restored.readings).toBeInstanceOf(PackedMap);
    expect(restored.coins).toBeInstanceOf(Map);
    expect(encodeState(restored)).toBe(encodeState(filled()));
  });

  it('is measured by its maps and lists', () => {
    const state = filled();
    expect(decider.sizeOf(state)).toBe(3 * 400 + state.readings.bytes + 3 * 40);
    const measured = deciderOf<Purse, Put>({ ...declared, bytes: { coins: 10, days: 1 } });
    expect(measured.sizeOf(state)).toBe(3 * 10 + state.readings.bytes + 3);
  });

  it('has another version for another fold, another field, and another kind of one', () => {
    const versions = [
      declared,
      { ...declared, version: 2 },
      { ...declared, initialState: () => ({ ...empty(), more: 0 }) },
      { ...declared, initialState: () => ({ ...empty(), coins: new PackedMap(packing) }) },
      { ...declared, initialState: () => ({ ...empty(), days: '' as unknown as string[] }) },
    ].map((one) => deciderOf<Purse, Put>(one).version);
    expect(new Set(versions).size).toBe(versions.length);
    for (const version of versions) expect(version).toBeLessThan(2 ** 31);
    expect(deciderOf<Purse, Put>(declared).version).toBe(versions[0]);
  });
});
