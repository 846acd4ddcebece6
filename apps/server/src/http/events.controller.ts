import { Controller, Get } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { Answers, Events, Needs, Operation, Tag, ValidQuery } from '#lib/rest';
import { EventsQuery, getEvents, GetEvents } from '#lib/waylog';

/** The log itself: the events of all contexts. */
@Tag('events')
@Controller('v1')
export class EventsController {
  constructor(private readonly queries: QueryBus) {}

  @Get('events')
  @Needs('reader', getEvents)
  @Operation({
    summary: 'Read the log',
    description: 'Events of everything in the order of the log, after a position.',
  })
  @Answers(200, Events)
  all(@ValidQuery(EventsQuery) { after, limit, types }: EventsQuery) {
    return this.queries.execute(new GetEvents(after, limit, types?.split(',')));
  }
}
