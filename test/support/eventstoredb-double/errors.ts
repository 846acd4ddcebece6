import { Metadata, status, type ServiceError } from '@grpc/grpc-js';

/** An error as the server sends it: a status, and the details in the trailers. */
export function failure(
  code: status,
  details: string,
  trailers: Readonly<Record<string, string>> = {},
): ServiceError {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, value);
  return Object.assign(new Error(details), { code, details, metadata });
}

export const serverBusy = () => failure(status.UNAVAILABLE, 'Server Is Busy');

export const goneAway = () => failure(status.UNAVAILABLE, 'Connection dropped');

export const shuttingDown = () => failure(status.CANCELLED, 'Call canceled by the server');

export const unauthenticated = () => failure(status.UNAUTHENTICATED, 'Unauthenticated');

/** A user with some rights, but not this one. */
export const notAllowed = () =>
  failure(status.PERMISSION_DENIED, 'Access Denied', { exception: 'access-denied' });

/** A read that begins at a position without an event. */
export const invalidPosition = (isFiltered: boolean) =>
  failure(status.UNKNOWN, `Unexpected ${isFiltered ? 'Filtered' : ''}ReadAllResult: InvalidPosition`);

/** The same for a subscription. */
export const invalidSubscription = () =>
  failure(status.INVALID_ARGUMENT, 'Trying to read from an invalid position.');

export const notLeader = ({ host, port }: { host: string; port: number }) =>
  failure(status.NOT_FOUND, `Leader info available in response`, {
    exception: 'not-leader',
    'leader-endpoint-host': host,
    'leader-endpoint-port': String(port),
  });

export const streamDeleted = (stream: string) =>
  failure(status.FAILED_PRECONDITION, `Event stream '${stream}' is deleted.`, {
    exception: 'stream-deleted',
    'stream-name': stream,
  });

export const appendTooLarge = (limit: number) =>
  failure(status.INVALID_ARGUMENT, `Maximum Append Size of ${limit} Exceeded.`, {
    exception: 'maximum-append-size-exceeded',
    'maximum-append-size': String(limit),
  });

export const eventTooLarge = (id: string, size: number, limit: number) =>
  failure(
    status.INVALID_ARGUMENT,
    `Event with Id: ${id}, Size: ${size}, exceeds Maximum Append Event Size of ${limit}.`,
    {
      exception: 'maximum-append-event-size-exceeded',
      'maximum-append-event-size': String(limit),
      'event-id': id,
      'proposed-append-event-size': String(size),
    },
  );
