import 'reflect-metadata';
import { isatty } from 'node:tty';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '#lib/platform';
import { positionHeader } from './http/answer.js';
import { serveOpenApi } from './http/openapi.js';
import { problemOf, refuseConnection } from './http/problem.js';
import { ServerLogger } from './logger.js';
import { Metrics } from './operations/metrics.js';
import { SchemaGate } from './operations/schema-gate.js';
import { ServerModule } from './server.module.js';

/** 5,000 waypoints or frames, the most that one command takes, are about 1.5 MiB. */
const BODY_LIMIT = 8 * 1024 * 1024;

/** A server that listens; `await app.getUrl()` says where. */
export async function startServer(config: Config): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    // 128 characters of an id, each up to four bytes and percent-encoded.
    routerOptions: { maxParamLength: 2_000 },
    requestTimeout: 30_000,
    forceCloseConnections: 'idle',
    // What comes on an open connection while the server stops is answered, and the connection closed behind it.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    clientErrorHandler: refuseConnection,
    // What Fastify refuses before any route is reached, such as a broken percent-encoding.
    frameworkErrors: (error: FastifyError, _request: FastifyRequest, reply: FastifyReply) => {
      const problem = problemOf(error);
      void reply.status(problem.status).type('application/problem+json').send(problem);
    },
  });
  const app = await NestFactory.create<NestFastifyApplication>(ServerModule.forRoot(config), adapter, {
    // Whoever starts it says why it did not start.
    abortOnError: false,
    logger: new ServerLogger({
      json: config.logFormat === 'json',
      colors: config.logFormat === 'pretty' && isatty(1),
      logLevels: ['error', 'warn', 'log'],
    }),
  });
  app.enableShutdownHooks();
  const fastify = adapter.getInstance();
  fastify.addHook('onRequest', app.get(SchemaGate).onRequest);
  fastify.addHook('preSerialization', positionHeader);
  fastify.addHook('onResponse', app.get(Metrics).onResponse);
  if (config.roles.includes('api')) serveOpenApi(app);
  await app.listen({ port: config.port, host: config.host });
  return app;
}
