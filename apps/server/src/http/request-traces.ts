import { SpanKind, SpanStatusCode, type Span } from '@opentelemetry/api';
import type { FastifyRequest, onRequestHookHandler, preHandlerHookHandler } from 'fastify';
import { beginRequest, traceparentOf, withinSpan } from '#lib/platform';

const spans = new WeakMap<FastifyRequest, Span>();

/** Probes and scrapes come every few seconds, and nobody looks for them. */
const UNTRACED = /^\/(health(\/|$)|metrics$)/;

/**
 * A span for each request, named by its route: addresses can contain what does not belong in a trace. Commands take its
 * name into their events.
 */
export const traceRequest: onRequestHookHandler = (request, reply, done) => {
  const { method, headers, routeOptions } = request;
  const route = request.is404 ? undefined : routeOptions.url;
  if (UNTRACED.test(route ?? '')) {
    done();
    return;
  }
  const span = beginRequest(route === undefined ? method : `${method} ${route}`, headers, {
    kind: SpanKind.SERVER,
    attributes: {
      'http.request.method': method,
      ...(route !== undefined && { 'http.route': route }),
      'waylog.request': request.id,
    },
  });
  request.traceparent = traceparentOf(span);
  spans.set(request, span);
  if (span.isRecording()) reply.raw.once('close', () => endRequest(span, reply.raw));
  done();
};

function endRequest(
  span: Span,
  { statusCode, writableFinished }: { readonly statusCode: number; readonly writableFinished: boolean },
): void {
  if (writableFinished) {
    span.setAttribute('http.response.status_code', statusCode);
    if (statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  } else {
    span.setAttribute('error.type', 'connection closed');
    span.setStatus({
      code: SpanStatusCode.ERROR,
      message: 'The connection was closed before it was answered.',
    });
  }
  span.end();
}

/** The last hook before the handler: what it does is under the span of the request. */
export const withinRequest: preHandlerHookHandler = (request, _reply, done) => {
  const span = spans.get(request);
  if (span) withinSpan(span, done);
  else done();
};
