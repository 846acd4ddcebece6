import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { inTime } from '#lib/platform';

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
