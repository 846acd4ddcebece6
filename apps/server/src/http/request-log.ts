import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Logger } from '@nestjs/common';
import type { onRequestHookHandler, onResponseHookHandler } from 'fastify';

/** The ids that a caller can give a request: nothing that could be mistaken for something else in a log. */
const REQUEST_ID = /^[\w.:-]{1,64}$/;

/** The id of a request: the caller's, or a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Returns the id of the request to the caller, who can then name the log line about it. */
export const sayRequestId: onRequestHookHandler = (request, reply, done) => {
  void reply.header('x-request-id', request.id);
  done();
};

const log = new Logger('Http');

/** A line for each request, by its route: addresses can contain what does not belong in a log. For LOG_LEVEL=debug. */
export const logRequest: onResponseHookHandler = (request, reply, done) => {
  const { method, routeOptions, actor, id } = request;
  log.debug(
    `${method} ${routeOptions.url ?? '(no route)'} ${reply.statusCode} in ${reply.elapsedTime.toFixed(1)} ms, ` +
      `by ${actor ?? 'nobody known'}, request ${id}`,
  );
  done();
};
