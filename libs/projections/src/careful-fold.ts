import type { ClientBase } from 'pg';
import { isDataError, messageOf } from '#lib/platform';
import type { RecordedEvent } from '#lib/event-store';
import { foldBatch, FoldError } from './fold-batch.js';
import type { Projection } from './projection.js';
import type { TableWriter } from './table-writer.js';

/** An event that cannot be projected, and why. */
export interface Poison {
  readonly event: RecordedEvent;
  readonly error: string;
  /** The event itself is not at fault: the log has lost the events before it, from this revision on. */
  readonly lostFrom?: number;
}

/** Whether an event is at fault, and not the connection, the server or the schema: a retry does not help. */
export const isPoison = (error: unknown): boolean => error instanceof FoldError || isDataError(error);

export type TableWriters = ReadonlyMap<Projection, TableWriter>;

/** Folds events and writes what changes, with set-based statements, inside the caller's transaction. */
export async function writeBatch(
  client: ClientBase,
  writers: TableWriters,
  events: readonly RecordedEvent[],
): Promise<void> {
  for (const [projection, net] of foldBatch([...writers.keys()], events))
    for (const changes of net) await writers.get(projection)?.write(client, changes);
}

/**
 * Like `writeBatch`, for a batch with an error: finds the events that cannot be projected by bisection, and writes all
 * others except the later ones of the same streams. Returns what it found, one event per stream.
 */
export async function writeCarefully(
  client: ClientBase,
  writers: TableWriters,
  events: readonly RecordedEvent[],
): Promise<Poison[]> {
  const found = new Map<string, Poison>();
  const write = async (part: readonly RecordedEvent[]): Promise<void> => {
    const live = part.filter(({ streamId }) => !found.has(streamId));
    const [first] = live;
    if (!first) return;
    await client.query('savepoint part');
    try {
      await writeBatch(client, writers, live);
      await client.query('release savepoint part');
    } catch (error) {
      if (!isPoison(error)) throw error;
      await client.query('rollback to savepoint part; release savepoint part');
      if (live.length === 1) {
        found.set(first.streamId, { event: first, error: messageOf(error) });
        return;
      }
      const half = Math.ceil(live.length / 2);
      await write(live.slice(0, half));
      await write(live.slice(half));
    }
  };
  await write(events);
  return [...found.values()];
}
