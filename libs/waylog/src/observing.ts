import { Logger } from '@nestjs/common';
import type { IQuery } from '@nestjs/cqrs';
import { inSpan, isRefusal, messageOf } from '#lib/platform';

/**
 * `done`: recorded, or nothing to change. `refused`: by its rules or the domain's. `failed`: not known to be recorded.
 */
export type CommandOutcome = 'done' | 'refused' | 'failed';

export type CommandObserver = (
  command: string,
  outcome: CommandOutcome,
  seconds: number,
) => void | Promise<void>;

/** What to do about an observer that fails. */
export const warnOfObserver = (error: unknown): void =>
  new Logger('Waylog').warn(`An observer has failed, and what it was told of has not: ${messageOf(error)}`);

/** Calls an observer. An error in the observer does not affect the command or query. */
export const tell =
  (observer: CommandObserver, onFailure: (error: unknown) => void) =>
  (...seen: Parameters<CommandObserver>): void => {
    const told = async () => observer(...seen);
    told().catch(onFailure);
  };

/**
 * How many milliseconds the query with these options has waited. Without AsyncLocalStorage, which slows down every
 * promise.
 */
const waits = new WeakMap<object, number>();

/**
 * Waits for the minimum position of a read, which does not count as time of the query. `options` are those of the
 * query.
 */
export async function waiting(options: object, wait: () => Promise<void>): Promise<void> {
  const began = performance.now();
  try {
    await wait();
  } finally {
    waits.set(options, (waits.get(options) ?? 0) + performance.now() - began);
  }
}

/** What a query does, in a span of its own, told to an observer without the time that it waits for its minimum position. */
export async function observed<R>(
  query: IQuery,
  observe: ReturnType<typeof tell> | undefined,
  work: () => Promise<R>,
): Promise<R> {
  const began = performance.now();
  const { name } = query.constructor;
  const options = ownOptions(query);
  const end = (outcome: CommandOutcome) =>
    observe?.(name, outcome, (performance.now() - began - (waits.get(options) ?? 0)) / 1_000);
  try {
    const answer = await inSpan(`query ${name}`, { attributes: { 'waylog.query': name } }, work);
    end('done');
    return answer;
  } catch (error) {
    end(isRefusal(error) ? 'refused' : 'failed');
    throw error;
  }
}

/** A caller can pass the same options to several queries at once, and each waits separately. */
function ownOptions(query: IQuery & { options?: object }): object {
  const own = { ...query.options };
  if (query.options) query.options = own;
  return own;
}
