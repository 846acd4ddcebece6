import { Controller, Get } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { EventsQuery, FlightEventsQuery, GetEvents, GetFlightEvents } from '#lib/flight';
import { Answers } from './answer.js';
import { Id, ValidQuery } from './input.js';

/** The log itself: the audit trail of a flight, and all events. */
@ApiTags('events')
@Controller('v1')
export class EventsController {
  constructor(private readonly queries: QueryBus) {}

  @Get('flights/:id/events')
  @ApiOperation({
    summary: "Read a flight's events",
    description: 'The audit trail of one flight, in order.',
  })
  @Answers(200, 'Events')
  ofFlight(@Id() id: string, @ValidQuery(FlightEventsQuery) { fromRevision, limit }: FlightEventsQuery) {
    return this.queries.execute(new GetFlightEvents(id, fromRevision, limit));
  }

  @Get('events')
  @ApiOperation({
    summary: 'Read the log',
    description: 'Events of all flights in the order of the log, after a position.',
  })
  @Answers(200, 'Events')
  all(@ValidQuery(EventsQuery) { after, limit, types }: EventsQuery) {
    return this.queries.execute(new GetEvents(after, limit, types?.split(',')));
  }
}
