import type { RecordedEvent } from '#lib/event-store';
import type { Projection } from './projection.js';
import { ChangeSet, type NetChanges } from './row-changes.js';

/** The net changes of a batch of events, per projection; projections without any are left out. */
export function foldBatch(
  projections: readonly Projection[],
  events: readonly RecordedEvent[],
): [Projection, NetChanges][] {
  return projections.flatMap((projection) => {
    const changes = new ChangeSet(projection.table);
    for (const event of events) for (const change of projection.fold(event)) changes.add(change);
    return changes.isEmpty ? [] : [[projection, changes.net()] as [Projection, NetChanges]];
  });
}
