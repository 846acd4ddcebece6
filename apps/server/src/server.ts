import 'reflect-metadata';
import { isatty } from 'node:tty';
import type { LogLevel } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type pg from 'pg';
import { closeBeforeTheRest, filesOfRoute, positionHeader } from '#lib/rest';
import { LOG_POOL, Opened } from '#lib/waylog';
import { isFolder } from '#lib/files';
import { unavailable, type Config } from '#lib/platform';
import { Guard } from './access/guard.js';
import { accessBanner, refuseOpenServer } from './access/start.js';
import { boundArrival, FILE_TIMEOUT_MS } from './http/arrival.js';
import { inviteBody, readableUrl, readJsonBodies, refuseUnasked, refuseUnknownRoute } from './http/body.js';
import { longLists } from './http/json-in-pieces.js';
import { serveOpenApi } from './http/openapi.js';
import { weightOfRead } from './http/read-weights.js';
import { logRequest, requestIdOf, sayRequestId } from './http/request-log.js';
import { traceRequest, withinRequest } from './http/request-traces.js';
import { beginWork, endWork } from './http/request-work.js';
import { refuseConnection, REQUEST_TIMEOUT_MS, sendProblem } from './http/problem.js';
import {
  AnswersUnderWay,
  BodiesUnderWay,
  boundPipelining,
  FilesUnderWay,
  RequestsUnderWay,
} from './http/under-way.js';
import { WorkInTurn } from './http/work-in-turn.js';
import { WritesAhead } from './http/writes-ahead.js';
import { namedQueries } from './gateway/queries.js';
import { commandBytes, OpenTransactions } from './gateway/transactions.js';
import { ServerLogger } from './logger.js';
import { KeptTables } from './operations/kept-tables.js';
import { Metrics } from './operations/metrics.js';
import { SchemaGate } from './operations/schema-gate.js';
import { ServerModule } from './server.module.js';

/** 5,000 waypoints or frames, the most that one command accepts, are about 1.5 MiB. */
const BODY_LIMIT = 8 * 1024 * 1024;

/** The levels of Nest's logger. */
const logLevels = {
  error: ['error'],
  warn: ['error', 'warn'],
  info: ['error', 'warn', 'log'],
  debug: ['error', 'warn', 'log', 'debug', 'verbose'],
} satisfies Record<Config['logLevel'], LogLevel[]>;

/**
 * A listening server; `await app.getUrl()` gives its address. `say` is called with the address and how to call it,
 * which can include a key: it is for the person who started the server, and not for a log. `onStoppable` is called as
 * soon as there is something to stop cleanly, which is before it listens. Throws `access.none`, and an error if it is
 * stopped before it listens.
 */
