import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, Max, Min } from 'class-validator';
import { FreeText, invalidInput, IsOpaqueId, Optional } from '#lib/platform';
import type { RecordedEvent } from '#lib/event-store';
import { EventReads } from './event-reads.js';
import { checked, query } from './query.js';
import { heavy } from './read-weight.js';
import { RunningContexts } from './running-contexts.js';

/** The limit of a read of events without one. */
export const DEFAULT_EVENTS = 1_000;
export const MAX_EVENTS = 5_000;
const MAX_TYPES_LENGTH = 1_000;

export class EventsQuery {
  /** Only events after this position. */
  @Optional() @IsOpaqueId() readonly after?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(MAX_EVENTS) readonly limit?: number | null | undefined;
  /** Event types, separated by commas. */
  @Optional() @FreeText(MAX_TYPES_LENGTH) readonly types?: string | null | undefined;
}

/** The global log after a position, of all contexts, at most `limit` (1,000). */
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
  constructor(
    private readonly reads: EventReads,
    private readonly contexts: RunningContexts,
  ) {}

  async execute({ types, ...asked }: GetEvents): Promise<RecordedEvent[]> {
    const { after, limit = DEFAULT_EVENTS } = checked(EventsQuery, asked);
    return this.reads.log({ after, limit, types: types ? this.#known(types) : undefined });
  }

  /** Throws `input.invalid` that names the first unknown event type. */
  #known(types: readonly string[]): readonly string[] {
    const all = this.contexts.eventTypes;
    const unknown = types.find((type) => !all.has(type));
    if (unknown === undefined) return types;
    throw invalidInput([
      {
        field: 'types',
        message: `has ${JSON.stringify(unknown.slice(0, 100))}, which is no event type. There are ${[...all].join(', ')}`,
      },
    ]);
  }
}

export const getEvents = query({
  query: GetEvents,
  handler: GetEventsHandler,
  parameters: EventsQuery,
  make: ({ after, limit, types }) => new GetEvents(after, limit, types?.split(',')),
  isApart: true,
  // However few are asked for: they wait for each other.
  weight: heavy,
});
