import { AccessDeniedError, MaxAppendSizeExceededError, StreamDeletedError } from '@eventstore/db-client';
import { conflict, messageOf, retry, unavailable, WaylogError } from '#lib/platform';

/** gRPC's codes for what may be gone a moment later, whether or not the call took effect. */
const transientCodes: ReadonlySet<unknown> = new Set([
  1, // CANCELLED: the server is going down
  2, // UNKNOWN: "Server Is Busy" on some ways, no leader known
  4, // DEADLINE_EXCEEDED
  8, // RESOURCE_EXHAUSTED
  10, // ABORTED: the server's own time limit
  13, // INTERNAL: a connection that broke in the middle of a message
  14, // UNAVAILABLE
]);

// The client throws these as plain errors.
const transientText = /^Failed to discover after|Channel has been shut down|Channel closed/;

/** No answer within the time that we allow: reads of the client have no limit of their own. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';

  constructor(milliseconds: number) {
    super(`no answer for ${milliseconds} ms`);
  }
}

/**
 * Gives up on a call that has its own time limit, but counts it only from when it is connected: looking for a node of a silent
 * cluster takes the client minutes. What comes later is of no interest, and may even take effect: only for what may be
 * repeated.
 */
export function within<T>(milliseconds: number, call: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new NoAnswer(milliseconds)), milliseconds);
    call.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** True for failures that may be gone a moment later. A refusal because another node leads is one: the client follows it. */
export function isTransient(error: unknown): boolean {
  if (error instanceof NoAnswer) return true;
  if (!(error instanceof Error) || error instanceof WaylogError) return false;
  if ('type' in error && error.type === 'not-leader') return true;
  if ('type' in error && typeof error.type === 'string' && meaningful.has(error.type)) return false;
  return ('code' in error && transientCodes.has(error.code)) || transientText.test(error.message);
}

/** The server has understood and says no, whatever the code it says it with. */
const meaningful: ReadonlySet<string> = new Set([
  'access-denied',
  'stream-deleted',
  'wrong-expected-version',
  'maximum-append-size-exceeded',
  'stream-not-found',
]);

/**
 * Three attempts with backoff for a call that is harmless when repeated: a read, or an append with fixed ids and a fixed
 * expected revision. As for PostgreSQL, `database.unavailable` then says that the outcome is not known.
 */
export async function logCall<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await retry(operation, { attempts: 3, baseDelayMs: 100, maxDelayMs: 1_000, retryIf: isTransient });
  } catch (error) {
    throw explained(error);
  }
}

/** What Waylog says for an error of the client. */
export function explained(error: unknown): unknown {
  if (isTransient(error)) {
    return unavailable(
      'database.unavailable',
      `EventStoreDB did not answer after three attempts (${messageOf(error)}). Try again in a moment; a command ` +
        `that may have been recorded is safe to send again with the same command id.`,
      {},
      error,
    );
  }
  if (error instanceof AccessDeniedError) {
    return unavailable(
      'log.access-denied',
      `EventStoreDB refused the user of the connection string (${error.message}). Nothing was recorded. Waylog's user ` +
        `must be allowed to read $all and to write streams.`,
      {},
      error,
    );
  }
  if (error instanceof StreamDeletedError) {
    return conflict(
      'log.stream-tombstoned',
      `Stream ${error.streamName} was hard-deleted in EventStoreDB and can never be used again. Nothing was recorded.`,
      { streamId: error.streamName },
    );
  }
  if (error instanceof MaxAppendSizeExceededError) {
    return new WaylogError(
      'append.too-large',
      'invalid',
      `The events of one append are larger than EventStoreDB takes (${error.maxAppendSize} bytes). Nothing was recorded. ` +
        `Send less at once, or raise the server's MaxAppendSize (at most 16 MB).`,
      { maxAppendSize: error.maxAppendSize },
      { cause: error },
    );
  }
  return error;
}
