import { isUtf8 } from 'node:buffer';
import { BadRequestException, NotFoundException, UnsupportedMediaTypeException } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import {
  errorCodes,
  type FastifyInstance,
  type FastifyRequest,
  type onRequestHookHandler,
  type preValidationHookHandler,
} from 'fastify';
import { invalidInput, type FieldError } from '#lib/platform';
import { filesOfRoute } from '#lib/rest';
import { beyondBounds } from './json-bounds.js';
import { sendProblem } from './problem.js';
import { readWholeBody } from './whole-body.js';

/**
 * A body is uncompressed JSON in UTF-8, or absent: an empty one counts as absent, whatever its content type. Routes that take
 * files get the stream, whatever its content type: what a file is, its first bytes say.
 */
export function readJsonBodies(fastify: FastifyInstance, limit: number): void {
  const parse = fastify.getDefaultJsonParser('error', 'error');
  fastify.removeAllContentTypeParsers();
  const refuse = (request: FastifyRequest) =>
    new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE(request.headers['content-type'] ?? '');
  fastify.addContentTypeParser('*', (request, payload, done) => {
    if (filesOfRoute(request)) done(null, payload);
    else done(refuse(request));
  });
  fastify.addContentTypeParser('application/json', (request, payload, done) => {
    if (filesOfRoute(request)) {
      done(null, payload);
      return;
    }
    readWholeBody(request, limit, (error, body = NOTHING) => {
      const problem = error ?? unreadable(request, body);
      if (body.length > 0 && !problem) return parse(request, body.toString(), done);
      done(problem ?? null, undefined);
      return undefined;
    });
  });
}

const NOTHING = Buffer.alloc(0);

function unreadable({ headers }: FastifyRequest, body: Buffer): Error | undefined {
  const coding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (coding !== 'identity') {
    return new UnsupportedMediaTypeException(
      `The body is sent with Content-Encoding: ${coding.slice(0, 50)}. Send it as it is: bodies are taken without any coding.`,
    );
  }
  const [, charset = 'utf-8'] = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '') ?? [];
  if (!/^(utf-?8|us-ascii)$/i.test(charset)) {
    return new UnsupportedMediaTypeException(
      `The body is sent as ${charset.slice(0, 50)}. JSON is UTF-8: send it so.`,
    );
  }
  if (!isUtf8(body)) {
    return new BadRequestException(
      'The body is not UTF-8. Text in another encoding would change: send it as UTF-8.',
    );
  }
  const beyond = beyondBounds(body);
  return beyond === undefined ? undefined : invalidInput([{ field: '', message: beyond }], 'body.too-much');
}

/** Runs before anything of a body is read: Fastify would parse it first. */
export const refuseUnknownRoute: onRequestHookHandler = ({ is404, method, url }, reply, done) => {
  if (is404) sendProblem(reply, new NotFoundException(`Cannot ${method} ${url}`));
  else done();
};

/** A client that waits with its body until it is invited has been let in by now. */
export const inviteBody: onRequestHookHandler = ({ headers }, reply, done) => {
  if (headers.expect?.toLowerCase() === '100-continue') reply.raw.writeContinue();
  done();
};

/** Other than ASCII would be read byte by byte, and a percent-encoding that is not UTF-8 as something else. */
export const readableUrl: onRequestHookHandler = (request, _reply, done) => {
  done(isReadable(request.url) ? undefined : new BadRequestException(UNREADABLE_URL));
};

const UNREADABLE_URL =
  'The address holds what is not UTF-8. Percent-encode the bytes of UTF-8, as encodeURIComponent does.';

function isReadable(url: string): boolean {
  // eslint-disable-next-line no-control-regex -- ASCII
  if (/[^\x00-\x7f]/.test(url)) return false;
  try {
    for (const [encoded] of url.matchAll(/(?:%[0-9a-f]{2})+/gi)) decodeURIComponent(encoded);
    return true;
  } catch {
    return false;
  }
}

/** Refuses what a route does not accept and would ignore silently: a body, or parameters of the query string. */
export function refuseUnasked({ paths }: OpenAPIObject): preValidationHookHandler {
  const routes = new Map(
    Object.entries(paths).flatMap(([path, item]) =>
      (['get', 'post', 'put', 'patch', 'delete'] as const).flatMap((method) => {
        const operation = item[method];
        if (!operation) return [];
        const pattern = path.replaceAll(/\{(\w+)\}/g, ':$1');
        const parameters = (operation.parameters ?? []) as readonly { readonly in?: string }[];
        const takes = {
          body: operation.requestBody !== undefined,
          query: parameters.some((parameter) => parameter.in === 'query'),
        };
        return [[`${method.toUpperCase()} ${pattern}`, takes] as const];
      }),
    ),
  );
  return ({ method, routeOptions, body, query }, _reply, done) => {
    const takes = routes.get(`${method === 'HEAD' ? 'GET' : method} ${routeOptions.url ?? ''}`);
    const errors = [
      ...(takes?.body === false ? unaskedBody(body) : []),
      ...(takes?.query === false
        ? Object.keys(query as object).map((field) => ({
            field,
            message: 'is not a parameter of this route',
          }))
        : []),
    ];
    done(errors.length > 0 ? invalidInput(errors) : undefined);
  };
}

function unaskedBody(body: unknown): FieldError[] {
  if (body === undefined || body === null) return [];
  if (typeof body !== 'object' || Array.isArray(body))
    return [{ field: '', message: 'must be left out: this route takes no body' }];
  return Object.keys(body).map((field) => ({ field, message: 'is not a field: this route takes no body' }));
}
