import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { inTime } from '#lib/platform';
import { RequestWork } from '../http/request-work.js';

/** Resolves like `work`, or throws the error of `late` if that takes longer than `seconds`; `work` continues. */
export const within = <T>(
  seconds: number | null | undefined,
  work: Promise<T>,
  late: (seconds: number) => Error,
): Promise<T> =>
  seconds === null || seconds === undefined ? work : inTime(seconds * 1_000, work, () => late(seconds));

/** Seconds since a moment of `performance.now()`. */
export const secondsSince = (began: number): number => (performance.now() - began) / 1_000;

/** Aborted if the caller closes the connection before it has its answer. */
export const CallerGone = createParamDecorator((_: unknown, context: ExecutionContext): AbortSignal => {
  const { raw } = context.switchToHttp().getResponse<FastifyReply>();
  const gone = new AbortController();
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort();
  });
  return gone.signal;
});

/** Tells the request of work that may go on after its answer. */
export type GoesOn = (work: Promise<unknown>) => void;

/** The same work, of which the request was told. */
export function goingOn<T>(goesOn: GoesOn, work: Promise<T>): Promise<T> {
  goesOn(work);
  return work;
}

/** `GoesOn` of a request. */
export const WorkGoesOn = createParamDecorator((_: unknown, context: ExecutionContext): GoesOn => {
  const http = context.switchToHttp();
  const work = RequestWork.of(http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  return (more) => {
    work.goesOnUntil(more);
  };
});
