import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { RecordedEvent } from '#lib/event-store';
import { FlightReads } from './flight-reads.js';

/** The audit trail of a flight, also of a deleted one: events from a revision on, at most `limit`. */
export class GetFlightEvents extends Query<RecordedEvent[]> {
  constructor(
    readonly flightId: string,
    readonly fromRevision = 0,
    readonly limit = 1_000,
  ) {
    super();
  }
}

@QueryHandler(GetFlightEvents)
export class GetFlightEventsHandler implements IQueryHandler<GetFlightEvents> {
  constructor(private readonly reads: FlightReads) {}

  execute({ flightId, fromRevision, limit }: GetFlightEvents): Promise<RecordedEvent[]> {
    return this.reads.events(flightId, fromRevision, limit);
  }
}

/** The global log after a position, of all flights, at most `limit` events. */
export class GetEvents extends Query<RecordedEvent[]> {
  constructor(
    readonly after?: string,
    readonly limit = 1_000,
    readonly types?: readonly string[],
  ) {
    super();
  }
}

@QueryHandler(GetEvents)
export class GetEventsHandler implements IQueryHandler<GetEvents> {
  constructor(private readonly reads: FlightReads) {}

  execute({ after, limit, types }: GetEvents): Promise<RecordedEvent[]> {
    return this.reads.log({ after, limit, types });
  }
}
