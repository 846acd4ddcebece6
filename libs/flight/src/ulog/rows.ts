/**
 * The messages of one instance of one topic, as columns of numbers: a row per message, 8 bytes per field. A log of
 * hundreds of megabytes thus costs a few megabytes, because only the fields that the import uses are kept.
 */
export class Rows {
  #length = 0;
  #times = new Float64Array(64);
  readonly #columns = new Map<string, { readonly type: string; values: Float64Array }>();

  /** `types` names the fields that this log has, with their ULog types; which ones those are differs by PX4 version. */
  constructor(
    readonly topic: string,
    readonly instance: number,
    types: ReadonlyMap<string, string>,
  ) {
    for (const [field, type] of types) this.#columns.set(field, { type, values: new Float64Array(64) });
  }

  get length(): number {
    return this.#length;
  }

  /** Numbers kept per row. */
  get width(): number {
    return this.#columns.size + 1;
  }

  get fields(): readonly string[] {
    return [...this.#columns.keys()];
  }

  has(field: string): boolean {
    return this.#columns.has(field);
  }

  /** The ULog type of a field (`int32_t`, `double`, ...): it tells scaled integers from degrees. */
  typeOf(field: string): string | undefined {
    return this.#columns.get(field)?.type;
  }

  /** Appends a row. `time` is in microseconds since boot. */
  push(time: number, valueOf: (field: string) => number): void {
    if (this.#length === this.#times.length) this.#grow();
    this.#times[this.#length] = time;
    for (const [field, column] of this.#columns) column.values[this.#length] = valueOf(field);
    this.#length += 1;
  }

  /** Microseconds since boot, by row. A view: do not keep it over a push. */
  get times(): Float64Array {
    return this.#times.subarray(0, this.#length);
  }

  /** The value of a field in a row (booleans are 0 and 1), or NaN where the log does not have the field. */
  at(field: string, row: number): number {
    return this.#columns.get(field)?.values[row] ?? NaN;
  }

  /** The time of a row, microseconds since boot. */
  timeAt(row: number): number {
    return row < this.#length ? (this.#times[row] ?? NaN) : NaN;
  }

  #grow(): void {
    const size = this.#times.length * 2;
    this.#times = grown(this.#times, size);
    for (const column of this.#columns.values()) column.values = grown(column.values, size);
  }
}

function grown(values: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(size);
  larger.set(values);
  return larger;
}
