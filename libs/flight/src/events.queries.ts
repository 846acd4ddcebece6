import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { RecordedEvent } from '#lib/event-store';
import { FlightReads } from './flight-reads.js';
import { checked, EventsOfFlight, EventsQuery, knownTypes } from './query-rules.js';

const DEFAULT_LIMIT = 1_000;

/** The audit trail of a flight, even of a deleted one: events from a revision on, at most `limit` (1,000). */
export class GetFlightEvents extends Query<RecordedEvent[]> {
  constructor(
    readonly flightId: string,
    readonly fromRevision?: number | null,
    readonly limit?: number | null,
  ) {
    super();
  }
}

@QueryHandler(GetFlightEvents)
export class GetFlightEventsHandler implements IQueryHandler<GetFlightEvents> {
  constructor(private readonly reads: FlightReads) {}

  async execute(query: GetFlightEvents): Promise<RecordedEvent[]> {
    const { flightId, fromRevision = 0, limit = DEFAULT_LIMIT } = checked(EventsOfFlight, query);
    return this.reads.events(flightId, fromRevision, limit);
  }
}

/** The global log after a position, of all flights, at most `limit` (1,000). */
export class GetEvents extends Query<RecordedEvent[]> {
  constructor(
    readonly after?: string | null,
    readonly limit?: number | null,
    readonly types?: readonly string[] | null,
  ) {
    super();
  }
}

@QueryHandler(GetEvents)
export class GetEventsHandler implements IQueryHandler<GetEvents> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ types, ...query }: GetEvents): Promise<RecordedEvent[]> {
    const { after, limit = DEFAULT_LIMIT } = checked(EventsQuery, query);
    return this.reads.log({ after, limit, types: types ? knownTypes(types) : undefined });
  }
}
