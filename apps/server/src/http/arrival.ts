import type { onRequestHookHandler } from 'fastify';
import { filesOfRoute } from '#lib/rest';
import { refuseConnection, REQUEST_TIMEOUT_MS } from './problem.js';

/** The longest that a file may take to arrive. */
export const FILE_TIMEOUT_MS = 3_600_000;

/**
 * Node has one time for all requests to arrive in, which is that of files. So bodies of others are timed here, and a file of
 * which nothing arrives any more is not waited for.
 */
export const boundArrival =
  (withinMs = REQUEST_TIMEOUT_MS): onRequestHookHandler =>
  (request, _reply, done) => {
    const { raw } = request;
    const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers;
    if (!raw.complete && (length !== '0' || coding !== undefined)) {
      const { socket } = raw;
      const isFile = filesOfRoute(request) !== undefined;
      let had = socket.bytesRead;
      const timer = setInterval(() => {
        const has = socket.bytesRead;
        if (!raw.complete && isFile && has !== had) {
          had = has;
          return;
        }
        clearInterval(timer);
        if (!raw.complete) refuseConnection(tooSlow(), socket);
      }, withinMs);
      raw.once('close', () => {
        clearInterval(timer);
      });
    }
    done();
  };

const tooSlow = () =>
  Object.assign(new Error('The request did not arrive in time.'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
