import {
  context,
  INVALID_TRACEID,
  isSpanContextValid,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type Link,
  type Span,
  type SpanContext,
  type SpanOptions,
  type TracerProvider,
} from '@opentelemetry/api';
import { WaylogError } from './errors.js';

/**
 * Names a span, and says whether it is kept: `00-<trace, 32 digits>-<span, 16 digits>-<flags, 2 digits>`, hexadecimal
 * (https://www.w3.org/TR/trace-context/).
 */
export type Traceparent = string;

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** More than this and a span has links enough to be found by. */
const MAX_LINKS = 100;

/** Does nothing, and costs next to nothing, unless the process has registered an SDK of OpenTelemetry. */
const tracer = trace.getTracer('waylog');

/** What a text names, or undefined: a sender that says it wrongly is served all the same. */
export function spanContextOf(text: unknown): SpanContext | undefined {
  const [, version, traceId, spanId, flags, rest] =
    (typeof text === 'string' && TRACEPARENT.exec(text)) || [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  if (version === '00' && rest !== undefined) return undefined;
  const found = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED };
  return isSpanContextValid(found) ? found : undefined;
}

/** How to name a span in what follows from it; undefined for one that nobody keeps. */
export function traceparentOf(span: Span): Traceparent | undefined {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return (traceFlags & TraceFlags.SAMPLED) !== 0 ? `00-${traceId}-${spanId}-01` : undefined;
}

/** Links to the spans that these name, each once. */
function linksTo(texts: Iterable<unknown>): Link[] {
  const links = new Map<unknown, Link>();
  for (const text of texts) {
    if (text === undefined || links.has(text)) continue;
    const found = spanContextOf(text);
    if (found) links.set(text, { context: found });
    if (links.size === MAX_LINKS) break;
  }
  return [...links.values()];
}

/** Begins a span: under the one that `parent` names, or under what is under way here. The caller ends it. */
export const beginSpan = (name: string, options?: SpanOptions, parent?: unknown): Span =>
  tracer.startSpan(name, options, under(parent));

function under(parent: unknown): Context {
  const named = spanContextOf(parent);
  return named ? trace.setSpanContext(context.active(), named) : context.active();
}

/**
 * Begins the span of a request: under what the process has under way for it, as code that traces every request of Node,
 * or else under the span that its headers name.
 */
export function beginRequest(name: string, headers: object, options: SpanOptions): Span {
  const here = context.active();
  if (trace.getSpan(here)) return tracer.startSpan(name, options, here);
  // How other systems than W3C's name a span is for the SDK to know. Without one nothing is found so.
  const found = propagation.extract(here, headers);
  if (trace.getSpan(found)) return tracer.startSpan(name, options, found);
  return beginSpan(name, options, Reflect.get(headers, 'traceparent'));
}

/** Runs work as a part of a span: what the work begins is under it. */
export const withinSpan = <T>(span: Span, work: () => T): T =>
  context.with(trace.setSpan(context.active(), span), work);

/** Runs work in a span of its own, under the one that `parent` names, or under what is under way here. */
export function inSpan<T>(
  name: string,
  { parent, ...options }: SpanOptions & { readonly parent?: unknown },
  work: (span: Span) => Promise<T>,
): Promise<T> {
  const span = beginSpan(name, options, parent);
  // Without an SDK, and without a caller that traces: there is nothing to note, for anybody.
  return span.spanContext().traceId === INVALID_TRACEID ? work(span) : inBegunSpan(span, work);
}

async function inBegunSpan<T>(span: Span, work: (span: Span) => Promise<T>): Promise<T> {
  try {
    return await withinSpan(span, () => work(span));
  } catch (error) {
    endedBy(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/**
 * Says in a span what its work has thrown: the code, and not the message, which can hold what was sent. What the rules
 * refuse is no failure of the work.
 */
export function endedBy(span: Span, error: unknown): void {
  const code = error instanceof WaylogError ? error.code : error instanceof Error ? error.name : 'unknown';
  span.setAttribute('error.type', code);
  if (!isRefusal(error)) span.setStatus({ code: SpanStatusCode.ERROR, message: code });
}

/** Whether an error is the answer of the rules, and not a failure. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof WaylogError && error.kind !== 'unavailable';

/** A span in each of several traces for work that is done for all of them at once. Without traces it is only done. */
export function inSpans<T>(
  name: string,
  parents: readonly (Traceparent | undefined)[],
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  const traced = parents.filter((parent) => parent !== undefined);
  return traced.length === 0
    ? work()
    : inBegunSpans(
        traced.map((parent) => beginSpan(name, { attributes }, parent)),
        work,
      );
}

async function inBegunSpans<T>(spans: readonly Span[], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    for (const span of spans) endedBy(span, error);
    throw error;
  } finally {
    for (const span of spans) span.end();
  }
}

/**
 * Does what follows from events that others have caused, in a span of its own that is linked to theirs: it can follow
 * from many, and long after they have ended. If none of these is kept it is only done.
 */
export function afterSpans<T>(
  name: string,
  causes: Iterable<unknown>,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  const links = linksTo(causes);
  return links.length === 0
    ? work()
    : inSpan(name, { root: true, kind: SpanKind.CONSUMER, links, attributes }, work);
}

/**
 * What the API does not name: every SDK has `forceFlush` (https://opentelemetry.io/docs/specs/otel/trace/sdk/#forceflush),
 * and before one is registered there is a provider that stands for it.
 */
interface Provider extends TracerProvider {
  readonly getDelegate?: () => Provider;
  readonly forceFlush?: () => Promise<void>;
}

/** Has the SDK, if there is one, send what it holds back to send together. */
export async function sendSpans(): Promise<void> {
  const provider = trace.getTracerProvider() as Provider;
  await (provider.getDelegate?.() ?? provider).forceFlush?.();
}
