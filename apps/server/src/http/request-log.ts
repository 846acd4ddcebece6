import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Logger } from '@nestjs/common';
import type { onRequestHookHandler, onResponseHookHandler } from 'fastify';

/** What an id may be that a caller gives a request: nothing that could be taken for something else in a log. */
const REQUEST_ID = /^[\w.:-]{1,64}$/;

/** The id of a request: that which its caller has given it, or a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Answers the id of the request, so that a caller can name the line of the log that is about it. */
export const sayRequestId: onRequestHookHandler = (request, reply, done) => {
  void reply.header('x-request-id', request.id);
  done();
};

const log = new Logger('Http');

/** A line for each request, by its route: addresses may hold what does not belong into a log. For LOG_LEVEL=debug. */
export const logRequest: onResponseHookHandler = (request, reply, done) => {
  const { method, routeOptions, principal, id } = request;
  log.debug(
    `${method} ${routeOptions.url ?? '(no route)'} ${reply.statusCode} in ${reply.elapsedTime.toFixed(1)} ms, ` +
      `by ${principal?.actor ?? 'nobody known'}, request ${id}`,
  );
  done();
};
