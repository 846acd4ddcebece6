import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply } from 'fastify';

/** Answers what `work` does, or throws what `late` makes when that takes longer than `seconds`; `work` goes on. */
export async function within<T>(
  seconds: number | null | undefined,
  work: Promise<T>,
  late: (seconds: number) => Error,
): Promise<T> {
  if (seconds === null || seconds === undefined) return work;
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late(seconds)), seconds * 1_000);
  });
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    clearTimeout(timer);
    // What comes after the deadline has nobody to hear of it.
    work.catch(() => undefined);
  }
}

/** Seconds since a moment of `performance.now()`. */
export const secondsSince = (began: number): number => (performance.now() - began) / 1_000;

/** Aborted when the caller closes the connection before it has its answer. */
export const CallerGone = createParamDecorator((_: unknown, context: ExecutionContext): AbortSignal => {
  const { raw } = context.switchToHttp().getResponse<FastifyReply>();
  const gone = new AbortController();
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort();
  });
  return gone.signal;
});
