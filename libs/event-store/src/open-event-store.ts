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
  /** What streams are called, as `flight` for `flight-...`. In EventStoreDB others' may stand beside them, and are passed over. */
  readonly categories?: readonly string[];
  readonly upcasters?: Upcasters;
  /** What is sensitive, and its keys; `as-recorded` leaves sealed fields sealed, for whoever copies or counts. */
  readonly sealing: Sealing | 'as-recorded';
  readonly onWarning?: (message: string) => void;
  /** Told when the log turns out to have lost its end. */
  readonly onLoss?: (loss: NewLoss) => void;
  /** How far the tables hold the log: it must not end before that. Asked where the log is in another place than the tables. */
  readonly folded?: () => Promise<Folded | undefined>;
}

/**
 * The log, wherever it is. Nothing is connected before it is used.
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
  // Its client takes a third of a second to load, which every other process is spared.
  const { EventStoreDbEventStore } = await import('./eventstoredb/eventstoredb-event-store.js');
  return new EventStoreDbEventStore({
    ...common,
    connectionString: eventStore,
    ...(categories && { categories }),
    ...(onWarning && { onWarning }),
    ...(folded && { folded }),
  });
}
