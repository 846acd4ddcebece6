import { maxHeaderSize, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import {
  ArgumentsHost,
  BadRequestException,
  Catch,
  HttpException,
  Logger,
  type ExceptionFilter,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  databaseUnavailable,
  isTransient,
  messageOf,
  shortened,
  SqlState,
  sqlStateOf,
  WaylogError,
  type ErrorKind,
  type FieldError,
} from '#lib/platform';

/** A request whose headers and body take longer to arrive is refused. */
export const REQUEST_TIMEOUT_MS = 30_000;

/**
 * A message can contain what was sent: an answer must not be as long as its request. Bad fields are shortened
 * separately.
 */
const MAX_DETAIL = 70_000;

/** RFC 9457, with a stable code and, for bad input, every wrong field. */
export interface Problem {
  readonly type: string;
  readonly code: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly errors?: readonly FieldError[];
  /** There are more bad fields than `errors` names. */
  readonly hasMoreErrors?: true;
}

const statusOf: Record<ErrorKind, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  'too-large': 413,
  unsupported: 415,
  'too-many': 429,
  unavailable: 503,
};

const titleOf: Record<number, string> = {
  400: 'The input is invalid',
  401: 'Who are you?',
  403: 'Not allowed',
  404: 'Not found',
  405: 'The method is not allowed here',
  409: 'The state of things does not allow it',
  413: 'The body is too large',
  414: 'The address is too long',
  408: 'The request took too long',
  415: 'The content type is not supported',
  429: 'Too many requests',
  431: 'The headers are too large',
  500: 'Waylog failed',
  503: 'Not available at the moment',
};

const codeOf: Record<number, string> = {
  400: 'input.invalid',
  404: 'route.not-found',
  413: 'body.too-large',
  415: 'body.not-json',
};

/** The one place where errors become HTTP. Unexpected errors are logged in full and answered without details. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  readonly #log = new Logger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    const { raw } = http.getRequest<FastifyRequest>();
    // The client disconnected in the middle of its request: the answer has no reader, and nothing has failed here.
    if (raw.destroyed && !raw.complete) {
      sendProblem(reply, new BadRequestException('The request broke off before all of it was there.'));
      return;
    }
    const problem = problemOf(error);
    if (problem.status === 500 || problem.code === 'database.not-allowed') {
      const { method, url, id } = http.getRequest<FastifyRequest>();
      // The URL can contain a key, although it does not belong there.
      const address = url.replaceAll(/wlk_[\w-]+/g, 'wlk_...');
      this.#log.error(
        `${method} ${address} failed, request ${id}`,
        error instanceof Error ? error.stack : String(error),
      );
    }
    sendProblem(reply, error);
  }
}

/** Answers a request with an error, and ends it. */
export function sendProblem(reply: FastifyReply, thrown: unknown): void {
  const error = told(thrown);
  const problem = problemOf(error);
  if (error instanceof WaylogError && typeof error.data['retryAfterSeconds'] === 'number') {
    void reply.header('retry-after', String(error.data['retryAfterSeconds']));
  }
  if (problem.status === 415) {
    const types =
      error instanceof WaylogError ? (error.data['types'] as readonly string[] | undefined) : undefined;
    void reply.headers({ accept: types?.join(', ') ?? 'application/json', 'accept-encoding': 'identity' });
  }
  // The replaced answer, such as a long list, may have a serializer that writes no objects.
  reply.serializer((written) => JSON.stringify(written));
  void reply.status(problem.status).type('application/problem+json').send(problem);
}

/**
 * The database cannot do something now, or is unavailable, also if the operation was not retried: not a failure of this
 * server.
 */
const told = (error: unknown): unknown =>
  !(error instanceof WaylogError) && isTransient(error) ? databaseUnavailable(error) : error;

export function problemOf(thrown: unknown): Problem {
  const error = told(thrown);
  if (error instanceof WaylogError) {
    const errors = error.data['errors'] as readonly FieldError[] | undefined;
    return {
      ...problem(statusOf[error.kind], error.code, error.message, errors),
      ...(error.data['hasMoreErrors'] === true && { hasMoreErrors: true }),
    };
  }
  if (sqlStateOf(error) === SqlState.insufficientPrivilege) {
    return problem(
      503,
      'database.not-allowed',
      `The database does not let the role of this server do that (${messageOf(error)}). ` +
        'Run `waylog migrate`, which sets the rights, and see whether WAYLOG_PROJECTOR_URL is set: `waylog doctor` says what is missing.',
    );
  }
  const status = error instanceof HttpException ? error.getStatus() : statusCodeOf(error);
  if (status !== undefined && status >= 400 && status < 500) {
    const detail = error instanceof Error ? error.message : 'The request cannot be answered.';
    return problem(status, codeOf[status] ?? 'request.refused', detail);
  }
  return problem(
    500,
    'internal',
    'Something unexpected happened; the log of the server says what. The request may be sent again.',
  );
}

/** Answers bytes that are not HTTP, before there is a request, and closes the connection. */
export function refuseConnection(error: Error & { readonly code?: string }, socket: Socket): void {
  // A client that disconnected gets no answer; `destroy` without an error, since there is no listener for it.
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const refusal = refusedConnections[error.code ?? ''] ?? notHttp;
  const body = JSON.stringify(refusal);
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/**
 * A driver's error about an unreachable server names its address, and a server's refusal names databases, roles and
 * hosts. Those are for the operator, in the server's log, and not for callers.
 */
export const withoutAddresses = (text: string): string =>
  text
    .replaceAll(/\b(E[A-Z_]{4,}) [^\s),;]+/g, '$1')
    .replaceAll(/\b(host|user|database|role) "[^"]*"/g, '$1 "..."');

const problem = (status: number, code: string, detail: string, errors?: readonly FieldError[]): Problem => ({
  type: 'about:blank',
  code,
  title: titleOf[status] ?? 'The request was refused',
  status,
  detail: shortened(status === 503 ? withoutAddresses(detail) : detail, MAX_DETAIL),
  ...(errors && { errors }),
});

const notHttp = problem(400, 'http.malformed', 'What was sent is no HTTP request that the server can read.');
const refusedConnections: Readonly<Record<string, Problem>> = {
  ERR_HTTP_REQUEST_TIMEOUT: problem(
    408,
    'http.too-slow',
    `The request did not arrive within ${REQUEST_TIMEOUT_MS / 1_000} s. Send it again.`,
  ),
  HPE_HEADER_OVERFLOW: problem(
    431,
    'http.headers-too-large',
    `All headers together may have ${maxHeaderSize} bytes.`,
  ),
};

/** Fastify's own errors (a body that is too large or not JSON) carry their status. */
const statusCodeOf = (error: unknown): number | undefined =>
  error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : undefined;