export async function startServer(
  config: Config,
  say: (text: string) => void = () => undefined,
  onStoppable: (app: NestFastifyApplication) => void = () => undefined,
): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // 128 characters of an id, each up to four bytes and percent-encoded.
    routerOptions: { maxParamLength: 2_000 },
    // `OPTIONS *` has no path, and Nest would answer it before the guard has asked for a key.
    rewriteUrl: ({ url = '/' }) => (/^(\/|https?:)/i.test(url) ? url : `/${url}`),
    genReqId: requestIdOf,
    // Of files; `boundArrival` bounds the others.
    requestTimeout: FILE_TIMEOUT_MS,
    // By default Node gives headers a minute, uses the larger limit for the body, and checks only every 30 s.
    http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 1_000 },
    forceCloseConnections: 'idle',
    // Requests on open connections during a stop are answered, and the connection is then closed.
    return503OnClosing: false,
    exposeHeadRoutes: true,
    clientErrorHandler: refuseConnection,
    // What Fastify refuses before any route and any hook is reached, such as bad percent-encoding.
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
      app.get(Guard).onRequest.call(fastify, request, reply, () => sendProblem(reply, error));
    },
  });
  const fastify = adapter.getInstance();
  const { filesDirectory } = config;
  if (filesDirectory !== undefined && !(await isFolder(filesDirectory)))
    throw unavailable(
      'files.no-folder',
      `WAYLOG_FILES_DIR names ${filesDirectory}, and there is no such folder: mount its disk, or make it, and start again.`,
    );
  const opened = new Opened();
  const making = NestFactory.create<NestFastifyApplication>(ServerModule.forRoot(config, opened), adapter, {
    // The caller reports why it did not start.
    abortOnError: false,
    // `readJsonBodies` reads them.
    bodyParser: false,
    logger: new ServerLogger({
      json: config.logFormat === 'json',
      colors: config.logFormat === 'pretty' && isatty(1),
      logLevels: logLevels[config.logLevel],
    }),
  });
  const app = await opened.orClose(making);
  onStoppable(app);
  const pool = app.get<pg.Pool>(LOG_POOL);
  try {
    await refuseOpenServer(config, pool);
  } catch (error) {
    await app.close();
    throw error;
  }
  // Nest must run it before the hooks below: a preflight carries no key, and allowed origins must be able to read a
  // refusal.
  if (config.corsOrigins.length > 0) app.enableCors({ delegator: corsFor(config.corsOrigins) });
  readJsonBodies(fastify, BODY_LIMIT);
  fastify.decorateRequest('actor');
  fastify.decorateRequest('origin');
  fastify.decorateRequest('traceparent');
  fastify.addHook('onRequest', boundArrival());
  fastify.addHook('onRequest', sayRequestId);
  fastify.addHook('onRequest', traceRequest);
  if (config.logLevel === 'debug') fastify.addHook('onResponse', logRequest);
  fastify.addHook('onRequest', boundPipelining);
  fastify.addHook('onRequest', app.get(Guard).onRequest);
  fastify.addHook('onRequest', refuseUnknownRoute);
  fastify.addHook('onRequest', new RequestsUnderWay().onRequest);
  fastify.addHook('onRequest', readableUrl);
  fastify.addHook('onRequest', new BodiesUnderWay(BODY_LIMIT).onRequest);
  const files = new FilesUnderWay();
  fastify.addHook('onRequest', files.onRequest);
  fastify.addHook('preClose', files.preClose);
  fastify.addHook('onRequest', app.get(SchemaGate).onRequest);
  fastify.addHook('onRequest', inviteBody);
  const bytesOfCommand = commandBytes(app.get(OpenTransactions));
  // The bytes of a file are no command: they are not kept in memory, and nothing waits for them.
  const bytesOf = (request: FastifyRequest) => (filesOfRoute(request) ? 0 : bytesOfCommand(request));
  fastify.addHook('preValidation', new WritesAhead(app.get(KeptTables), bytesOf).preValidation);
  fastify.addHook('preValidation', new WorkInTurn(bytesOf, weightOfRead(namedQueries)).preValidation);
  fastify.addHook('preHandler', beginWork);
  fastify.addHook('preHandler', withinRequest);
  fastify.addHook('preSerialization', positionHeader);
  fastify.addHook('preSerialization', longLists);
  fastify.addHook('onSend', closeBeforeTheRest);
  fastify.addHook('onSend', endWork);
  fastify.addHook('onSend', new AnswersUnderWay().onSend);
  fastify.addHook('onResponse', app.get(Metrics).onResponse);
  askBeforeExpectations(fastify);
  closeBehindLastAnswers(fastify);
  if (config.roles.includes('api')) fastify.addHook('preValidation', refuseUnasked(await serveOpenApi(app)));
  await app.listen({ port: config.port, host: config.host });
  const url = await app.getUrl();
  say(`Waylog listens on ${url}\n${await accessBanner(config, pool, url)}`);
  return app;
}

/**
 * Node answers `Expect` before the caller was asked for a key: it invites the body, or refuses an unknown expectation.
 * The guard runs first, then `inviteBody`; other expectations can be ignored (RFC 9110, section 10.1.1).
 */
function askBeforeExpectations({ server }: FastifyInstance): void {
  for (const event of ['checkContinue', 'checkExpectation'])
    server.on(event, (request, response) => server.emit('request', request, response));
}

/**
 * Requests in progress when a stop begins are answered, and their connections then closed. Otherwise a stop would wait
 * until the caller closes the connection, which takes a minute.
 */
function closeBehindLastAnswers(fastify: FastifyInstance): void {
  let isStopping = false;
  fastify.addHook('preClose', (done) => {
    isStopping = true;
    done();
  });
  fastify.addHook('onSend', (_request, reply, payload, done) => {
    if (isStopping) void reply.header('connection', 'close');
    done(null, payload);
  });
}

/**
 * Pages of these origins can call, with the headers that they need. A request of any other origin, preflights included,
 * is treated as one without an origin. Any request that is not a preflight needs a key.
 */
const corsFor =
  (origins: readonly string[]) =>
  ({ headers }: FastifyRequest, use: (error: null, options: object) => void) =>
    use(null, {
      ...corsOptions(origins),
      preflight: headers.origin !== undefined && headers['access-control-request-method'] !== undefined,
    });

const corsOptions = (origins: readonly string[]) => ({
  origin: (origin: string | undefined, use: (error: null, allowed: string | false) => void) =>
    use(null, origin !== undefined && origins.includes(origin) ? origin : false),
  strictPreflight: false,
  methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
  allowedHeaders: [
    'authorization',
    'content-type',
    'idempotency-key',
    'if-none-match',
    'range',
    'repr-digest',
    'traceparent',
    'tracestate',
    'waylog-min-position',
    'x-request-id',
  ],
  exposedHeaders: [
    'content-range',
    'etag',
    'repr-digest',
    'retry-after',
    'waylog-position',
    'www-authenticate',
    'x-request-id',
  ],
  maxAge: 600,
});
