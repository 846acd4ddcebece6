import type { IQuery, QueryBus } from '@nestjs/cqrs';
import { WaylogError } from '#lib/platform';
import type { CommandOutcome, tell } from './flights.js';

/** Milliseconds that the query with these options has waited. Not by an AsyncLocalStorage, which slows down every promise. */
const waits = new WeakMap<object, number>();

/** Waits for what a read wants to be there, which is no time of the query. `options` are those of the query. */
export async function waiting(options: object, wait: () => Promise<void>): Promise<void> {
  const began = performance.now();
  try {
    await wait();
  } finally {
    waits.set(options, (waits.get(options) ?? 0) + performance.now() - began);
  }
}

/**
 * Tells an observer of every query on a bus: its type, what became of it, and how long it took, without the time that it waited
 * for its minimum position.
 */
export function observeQueries(bus: QueryBus, observe: ReturnType<typeof tell>): void {
  const execute: (query: IQuery) => Promise<unknown> = bus.execute.bind(bus);
  bus.execute = async <R>(query: IQuery): Promise<R> => {
    const began = performance.now();
    const options = ownOptions(query);
    const end = (outcome: CommandOutcome) =>
      observe(
        query.constructor.name,
        outcome,
        (performance.now() - began - (waits.get(options) ?? 0)) / 1_000,
      );
    try {
      const answer = await execute(query);
      end('done');
      return answer as R;
    } catch (error) {
      end(error instanceof WaylogError && error.kind !== 'unavailable' ? 'refused' : 'failed');
      throw error;
    }
  };
}

/** A caller may give the same options to several queries at once, and each waits for itself. */
function ownOptions(query: IQuery & { options?: object }): object {
  const own = { ...query.options };
  if (query.options) query.options = own;
  return own;
}
