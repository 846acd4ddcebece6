import { applyDecorators, HttpCode } from '@nestjs/common';
import type { FastifyReply, preSerializationHookHandler } from 'fastify';
import type { Class } from '#lib/platform';
import { inDocument } from './document.js';
import { list, Problem, referenceTo, type Shape } from './shapes.js';

/** The body of an answer: a shape, a class with rules, or a list of such objects. */
type AnswerBody = Shape | Class | readonly [Class];

/** The answer of a route: its status, and its body if it has one. */
export function Answers(status: number, body?: AnswerBody): MethodDecorator {
  return applyDecorators(
    HttpCode(status),
    MayAnswer(status, body),
    inDocument(({ ApiResponse }) =>
      ApiResponse({
        status: 'default',
        description: 'A problem',
        content: { 'application/problem+json': { schema: referenceTo(Problem) } },
      }),
    ),
  );
}

/** Another answer of a route, which the route itself gives its status. */
export function MayAnswer(status: number, body?: AnswerBody): MethodDecorator {
  const answer = body
    ? { description: describe(body), content: { 'application/json': { schema: schemaFor(body) } } }
    : { description: 'Done' };
  return inDocument(({ ApiResponse }) => ApiResponse({ status, ...answer }));
}

const isList = (body: AnswerBody): body is readonly [Class] => Array.isArray(body);

const describe = (body: AnswerBody): string => (isList(body) ? `A list of ${body[0].name}` : body.name);

const schemaFor = (body: AnswerBody): object =>
  isList(body) ? list(referenceTo(body[0])) : referenceTo(body);

/**
 * The position that a command returned is also sent in the header. A hook of Fastify rather than an interceptor: the
 * first interceptor sends every answer through an Observable.
 */
export const positionHeader: preSerializationHookHandler = (_request, reply, answer, done) => {
  setPosition(reply, answer);
  done(null, answer);
};

export function setPosition(reply: FastifyReply, answer: unknown): void {
  if (typeof answer === 'object' && answer !== null && 'revision' in answer && 'position' in answer) {
    void reply.header('waylog-position', String(answer.position));
  }
}
