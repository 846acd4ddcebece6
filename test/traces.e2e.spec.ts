import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { startCollector, type CollectedSpan, type Collector } from './support/collector.js';
import { eventually } from './support/eventually.js';
import { aFlight } from './support/samples.js';
import { useServer } from './support/server.js';
import { serverProcess, type ServerProcess } from './support/server-process.js';
import { shop } from './support/shop-context.js';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const traced = (flags: string, trace = TRACE) => ({ traceparent: `00-${trace}-${SPAN}-${flags}` });
/** The kinds of spans in OTLP. */
const SERVER = 2;
const CONSUMER = 5;
const SECRET = 'a name that nobody else may read';

const sendingTo = ({ url }: Collector, ...loaded: string[]) => ({
  NODE_OPTIONS: [...loaded, './deploy/tracing.mjs'].map((file) => `--import ${file}`).join(' '),
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
});

describe.each(logs)('traces of a server with an SDK, with the log in %s', (log) => {
  let database: TestDatabase;
  let collector: Collector;
  let server: ServerProcess;

  beforeAll(async () => {
    database = await testDatabase(log, (url) => migrate(url, { contexts: [shop] }));
    collector = await startCollector();
    server = await serverProcess(database, {
      ...sendingTo(collector, './dist/test/support/with-shop.js'),
      OTEL_BSP_SCHEDULE_DELAY: '50',
      // What begins here without a caller that keeps its trace is not kept.
      OTEL_TRACES_SAMPLER_ARG: '0',
    });
  });
  afterAll(async () => {
    await server.end('SIGKILL');
    await collector.close();
    await database.drop();
  });

  const only = (name: string, which: (span: CollectedSpan) => boolean = () => true): CollectedSpan => {
    const found = collector.spans.filter((span) => span.name === name && which(span));
    expect(found.map((span) => span.name)).toEqual([name]);
    return found[0] as CollectedSpan;
  };
  const arrived = (name: string, which: (span: CollectedSpan) => boolean = () => true) =>
    eventually(() => Promise.resolve(collector.spans.some((span) => span.name === name && which(span))));
  const under = (parent: CollectedSpan) => (span: CollectedSpan) => span.parentSpanId === parent.spanId;
  const linkedTo = (cause: CollectedSpan) => (span: CollectedSpan) => span.links.includes(cause.spanId);
  const command = async (name: string, parameters: object, headers: Record<string, string> = {}) => {
    const body = { command: name, parameters, serviceName: 'test' };
    const answer = await server.call('POST', '/v1/commands', body, headers);
    expect(answer).toMatchObject({ status: 200 });
    return answer.body;
  };
  const eventOf = async (stream: string) =>
    ((await server.call('GET', '/v1/events')).body as { streamId: string; metadata: object }[]).find(
      ({ streamId }) => streamId === stream,
    );

  it('follow a command from the request into its decision, the log and the tables', async () => {
    const { status, body } = await server.call(
      'POST',
      '/v1/flights',
      aFlight('f1', 0, { name: SECRET }),
      traced('01'),
    );
    expect(status).toBe(201);
    await arrived('POST /v1/flights');
    await arrived('fold flight');

    const request = only('POST /v1/flights');
    expect(request).toMatchObject({
      service: 'waylog',
      kind: SERVER,
      traceId: TRACE,
      parentSpanId: SPAN,
      attributes: { 'http.route': '/v1/flights', 'http.response.status_code': 201 },
    });
    const created = only('command CreateFlight');
    expect(created).toMatchObject({
      traceId: TRACE,
      parentSpanId: request.spanId,
      attributes: { 'waylog.stream': 'flight-f1', 'waylog.position': body.position },
    });
    expect(only('decide', under(created))).toMatchObject({ traceId: TRACE });
    expect(only('append', under(created))).toMatchObject({ attributes: { 'waylog.events': 3 } });
    expect((await eventOf('flight-f1'))?.metadata).toMatchObject({
      traceparent: `00-${TRACE}-${created.spanId}-01`,
    });
    // Of many commands at once, and so no part of the trace of one.
    const folds = collector.spans.filter(({ name }) => name === 'fold flight');
    for (const fold of folds) {
      expect(fold).toMatchObject({ kind: CONSUMER, links: [created.spanId] });
      expect(fold.parentSpanId).toBeUndefined();
      expect(fold.traceId).not.toBe(TRACE);
    }

    expect(await server.call('GET', '/v1/flights/f1', undefined, traced('01'))).toMatchObject({
      status: 200,
    });
    await arrived('GET /v1/flights/:id');
    expect(only('query GetFlight', under(only('GET /v1/flights/:id')))).toMatchObject({ traceId: TRACE });
  });

  it('link what a reactor does to the command whose event it acts on', async () => {
    await command('Place', { orderId: 'a', payBy: '2100-01-01T00:00:00Z' });
    await command('Pay', { orderId: 'a' }, traced('01'));
    await arrived('command Pack');
    await arrived('append', ({ parentSpanId }) => parentSpanId === only('command Pack').spanId);
    await arrived('react pack-paid');
    const paid = only('command Pay');
    const react = only('react pack-paid');
    expect(react).toMatchObject({
      kind: CONSUMER,
      links: [paid.spanId],
      attributes: { 'waylog.event': 'Paid' },
    });
    const packed = only('command Pack', under(react));
    expect(packed.traceId).toBe(react.traceId);
    await arrived('fold shop', linkedTo(packed));
    // Nobody keeps the trace of the first command.
    expect(collector.spans.filter(({ name }) => name === 'command Place')).toEqual([]);
    expect((await eventOf('order-a'))?.metadata).not.toHaveProperty('traceparent');
  });

  it('say what was refused, which is no failure', async () => {
    expect(await server.call('DELETE', '/v1/flights/none', undefined, traced('01'))).toMatchObject({
      status: 404,
    });
    await arrived('DELETE /v1/flights/:id');
    expect(only('DELETE /v1/flights/:id')).toMatchObject({
      attributes: { 'http.response.status_code': 404 },
      isFailed: false,
    });
    expect(only('command DeleteFlight')).toMatchObject({
      attributes: { 'error.type': 'flight.not-found' },
      isFailed: false,
    });
  });

  it('hold nothing of what was sent', () => {
    expect(JSON.stringify(collector.spans)).not.toContain(SECRET);
  });
});

