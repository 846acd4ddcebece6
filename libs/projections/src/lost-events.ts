import { WaylogError } from '#lib/platform';
import type { EventStore, RecordedEvent } from '#lib/event-store';
import type { Poison } from './careful-fold.js';
import type { Gap } from './contiguity.js';

/**
 * Of streams that skip a revision, those of which the log can say that somebody has taken their beginning away: each is parked, from the
 * first revision that is gone. Any other gap is damage of the log, or a mistake of whoever reads it, and nobody passes it over.
 */
export async function lostBeginnings(
  store: EventStore,
  gaps: ReadonlyMap<string, Gap>,
  batch: readonly RecordedEvent[],
): Promise<Poison[]> {
  const found: Poison[] = [];
  if (!store.beginningOf) return found;
  for (const [streamId, { revision, expected }] of gaps) {
    const ofStream = batch.filter((event) => event.streamId === streamId);
    // A batch may skip more than once, as where some files were scavenged and others not.
    const skipped = ofStream.filter(
      (event, i) => event.revision !== (ofStream[i - 1]?.revision ?? expected - 1) + 1,
    );
    const isForwards = ofStream.every(
      (event, i) => event.revision > (ofStream[i - 1]?.revision ?? expected - 1),
    );
    const event = ofStream.find((one) => one.revision === revision);
    if (!event || !isForwards) continue;
    if ((await store.beginningOf(streamId)) >= (skipped.at(-1)?.revision ?? revision))
      found.push({ event, lostFrom: expected, error: lostText(expected, revision - 1) });
  }
  return found;
}

/** What is said of a stream that has lost events. */
export const lostText = (from: number, to: number): string =>
  `the log has lost ${from === to ? `revision ${from}` : `revisions ${from} to ${to}`} of the stream (in EventStoreDB by a deletion, or by ` +
  `a limit such as $maxCount)`;

/** What the log refuses of a stream, or has no longer. That it does not answer is no trouble of one stream: it is tried again. */
export const isOfStream = (error: unknown): error is WaylogError =>
  error instanceof WaylogError && error.kind !== 'unavailable';
