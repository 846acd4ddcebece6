import type { Pool } from 'pg';
import { invalidInput, isEventStoreUrl, type Listener } from '#lib/platform';
import type { EventStore } from './event-store.js';
import type { NewLoss } from './history/losses.js';
import type { Folded } from './history/seen.js';
import { PostgresEventStore } from './postgres/postgres-event-store.js';
import type { DataKeys } from './sealing/data-keys.js';
import { withNotedErasures } from './sealing/erasing-types.js';
import { SealedEventStore } from './sealing/sealed-event-store.js';
import type { Vocabulary } from './vocabulary.js';

export interface OpenEventStoreOptions {
  /** A connection string of EventStoreDB; without one the log is in the database of `pool`. */
  readonly eventStore?: string | undefined;
  /** The read database; snapshots are there in both cases. */
  readonly pool: Pool;
  readonly listener: Listener;
  /**
   * The categories of Waylog's streams, and what is known of their events. EventStoreDB can hold other streams too,
   * which are skipped; with an empty vocabulary none is.
   */
  readonly vocabulary: Vocabulary;
  /** The keys that open sealed fields. Without them events are read as they were recorded, by code that copies or counts. */
  readonly keys?: DataKeys;
  readonly onWarning?: (message: string) => void;
  /** Called when the log turns out to have lost its end. */
  readonly onLoss?: (loss: NewLoss) => void;
  /**
   * The position up to which the tables hold the log, which must not end before it. Called if the log is elsewhere than
   * the tables.
   */
  readonly folded?: () => Promise<Folded | undefined>;
}

/**
 * The log, wherever it is. Connects on first use; to the database already for what is sealed, which others may have erased.
 *
 * @throws WaylogError `config.invalid` and `log.connection-string`
 */
export async function openEventStore(options: OpenEventStoreOptions): Promise<EventStore> {
  const raw = await openAsRecorded(options);
  const { keys, pool, vocabulary } = options;
  return keys ? new SealedEventStore(raw, keys, await withNotedErasures(pool, vocabulary)) : raw;
}

async function openAsRecorded(options: OpenEventStoreOptions): Promise<EventStore> {
  const { eventStore, pool, listener, vocabulary, onWarning, onLoss, folded } = options;
  const common = { pool, ...(onLoss && { onLoss }) };
  if (!eventStore) return new PostgresEventStore({ ...common, listener });
  if (!isEventStoreUrl(eventStore)) {
    const message = 'is no connection string of EventStoreDB: it must begin with esdb:// or esdb+discover://';
    throw invalidInput([{ field: 'eventStore', message }], 'config.invalid');
  }
  // Its client takes a third of a second to load, so only processes that need it load it.
  const { EventStoreDbEventStore } = await import('./eventstoredb/eventstoredb-event-store.js');
  return new EventStoreDbEventStore({
    ...common,
    connectionString: eventStore,
    ...(Object.keys(vocabulary).length > 0 && { categories: Object.keys(vocabulary) }),
    ...(onWarning && { onWarning }),
    ...(folded && { folded }),
  });
}
