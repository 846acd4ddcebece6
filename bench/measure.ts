/** A figure of a benchmark: what was measured, in which unit, in each round. */
export interface Figure {
  readonly name: string;
  readonly unit: '/s' | 'ms' | 'MiB' | 'x' | '%' | 'bytes' | 'events';
  readonly rounds: readonly number[];
  /** The target, if there is one. */
  readonly target?: Target;
}

export type Target = { readonly atLeast: number } | { readonly atMost: number };

export const isMet = ({ rounds, target }: Figure): boolean | undefined =>
  target && ('atLeast' in target ? median(rounds) >= target.atLeast : median(rounds) <= target.atMost);

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Runs `callers` loops side by side for `seconds`; returns operations per second. A failed operation fails the run. */
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

/** The duration of `work`, in seconds. */
export async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1_000;
}

/**
 * Measures several systems in turn, round after round, so that drift of the machine affects all of them. Returns the
 * figures of each by its name.
 */
export async function inTurn(
  rounds: number,
  systems: Readonly<Record<string, (round: number) => Promise<number>>>,
  say: (line: string) => void,
): Promise<Record<string, number[]>> {
  const figures: Record<string, number[]> = Object.fromEntries(
    Object.keys(systems).map((name) => [name, []]),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [name, measure] of Object.entries(systems)) {
      const value = await measure(round);
      figures[name]?.push(value);
      say(`round ${round + 1}, ${name}: ${readable(value)}`);
    }
  }
  return figures;
}

/** One system's figures over another's, round by round. */
export const ratios = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.map((value, round) => value / (theirs[round] ?? NaN));

export function readable(value: number): string {
  return Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}
