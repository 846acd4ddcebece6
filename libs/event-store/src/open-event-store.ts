import type { Pool } from 'pg';
import { invalidInput, isEventStoreUrl, type Listener } from '#lib/platform';
import type { EventStore } from './event-store.js';
import type { NewLoss } from './history/losses.js';
import type { Folded } from './history/seen.js';
import { PostgresEventStore } from './postgres/postgres-event-store.js';
import { SealedEventStore, type Sealing } from './sealing/sealed-event-store.js';
import { asRecorded, type Upcasters } from './upcasting.js';

export interface OpenEventStoreOptions {
  /** A connection string of EventStoreDB; without one the log is in the database of `pool`. */
  readonly eventStore?: string | undefined;
  /** The read database; snapshots are there in both cases. */
  readonly pool: Pool;
  readonly listener: Listener;
  /**
   * The category of streams, as `flight` for `flight-...`. EventStoreDB can hold other streams too, which are skipped.
   */
  readonly categories?: readonly string[];
  readonly upcasters?: Upcasters;
  /** The sensitive fields and their keys; `as-recorded` leaves sealed fields sealed, for code that copies or counts. */
  readonly sealing: Sealing | 'as-recorded';
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
 * The log, wherever it is. Connects on first use.
 *
 * @throws WaylogError `config.invalid` and `log.connection-string`
 */
export async function openEventStore(options: OpenEventStoreOptions): Promise<EventStore> {
  const { sealing, upcasters, ...place } = options;
  if (sealing === 'as-recorded') return openUnsealed({ ...place, ...(upcasters && { upcasters }) });
  return new SealedEventStore(
    await openUnsealed({ ...place, upcasters: asRecorded }),
    sealing,
    upcasters ?? {},
  );
}

async function openUnsealed(options: Omit<OpenEventStoreOptions, 'sealing'>): Promise<EventStore> {
  const { eventStore, pool, listener, categories, upcasters, onWarning, onLoss, folded } = options;
  const common = { pool, ...(upcasters && { upcasters }), ...(onLoss && { onLoss }) };
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
    ...(categories && { categories }),
    ...(onWarning && { onWarning }),
    ...(folded && { folded }),
  });
}
