import type { DomainEvent } from '#lib/event-store';
import { RowError, type Projection } from '#lib/projections';

/**
 * Folds the first event of each type before it is recorded. Throws `RowError` if a fold gives a row that its table cannot
 * take, which every event of that type would do: it could only be parked, and an erasure has deleted the key by then.
 */
export function foldFirst(projections: readonly Projection[]) {
  const known = new Set<string>();
  return (streamId: string, events: readonly DomainEvent[]): void => {
    for (const { type, data } of events) {
      if (known.has(type)) continue;
      try {
        for (const projection of projections)
          for (const change of projection.fold({ type, streamId, revision: 0, data }))
            projection.check(change, type);
      } catch (error) {
        if (error instanceof RowError) throw error;
        // Something else is wrong with this one: the projector says what.
        continue;
      }
      known.add(type);
    }
  };
}
