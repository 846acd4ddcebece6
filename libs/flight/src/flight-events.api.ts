import { Controller, Get } from '@nestjs/common';
import { Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { RecordedEvent } from '#lib/event-store';
import { Answers, Events, Needs, Operation, Tag, ValidQuery } from '#lib/rest';
import { checked, DEFAULT_EVENTS, heavy, query, type ContextPart } from '#lib/waylog';
import { FlightReads } from './flight-reads.js';
import { EventsOfFlight, FlightEventsQuery } from './query-rules.js';
import { FlightId } from './rest.js';

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
    const { flightId, fromRevision = 0, limit = DEFAULT_EVENTS } = checked(EventsOfFlight, query);
    return this.reads.events(flightId, fromRevision, limit);
  }
}

const getFlightEvents = query({
  query: GetFlightEvents,
  handler: GetFlightEventsHandler,
  parameters: EventsOfFlight,
  make: ({ flightId, fromRevision, limit }) => new GetFlightEvents(flightId, fromRevision, limit),
  isApart: true,
  // However few are asked for: they wait for each other.
  weight: heavy,
});

@Tag('events')
@Controller('v1/flights/:id')
export class FlightEventsController {
  constructor(private readonly queries: QueryBus) {}

  @Get('events')
  @Needs('reader', getFlightEvents)
  @Operation({
    summary: "Read a flight's events",
    description: 'The audit trail of one flight, in order.',
  })
  @Answers(200, Events)
  ofFlight(
    @FlightId() id: string,
    @ValidQuery(FlightEventsQuery) { fromRevision, limit }: FlightEventsQuery,
  ) {
    return this.queries.execute(new GetFlightEvents(id, fromRevision, limit));
  }
}

export const flightEventsPart: ContextPart = {
  queries: [getFlightEvents],
  controllers: [FlightEventsController],
};
