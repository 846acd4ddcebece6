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

/** A request that takes longer to arrive, headers and body, is refused. */
export const REQUEST_TIMEOUT_MS = 30_000;

/** What is said may hold what was sent: an answer must not be as long as its request. Bad fields are shortened by themselves. */
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

/** The one place where errors become HTTP. What is not expected is logged whole and answered without its inside. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  readonly #log = new Logger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    const { raw } = http.getRequest<FastifyRequest>();
    // Whoever sent it has gone in the middle of it: nobody reads the answer, and nothing has failed here.
    if (raw.destroyed && !raw.complete) {
      sendProblem(reply, new BadRequestException('The request broke off before all of it was there.'));
      return;
    }
    const problem = problemOf(error);
    if (problem.status === 500 || problem.code === 'database.not-allowed') {
      const { method, url, id } = http.getRequest<FastifyRequest>();
      // Somebody may have put a key there, where it does not belong.
      const address = url.replaceAll(/wlk_[\w-]+/g, 'wlk_...');
      this.#log.error(
        `${method} ${address} failed, request ${id}`,
        error instanceof Error ? error.stack : String(error),
      );
    }
    sendProblem(reply, error);
  }
}

/** Answers a request with what went wrong, and ends it. */
export function sendProblem(reply: FastifyReply, thrown: unknown): void {
  const error = told(thrown);
  const problem = problemOf(error);
  if (error instanceof WaylogError && typeof error.data['retryAfterSeconds'] === 'number') {
    void reply.header('retry-after', String(error.data['retryAfterSeconds']));
  }
  if (problem.status === 415)
    void reply.headers({ accept: 'application/json', 'accept-encoding': 'identity' });
  // That of the answer which it takes the place of, such as a long list, may write no objects.
  reply.serializer((written) => JSON.stringify(written));
  void reply.status(problem.status).type('application/problem+json').send(problem);
}

/** What the database cannot do now, or that it is not there, also where nobody has tried it again: no failure of this server. */
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

/** Answers what is no HTTP at all, before there is a request, and closes the connection. */
export function refuseConnection(error: Error & { readonly code?: string }, socket: Socket): void {
  // Whoever has gone is not told anything; `destroy` without an error, for nobody listens for it.
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const refusal = refusedConnections[error.code ?? ''] ?? notHttp;
  const body = JSON.stringify(refusal);
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/**
 * What a driver says of a server that it does not reach names its address, and what that refuses names databases, roles and
 * hosts. Those are for the operator, in the log of the server, and for no caller.
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

/** Fastify's own errors (a body that is too large or no JSON) carry their status. */
const statusCodeOf = (error: unknown): number | undefined =>
  error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : undefined;