it('sends the spans that it holds back before it has stopped', async () => {
  const database = await testDatabase();
  const collector = await startCollector();
  const server = await serverProcess(database, {
    ...sendingTo(collector),
    OTEL_BSP_SCHEDULE_DELAY: '600000',
  });
  await server.call('POST', '/v1/flights', aFlight('last'), traced('01'));
  expect(collector.spans).toEqual([]);
  expect(await server.end('SIGTERM')).toBe(0);
  const sent = collector.spans.filter(({ traceId }) => traceId === TRACE).map(({ name }) => name);
  expect(sent.sort()).toEqual(['POST /v1/flights', 'append', 'command CreateFlight', 'decide']);
  await collector.close();
  await database.drop();
});

describe('a server without an SDK', () => {
  const server = useServer();
  const metadataOf = async (id: string) => {
    const { body } = await server.call('GET', `/v1/flights/${id}/events`);
    return (body as { metadata: object }[])[0]?.metadata;
  };

  it('passes on what names the span of its caller, if that is kept', async () => {
    await server.call('POST', '/v1/flights', aFlight('kept'), traced('01'));
    expect(await metadataOf('kept')).toMatchObject(traced('01'));
    await server.call('POST', '/v1/flights', aFlight('dropped'), traced('00'));
    expect(await metadataOf('dropped')).not.toHaveProperty('traceparent');
    const { status } = await server.call('POST', '/v1/flights', aFlight('bad'), { traceparent: 'nonsense' });
    expect(status).toBe(201);
    expect(await metadataOf('bad')).not.toHaveProperty('traceparent');
  });

  it('takes it from the header, and not from the parameters of a command', async () => {
    const request = { command: 'CreateFlight', serviceName: 'test' };
    const parameters = { flight: aFlight('named') };
    expect(
      await server.call('POST', '/v1/commands', {
        ...request,
        parameters: { ...parameters, ...traced('01') },
      }),
    ).toMatchObject({ status: 400, body: { errors: [{ field: 'parameters.traceparent' }] } });
    await server.call('POST', '/v1/commands', { ...request, parameters }, traced('01'));
    expect(await metadataOf('named')).toMatchObject(traced('01'));
  });
});
