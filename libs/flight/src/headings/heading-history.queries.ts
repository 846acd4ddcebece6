import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { notFound, type Timestamp, mapInTurns } from '#lib/platform';
import type { Row } from '#lib/projections';
import type { HeadingData } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, HeadingsOfFlight } from '../query-rules.js';
import { headingHistoryTable } from './heading-history.projection.js';

/** A heading as it is stored. */
export type HeadingView = HeadingData;

const view = (row: Row): HeadingView => ({
  frameId: row['frame_id'] as number,
  heading: row['heading'] as number,
  timestamp: row['timestamp'] as Timestamp,
});

/** Oldest first; the last `last` of them, or all. */
export class GetHeadingHistory extends Query<HeadingView[]> {
  constructor(
    readonly flightId: string,
    readonly last?: number | null,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetHeadingHistory)
export class GetHeadingHistoryHandler implements IQueryHandler<GetHeadingHistory> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options, ...query }: GetHeadingHistory): Promise<HeadingView[]> {
    const { last } = checked(HeadingsOfFlight, { flightId, last: query.last, asOf: options.asOf });
    const newestFirst = await this.reads.recorded(flightId, options, {
      table: headingHistoryTable,
      orderBy: ['timestamp', 'frame_id'],
      descending: true,
      limit: last,
    });
    return mapInTurns(newestFirst.reverse(), view);
  }
}

/** The heading with the latest timestamp. Throws `heading.not-found` for a flight without any. */
export class GetLatestHeading extends Query<HeadingView> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetLatestHeading)
export class GetLatestHeadingHandler implements IQueryHandler<GetLatestHeading> {
  constructor(private readonly history: GetHeadingHistoryHandler) {}

  async execute({ flightId, options }: GetLatestHeading): Promise<HeadingView> {
    const [latest] = await this.history.execute(new GetHeadingHistory(flightId, 1, options));
    if (!latest) throw notFound('heading.not-found', `Flight ${flightId} has no heading yet.`, { flightId });
    return latest;
  }
}
