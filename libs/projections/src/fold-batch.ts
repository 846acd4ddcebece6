import { messageOf } from '#lib/platform';
import type { RecordedEvent } from '#lib/event-store';
import type { Projection, RowChange } from './projection.js';
import { ChangeSet, type NetChanges } from './row-changes.js';

/** A fold threw. Folds are pure, so they throw again for the same event. */
export class FoldError extends Error {
  override readonly name = 'FoldError';

  constructor(
    readonly event: RecordedEvent,
    cause: unknown,
  ) {
    super(messageOf(cause), { cause });
  }
}

/** Applies the changes of an event to one table. Throws `FoldError`. */
export function foldEvent(
  projection: Projection,
  event: RecordedEvent,
  apply: (change: RowChange) => void,
): void {
  try {
    for (const change of projection.fold(event)) apply(change);
  } catch (error) {
    throw new FoldError(event, error);
  }
}

/** The net changes of a batch of events, per projection and in their order; projections without any are left out. */
export function foldBatch(
  projections: readonly Projection[],
  events: readonly RecordedEvent[],
): [Projection, readonly NetChanges[]][] {
  const sets = projections.map((projection) => [projection, new ChangeSet(projection.table)] as const);
  const folds = byType(projections, (_, i) => (sets[i] as (typeof sets)[number])[1]);
  for (const event of events) {
    for (const [projection, changes] of folds.get(event.type) ?? [])
      foldEvent(projection, event, (change) => {
        projection.check(change, event.type);
        changes.add(change);
      });
  }
  return sets
    .filter(([, changes]) => !changes.isEmpty)
    .map(([projection, changes]) => [projection, changes.net()]);
}

/** For each type of event, the projections that fold it, each with the collector of its changes. */
export function byType<Target>(
  projections: readonly Projection[],
  targetOf: (projection: Projection, i: number) => Target,
): ReadonlyMap<string, readonly (readonly [Projection, Target])[]> {
  const found = new Map<string, [Projection, Target][]>();
  for (const [i, projection] of projections.entries()) {
    const entry: [Projection, Target] = [projection, targetOf(projection, i)];
    for (const type of projection.types) found.set(type, [...(found.get(type) ?? []), entry]);
  }
  return found;
}
