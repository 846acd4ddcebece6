import { createHash } from 'node:crypto';
import { millisecondsOf, type Timestamp } from '#lib/platform';

/** How long a worker holds a task without saying anything, by default, and at most. SQS has the same. */
export const DEFAULT_LEASE_SECONDS = 30;
export const MAX_LEASE_SECONDS = 12 * 3_600;

/** A lease is extended in the log when less than this share of it is left: most heartbeats record nothing. */
const EXTEND_BELOW = 2 / 3;

/** Progress of one task is recorded at most so often. */
const PROGRESS_EVERY_MS = 1_000;

const FIRST_RETRY_SECONDS = 5;
const MAX_RETRY_SECONDS = 600;

export const after = (time: Timestamp, seconds: number): Timestamp =>
  new Date(millisecondsOf(time) + seconds * 1_000).toISOString();

const secondsBetween = (from: Timestamp, to: Timestamp): number =>
  (millisecondsOf(to) - millisecondsOf(from)) / 1_000;

/** Whether the log must know that a lease is to last longer. */
export const isToExtend = (leaseUntil: Timestamp, now: Timestamp, leaseSeconds: number): boolean =>
  secondsBetween(now, leaseUntil) < leaseSeconds * EXTEND_BELOW;

/** Whether enough time has gone by since the last report that was recorded. */
export const isTimeToReport = (lastAt: Timestamp, now: Timestamp): boolean =>
  secondsBetween(lastAt, now) * 1_000 >= PROGRESS_EVERY_MS;

/**
 * When a task is tried again after its nth failure: twice as long after each, up to ten minutes, less up to a half of
 * it, so that tasks that failed together do not come back together. The share is taken from the ids and not from a die:
 * a decision is made again when another process was faster, and a log is decided on anew in tests.
 */
export function retryAt(now: Timestamp, failures: number, taskId: string): Timestamp {
  const seconds = Math.min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (failures - 1));
  const share = createHash('sha256').update(`${taskId} ${failures}`).digest().readUInt32BE() / 2 ** 32;
  return after(now, seconds * (1 - share / 2));
}
