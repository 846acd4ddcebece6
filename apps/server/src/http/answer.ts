import {
  applyDecorators,
  HttpCode,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { tap, type Observable } from 'rxjs';

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

/** Where a command left the log stands in its header too, also where there is no body. */
@Injectable()
export class PositionHeader implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    return next.handle().pipe(tap((answer: unknown) => setPosition(reply, answer)));
  }
}

export function setPosition(reply: FastifyReply, answer: unknown): void {
  if (typeof answer === 'object' && answer !== null && 'flightId' in answer && 'position' in answer) {
    void reply.header('waylog-position', String(answer.position));
  }
}
