/** A figure of a benchmark: what was measured, in which unit, in each round. */
export interface Figure {
  readonly name: string;
  readonly unit: '/s' | 'ms p50' | 'ms p99';
  readonly rounds: readonly number[];
  /** What the issue or the reference contract asks for, as text. */
  readonly wanted?: string;
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Runs `callers` loops side by side for `seconds`; answers operations a second. A failed operation fails the run. */
export async function rate(
  callers: number,
  seconds: number,
  operation: (caller: number, n: number) => Promise<unknown>,
): Promise<number> {
  const began = performance.now();
  const end = began + seconds * 1_000;
  let done = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let n = 0; performance.now() < end; n++) {
        await operation(caller, n);
        done++;
      }
    }),
  );
  return done / ((performance.now() - began) / 1_000);
}

/** The time of each of `count` operations, one after another, in milliseconds. */
export async function latencies(
  count: number,
  operation: (n: number) => Promise<unknown>,
): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < count; n++) {
    const began = performance.now();
    await operation(n);
    times.push(performance.now() - began);
  }
  return times;
}
