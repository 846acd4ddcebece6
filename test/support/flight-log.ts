import type pg from 'pg';
import { DataKeys, openEventStore, type EventStore, type RecordedEvent } from '#lib/event-store';
import type { Listener } from '#lib/platform';
import { flight } from '#lib/flight';

/** A log of flights outside Waylog: it opens sealed fields. */
export const openFlightLog = (place: {
  readonly eventStore: string | undefined;
  readonly pool: pg.Pool;
  readonly listener: Listener;
}): Promise<EventStore> =>
  openEventStore({
    eventStore: place.eventStore,
    pool: place.pool,
    listener: place.listener,
    keys: new DataKeys(place.pool),
    vocabulary: flight.vocabulary,
  });

/** All events of a log, in its order. */
export async function allEvents(store: EventStore): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for (let after = store.beginning; ;) {
    const page = await store.readAll({ after, limit: 1_000 });
    events.push(...page);
    const last = page.at(-1);
    if (!last) return events;
    after = last.position;
  }
}
