import type { IQuery, QueryBus } from '@nestjs/cqrs';
import { WaylogError } from '#lib/platform';
import type { CommandOutcome, tell } from './flights.js';

/** Tells an observer of every query on a bus: its type, what became of it, and how long it took. */
export function observeQueries(bus: QueryBus, observe: ReturnType<typeof tell>): void {
  const execute: (query: IQuery) => Promise<unknown> = bus.execute.bind(bus);
  bus.execute = async <R>(query: IQuery): Promise<R> => {
    const began = performance.now();
    const end = (outcome: CommandOutcome) =>
      observe(query.constructor.name, outcome, (performance.now() - began) / 1_000);
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
