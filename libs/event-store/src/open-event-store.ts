import type { Pool } from 'pg';
import type { Listener } from '#lib/platform';
import type { EventStore } from './event-store.js';
import { PostgresEventStore } from './postgres/postgres-event-store.js';
import type { Upcasters } from './upcasting.js';

export interface OpenEventStoreOptions {
  /** A connection string of EventStoreDB; without one the log is in the database of `pool`. */
  readonly eventStore?: string | undefined;
  /** The read database; snapshots are there in both cases. */
  readonly pool: Pool;
  readonly listener: Listener;
  readonly upcasters?: Upcasters;
  readonly onWarning?: (message: string) => void;
}

/** The log, wherever it is. Nothing is connected before it is used. */
export function openEventStore(options: OpenEventStoreOptions): EventStore {
  const { pool, listener, upcasters } = options;
  return new PostgresEventStore({ pool, listener, ...(upcasters && { upcasters }) });
}
