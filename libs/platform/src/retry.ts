import { setTimeout as sleep } from 'node:timers/promises';

export interface RetryOptions {
  /** The total number of attempts. */
  readonly attempts: number;
  /** The wait after the first failure, in milliseconds; it doubles with each further one. */
  readonly baseDelayMs: number;
  readonly maxDelayMs?: number;
  readonly retryIf: (error: unknown) => boolean;
  readonly signal?: AbortSignal;
  readonly onRetry?: (error: unknown, attempt: number) => void;
}

/** The wait before the next attempt: exponential with full jitter, so that callers that failed together do not return together. */
export function backoffDelay(attempt: number, baseDelayMs: number, maxDelayMs = 30_000): number {
  const ceiling = Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

/**
 * Runs `operation` again after failures that `retryIf` calls transient. Only for operations that are harmless when done
 * twice: reads, and appends with fixed event ids. The last error is thrown unchanged.
 */
export async function retry<T>(operation: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      if (attempt >= options.attempts || !options.retryIf(error) || options.signal?.aborted) throw error;
      options.onRetry?.(error, attempt);
      await sleep(backoffDelay(attempt, options.baseDelayMs, options.maxDelayMs), undefined, {
        ...(options.signal && { signal: options.signal }),
      });
    }
  }
}
