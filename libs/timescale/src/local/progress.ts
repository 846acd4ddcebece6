/** Receives one line about the progress, without a line end. */
export type Progress = (line: string) => void;

/** Says that a step begins, runs it, and says how long it took. */
export async function step<T>(progress: Progress, what: string, work: () => Promise<T>): Promise<T> {
  const since = performance.now();
  progress(`[db] ${what} ...`);
  const result = await work();
  progress(`[db] ${what}: done in ${seconds(performance.now() - since)}`);
  return result;
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

export const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
