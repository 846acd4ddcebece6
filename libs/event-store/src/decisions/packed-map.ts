import type { StateMap } from './layered-map.js';

/** How a value is stored as a fixed count of numbers, and restored from them and its key. */
export interface Packing<V> {
  /** How many numbers a value needs. */
  readonly width: number;
  /** Writes the value from `at` on. False if `read` would not return the same: the value is then kept as it is. */
  readonly write: (value: V, to: Float64Array, at: number) => boolean;
  readonly read: (key: number, from: Float64Array, at: number) => V;
}

/**
 * The memory that a Map of V8 uses for a key, a small whole number and its hash chain. Its capacity is a power of two.
 */
const KEY_BYTES = 28;
/** The approximate memory of a value that is kept as it is. */
const LOOSE_BYTES = 400;
const FIRST_ROWS = 8;

const roomFor = (keys: number): number => (keys === 0 ? 0 : 2 ** Math.ceil(Math.log2(keys)));

/**
 * A map of many small values of one shape, for states that hold thousands of them: a value is a row of numbers in one
 * array, a third of the memory of an object, and nothing for the garbage collector to walk through. Values that do not
 * fit numbers are kept as they are. Every `get` creates a new value.
 */
export class PackedMap<V> implements StateMap<number, V> {
  readonly #packing: Packing<V>;
  readonly #rows = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #loose = new Map<number, V>();
  #numbers = new Float64Array(0);

  constructor(packing: Packing<V>, entries: Iterable<[number, V]> = []) {
    this.#packing = packing;
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#rows.size + this.#loose.size;
  }

  /** Its approximate memory. */
  get bytes(): number {
    return this.#numbers.byteLength + KEY_BYTES * roomFor(this.#rows.size) + this.#loose.size * LOOSE_BYTES;
  }

  get(key: number): V | undefined {
    const row = this.#rows.get(key);
    return row === undefined ? this.#loose.get(key) : this.#read(key, row);
  }

  has(key: number): boolean {
    return this.#rows.has(key) || this.#loose.has(key);
  }

  set(key: number, value: V): this {
    const row = this.#rows.get(key) ?? this.#free.pop() ?? this.#rows.size;
    if (this.#pack(value, row)) {
      this.#rows.set(key, row);
      this.#loose.delete(key);
    } else {
      this.#rows.delete(key);
      this.#free.push(row);
      this.#loose.set(key, value);
    }
    return this;
  }

  delete(key: number): boolean {
    const row = this.#rows.get(key);
    if (row === undefined) return this.#loose.delete(key);
    this.#free.push(row);
    return this.#rows.delete(key);
  }

  *entries(): Iterable<[number, V]> {
    for (const [key, row] of this.#rows) yield [key, this.#read(key, row)];
    yield* this.#loose;
  }

  *values(): Iterable<V> {
    for (const [, value] of this.entries()) yield value;
  }

  /** How many numbers a value needs. */
  get width(): number {
    return this.#packing.width;
  }

  /** Another map of the same kind. */
  filledWith(entries: Iterable<[number, V]>): PackedMap<V> {
    return new PackedMap(this.#packing, entries);
  }

  /** As snapshots store it: a plain map. */
  toJSON(): Map<number, V> {
    return new Map(this.entries());
  }

  #read(key: number, row: number): V {
    return this.#packing.read(key, this.#numbers, row * this.#packing.width);
  }

  /** True if the row holds the whole value. */
  #pack(value: V, row: number): boolean {
    const { width, write } = this.#packing;
    const at = row * width;
    if (at + width > this.#numbers.length) {
      const more = new Float64Array(Math.max(FIRST_ROWS, Math.ceil(row * 1.5)) * width);
      more.set(this.#numbers);
      this.#numbers = more;
    }
    try {
      return write(value, this.#numbers, at);
    } catch {
      // The value does not have the expected shape. The event has happened all the same, and a fold never fails.
      return false;
    }
  }
}
