import { Controller, Get, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { mapInTurns, notFound, Optional, type Timestamp } from '#lib/platform';
import {
  Answers,
  Count,
  Freshness,
  listOf,
  Needs,
  Operation,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  ValidBodies,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  ALL_ROWS,
  AsOf,
  byRows,
  checked,
  numberOr,
  query,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { Row } from '#lib/projections';
import type { HeadingData } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { HeadingsOfFlight, HeadingsQuery, OfFlight } from '../query-rules.js';
import { CommandResult, FlightId, SavedResult } from '../rest.js';
import { MAX_BATCH } from '../fields.js';
import { HeadingRecord, saveHeading, SaveHeading } from './save-heading.js';
import { saveHeadings, SaveHeadings } from './save-headings.js';
import { headingHistory, headingHistoryTable } from './heading-history.projection.js';

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

const StoredHeading = shape('StoredHeading', () => stored(HeadingRecord));
const StoredHeadings = listOf('StoredHeadings', StoredHeading);

const getHeadingHistory = query({
  query: GetHeadingHistory,
  handler: GetHeadingHistoryHandler,
  parameters: HeadingsOfFlight,
  make: ({ flightId, last }, options) => new GetHeadingHistory(flightId, last, options),
  weight: byRows(({ last }) => numberOr(ALL_ROWS, last)),
});

const getLatestHeading = query({
  query: GetLatestHeading,
  handler: GetLatestHeadingHandler,
  parameters: OfFlight,
  make: ({ flightId }, options) => new GetLatestHeading(flightId, options),
});

// The frame id is in the path, so the body can leave it out.
class HeadingInPath extends HeadingRecord {
  @Optional() override readonly frameId!: number;
}

@Tag('frames')
@Controller('v1/flights/:id')
export class HeadingsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('headings')
  @Needs('reader', getHeadingHistory)
  @Operation({ summary: 'List headings' })
  @Answers(200, StoredHeadings)
  headings(
    @FlightId() id: string,
    @ValidQuery(HeadingsQuery) { last, asOf }: HeadingsQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetHeadingHistory(id, last, { ...options, asOf }));
  }

  @Get('headings/latest')
  @Needs('reader', getLatestHeading)
  @Operation({ summary: 'Read the latest heading' })
  @Answers(200, StoredHeading)
  latestHeading(@FlightId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetLatestHeading(id, { ...options, asOf }));
  }

  @Put('headings/:frameId')
  @Needs('operator')
  @Operation({ summary: 'Save a heading' })
  @Answers(200, CommandResult)
  saveHeading(
    @FlightId() flightId: string,
    @Count('frameId') frameId: number,
    @ValidBody(HeadingInPath) heading: HeadingInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', heading.frameId, frameId);
    return this.commands.execute(new SaveHeading({ ...sender, flightId, heading: { ...heading, frameId } }));
  }

  @Post('headings')
  @Needs('operator')
  @Operation({ summary: 'Save many headings' })
  @Answers(200, SavedResult)
  saveHeadings(
    @FlightId() flightId: string,
    @ValidBodies(HeadingRecord, MAX_BATCH) headings: HeadingRecord[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new SaveHeadings({ ...sender, flightId, headings }));
  }
}

export const headingsPart: ContextPart = {
  commands: [saveHeading, saveHeadings],
  projections: [headingHistory],
  queries: [getHeadingHistory, getLatestHeading],
  controllers: [HeadingsController],
};
