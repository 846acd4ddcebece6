/** The part of Map that a state can use; a plain Map has it all. */
export interface StateMap<K, V> {
  readonly size: number;
  get(key: K): V | undefined;
  has(key: K): boolean;
  set(key: K, value: V): unknown;
  delete(key: K): boolean;
  entries(): Iterable<[K, V]>;
  values(): Iterable<V>;
}

/** A map over another one: reads fall through to the base, writes stay here. Making one costs nothing. */
export class LayeredMap<K, V> implements StateMap<K, V> {
  readonly #written = new Map<K, V>();
  readonly #removed = new Set<K>();

  constructor(private readonly base: StateMap<K, V>) {}

  get size(): number {
    let removed = 0;
    for (const key of this.#removed) if (this.base.has(key)) removed++;
    let added = 0;
    for (const key of this.#written.keys()) if (!this.base.has(key)) added++;
    return this.base.size - removed + added;
  }

  get(key: K): V | undefined {
    return this.#written.get(key) ?? (this.#removed.has(key) ? undefined : this.base.get(key));
  }

  has(key: K): boolean {
    return this.#written.has(key) || (!this.#removed.has(key) && this.base.has(key));
  }

  set(key: K, value: V): this {
    this.#removed.delete(key);
    this.#written.set(key, value);
    return this;
  }

  delete(key: K): boolean {
    const had = this.has(key);
    this.#written.delete(key);
    this.#removed.add(key);
    return had;
  }

  *entries(): Iterable<[K, V]> {
    for (const entry of this.base.entries()) {
      if (!this.#written.has(entry[0]) && !this.#removed.has(entry[0])) yield entry;
    }
    yield* this.#written;
  }

  *values(): Iterable<V> {
    for (const [, value] of this.entries()) yield value;
  }
}
