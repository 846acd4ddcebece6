import { AccessDeniedError, MaxAppendSizeExceededError, StreamDeletedError } from '@eventstore/db-client';
import { conflict, messageOf, unavailable, WaylogError } from '#lib/platform';

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

const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;

// The client throws these as plain errors.
const transientText = /Channel has been shut down|Channel closed|Connection dropped/;

/** No answer within the time that we allow: reads of the client have no limit of their own. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';

  constructor(milliseconds: number) {
    super(`no answer for ${milliseconds} ms`);
  }
}

/** No node says who leads. `reasons` are what each of them said instead. */
export class NoLeader extends Error {
  override readonly name = 'NoLeader';

  constructor(reasons: string) {
    super(`no leader was found: ${reasons}`);
  }
}

/** Events are in the log that a subscription did not bring: its node is cut off from the others, or leads no more. */
export class Standstill extends Error {
  override readonly name = 'Standstill';

  constructor(position: string) {
    super(`it stands still, although the log has an event at ${position}`);
  }
}

/** One event of an append is larger than the server takes (its MaxAppendEventSize), however few they are. */
export class EventTooLarge extends Error {
  override readonly name = 'EventTooLarge';
}

/** The server cannot make anything of a request, and recorded nothing. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

/** What the server says where no event begins at a position: a read the one, a subscription the other. */
export const isNoPosition = (error: unknown): boolean =>
  /InvalidPosition|read from an invalid position/.test(messageOf(error));

/** True for failures that may be gone a moment later. A refusal because another node leads is one. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof WaylogError || refusalOf(error)) return false;
  if (error instanceof NoAnswer || error instanceof NoLeader || error instanceof Standstill) return true;
  if ('type' in error && error.type === 'not-leader') return true;
  if (isMeaningful(error)) return false;
  return ('code' in error && transientCodes.has(error.code)) || transientText.test(error.message);
}

/** The server has too much to do: no reason to look for another one. */
export const isBusy = (error: unknown): boolean => /Server Is Busy/i.test(messageOf(error));

/** The server has understood and says no, whatever the code it says it with. */
const meaningful: ReadonlySet<string> = new Set([
  'stream-deleted',
  'wrong-expected-version',
  'maximum-append-size-exceeded',
  'stream-not-found',
]);

const isMeaningful = (error: Error): boolean =>
  'type' in error && typeof error.type === 'string' && meaningful.has(error.type);

/** What the server, or the way to it, will say no to as often as it is asked; and what Waylog says then. */
function refusalOf(error: Error): WaylogError | undefined {
  const code = 'code' in error ? error.code : undefined;
  const text = error.message;
  if (error instanceof AccessDeniedError || code === PERMISSION_DENIED) {
    return unavailable(
      'log.access-denied',
      `EventStoreDB refused the user of the connection string (${text}). Nothing was recorded. Waylog's user ` +
        `must be allowed to read $all and to write streams: see docs/how-to/run-on-eventstoredb.md.`,
      {},
      error,
    );
  }
  // The codes for these are those of a server that is not there.
  if (/certificate|self.signed|altnames|CERT_/i.test(text)) {
    return unavailable(
      'log.certificate',
      `The certificate of EventStoreDB is not trusted (${text}). Nothing was recorded. Name the authority that has signed ` +
        `it in the connection string (tlsCAFile=...), and the node as its certificate does.`,
      {},
      error,
    );
  }
  if (/wrong version number|SSL routines|packet length too long|EPROTO/i.test(text)) {
    return unavailable(
      'log.no-tls',
      `EventStoreDB does not speak TLS there (${text}). Nothing was recorded. See whether the port is right, or say tls=false in ` +
        `the connection string where that is meant.`,
      {},
      error,
    );
  }
  if (isEventTooLarge(error, code)) {
    return new WaylogError(
      'append.too-large',
      'invalid',
      `One event of the append is larger than EventStoreDB takes (${text}). Nothing was recorded. Send a smaller one, or raise the ` +
        `server's MaxAppendEventSize.`,
      {},
      { cause: error },
    );
  }
  if (isNoPosition(error)) {
    return new WaylogError(
      'position.invalid',
      'invalid',
      `No event of this log is at that position (EventStoreDB: ${text}). Use one that an answer or an event has given.`,
      {},
      { cause: error },
    );
  }
  // Last: a position that is none has the same code.
  if (error instanceof BadRequest || (code === INVALID_ARGUMENT && !isMeaningful(error))) {
    return new WaylogError(
      'log.bad-request',
      'invalid',
      `EventStoreDB cannot make anything of the request (${text}). Nothing was recorded, and sending it again does not help.`,
      {},
      { cause: error },
    );
  }
  return undefined;
}

/** Over a call of its own, an append that the server's limit for a message refuses has the code of a server without memory. */
const isEventTooLarge = (error: Error, code: unknown): boolean =>
  error instanceof EventTooLarge ||
  (code === INVALID_ARGUMENT && /Maximum Append Event Size/i.test(error.message)) ||
  (code === RESOURCE_EXHAUSTED &&
    /exceeds the maximum configured message size|message larger than max/i.test(error.message));

/** What Waylog says for an error of the client, after a call that might take `deadlineMs` in all. */
export function explained(error: unknown, deadlineMs: number): unknown {
  if (!(error instanceof Error)) return error;
  const refusal = refusalOf(error);
  if (refusal) return refusal;
  if (isTransient(error)) {
    return unavailable(
      'database.unavailable',
      `EventStoreDB has not answered within ${deadlineMs / 1_000} s (${error.message}). Try again in a moment; a command ` +
        `that may have been recorded is safe to send again with the same command id.`,
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
        `Send less at once, or raise the server's MaxAppendSize (at most ${MAX_APPEND_SIZE} bytes).`,
      { maxAppendSize: error.maxAppendSize },
      { cause: error },
    );
  }
  return error;
}

/** The most that a server of 24.10 starts with: 16 MiB less 10,000 bytes. */
export const MAX_APPEND_SIZE = 16_767_216;
