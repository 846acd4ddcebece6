import { applyDecorators, HttpCode } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { FastifyReply, preSerializationHookHandler } from 'fastify';

/** What a route answers: its status and the component schema of its body, if it has one. */
export function Answers(status: number, schema?: string): MethodDecorator {
  return applyDecorators(
    HttpCode(status),
    ApiResponse(
      schema
        ? {
            status,
            description: schema,
            content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
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

/**
 * Where a command left the log stands in its header too. A hook of Fastify rather than an interceptor: the first
 * interceptor sends every answer through an Observable.
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
