import { applyDecorators, HttpCode } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { FastifyReply, preSerializationHookHandler } from 'fastify';
import type { Class } from '#lib/platform';
import { referenceTo } from './schemas.js';

/** The body of an answer: a component schema by its name, a class with rules, or a list of such objects. */
type AnswerBody = string | Class | readonly [Class];

/** The answer of a route: its status, and its body if it has one. */
export function Answers(status: number, body?: AnswerBody): MethodDecorator {
  return applyDecorators(
    HttpCode(status),
    ApiResponse(
      body
        ? {
            status,
            description: describe(body),
            content: { 'application/json': { schema: schemaFor(body) } },
          }
        : { status, description: 'Done' },
    ),
    ApiResponse({
      status: 'default',
      description: 'A problem',
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    }),
  );
}

const describe = (body: AnswerBody): string =>
  typeof body === 'string' ? body : typeof body === 'function' ? body.name : `A list of ${body[0].name}`;

function schemaFor(body: AnswerBody): object {
  if (typeof body === 'string') return { $ref: `#/components/schemas/${body}` };
  if (typeof body === 'function') return referenceTo(body);
  return { type: 'array', items: referenceTo(body[0]) };
}

/**
 * The position that a command returned is also sent in the header. A hook of Fastify rather than an interceptor: the
 * first interceptor sends every answer through an Observable.
 */
export const positionHeader: preSerializationHookHandler = (_request, reply, answer, done) => {
  setPosition(reply, answer);
  done(null, answer);
};

export function setPosition(reply: FastifyReply, answer: unknown): void {
  if (typeof answer === 'object' && answer !== null && 'flightId' in answer && 'position' in answer) {
    void reply.header('waylog-position', String(answer.position));
  }
}
