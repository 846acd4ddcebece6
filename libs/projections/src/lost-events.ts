import { WaylogError } from '#lib/platform';
import type { ReadableLog, RecordedEvent } from '#lib/event-store';
import type { Poison } from './careful-fold.js';
import type { Gap } from './contiguity.js';

/**
 * Of streams that skip a revision, parks those whose beginning others have deleted according to the log, from the first
 * missing revision. Any other gap is damage of the log, or a mistake of its reader, and is never skipped.
 */
export async function lostBeginnings(
  store: ReadableLog,
  gaps: ReadonlyMap<string, Gap>,
  batch: readonly RecordedEvent[],
): Promise<Poison[]> {
  const found: Poison[] = [];
  if (!store.beginningOf) return found;
  for (const [streamId, { revision, expected }] of gaps) {
    const ofStream = batch.filter((event) => event.streamId === streamId);
    // A batch can skip more than once, as when some files were scavenged and others not.
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

/** The text about a stream that has lost events. */
export const lostText = (from: number, to: number): string =>
  `the log has lost ${from === to ? `revision ${from}` : `revisions ${from} to ${to}`} of the stream (in EventStoreDB by a deletion, or by ` +
  `a limit such as $maxCount)`;

/**
 * The log refuses a stream, or no longer has some of it. If the log does not answer, that is not about one stream: it
 * is retried.
 */
export const isOfStream = (error: unknown): error is WaylogError =>
  error instanceof WaylogError && error.kind !== 'unavailable';
