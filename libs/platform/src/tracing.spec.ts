import { SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import { notFound, unavailable } from './errors.js';
import { endedBy, spanContextOf, traceparentOf } from './tracing.js';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

describe('a traceparent', () => {
  it.each([
    ['of today', `00-${TRACE}-${SPAN}-01`, 1],
    ['that nobody keeps', `00-${TRACE}-${SPAN}-00`, 0],
    ['with flags that are not known', `00-${TRACE}-${SPAN}-ff`, 1],
    ['of a later version, which can say more', `cc-${TRACE}-${SPAN}-01-what`, 1],
  ])('%s names its span', (_, text, traceFlags) => {
    expect(spanContextOf(text)).toEqual({ traceId: TRACE, spanId: SPAN, traceFlags });
  });

  it.each([
    undefined,
    7,
    '',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    ` 00-${TRACE}-${SPAN}-01`,
  ])('%p names none', (text) => {
    expect(spanContextOf(text)).toBeUndefined();
  });

  it('is passed on for a span that is kept, and for no other', () => {
    const span = (traceFlags: number) => trace.wrapSpanContext({ traceId: TRACE, spanId: SPAN, traceFlags });
    expect(traceparentOf(span(1))).toBe(`00-${TRACE}-${SPAN}-01`);
    expect(traceparentOf(span(0))).toBeUndefined();
    expect(traceparentOf(trace.getTracer('none').startSpan('nothing'))).toBeUndefined();
  });
});

describe('a span whose work has thrown', () => {
  const told = (error: unknown) => {
    const said: unknown[] = [];
    endedBy(
      {
        setAttribute: (...attribute: unknown[]) => said.push(attribute),
        setStatus: (status: unknown) => said.push(status),
      } as unknown as Span,
      error,
    );
    return said;
  };

  it('says that it has failed, without the text', () => {
    const { ERROR: code } = SpanStatusCode;
    expect(told(unavailable('database.unavailable', 'secret'))).toEqual([
      ['error.type', 'database.unavailable'],
      { code, message: 'database.unavailable' },
    ]);
    expect(told(new TypeError('secret'))).toEqual([
      ['error.type', 'TypeError'],
      { code, message: 'TypeError' },
    ]);
    expect(told('secret')).toEqual([['error.type', 'unknown'], { code, message: 'unknown' }]);
  });

  it('has not failed if the rules have refused', () => {
    expect(told(notFound('flight.not-found', 'secret'))).toEqual([['error.type', 'flight.not-found']]);
  });
});
