import { Controller, Get, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { mapInTurns, Optional, type Timestamp } from '#lib/platform';
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
  time,
  ValidBodies,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  ALL_ROWS,
  byRows,
  checked,
  heavy,
  numberOr,
  query,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { Row } from '#lib/projections';
import type { FrameData } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { FrameMinutesQuery, FramesOfFlight, FramesQuery, MinutesOfFlight } from '../query-rules.js';
import { CommandResult, FlightId, SavedResult } from '../rest.js';
import { MAX_BATCH } from '../fields.js';
import {
  FrameMinute,
  frameMinutesFollower,
  GetFrameMinutes,
  GetFrameMinutesHandler,
} from './frame-minutes.api.js';
import { FrameResult, saveFrameResult, SaveFrameResult } from './save-frame-result.js';
import { saveFrameResults, SaveFrameResults } from './save-frame-results.js';
import { frameResults, frameResultsTable } from './frame-results.projection.js';

/** A frame result as it is stored. */
export type FrameResultView = FrameData;

/** The frames with ids from `from` to `to`, both inclusive, and at most `limit` of them. */
export interface FrameRange {
  readonly from?: number | null | undefined;
  readonly to?: number | null | undefined;
  readonly limit?: number | null | undefined;
}

/** In the order of the frame ids. */
export class GetFrameResults extends Query<FrameResultView[]> {
  constructor(
    readonly flightId: string,
    readonly range: FrameRange = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetFrameResults)
export class GetFrameResultsHandler implements IQueryHandler<GetFrameResults> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, range, options }: GetFrameResults): Promise<FrameResultView[]> {
    const { from, to, limit } = checked(FramesOfFlight, { ...range, flightId, asOf: options.asOf });
    const rows = await this.reads.recorded(flightId, options, {
      table: frameResultsTable,
      ranges: [{ column: 'frame_id', from, to }],
      orderBy: ['frame_id'],
      limit,
    });
    return mapInTurns(rows, frameResultView);
  }
}

const frameResultView = (row: Row): FrameResultView => ({
  frameId: row['frame_id'] as number,
  gpsCenter: { lat: row['gps_lat'] as number, lon: row['gps_lon'] as number },
  altitude: row['altitude'] as number,
  heading: row['heading'] as number,
  confidence: row['confidence'] as number,
  refined: row['refined'] as boolean,
  timestamp: row['timestamp'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
});

const StoredFrame = shape('StoredFrame', () =>
  stored(FrameResult, { refined: { type: 'boolean' }, updatedAt: time }),
);
const StoredFrames = listOf('StoredFrames', StoredFrame);

const getFrameResults = query({
  query: GetFrameResults,
  handler: GetFrameResultsHandler,
  parameters: FramesOfFlight,
  make: ({ flightId, from, to, limit }, options) =>
    new GetFrameResults(flightId, { from, to, limit }, options),
  weight: byRows(({ limit, from, to }) =>
    Math.min(numberOr(ALL_ROWS, limit), numberOr(Infinity, to) - numberOr(0, from) + 1),
  ),
});

const getFrameMinutes = query({
  query: GetFrameMinutes,
  handler: GetFrameMinutesHandler,
  parameters: MinutesOfFlight,
  make: ({ flightId, from, to }, options) => new GetFrameMinutes(flightId, { from, to }, options),
  isApart: true,
  weight: heavy,
});

// The frame id is in the path, so the body can leave it out.
class FrameInPath extends FrameResult {
  @Optional() override readonly frameId!: number;
}

@Tag('frames')
@Controller('v1/flights/:id')
export class FramesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('frames')
  @Needs('reader', getFrameResults)
  @Operation({ summary: 'List frame results' })
  @Answers(200, StoredFrames)
  frames(
    @FlightId() id: string,
    @ValidQuery(FramesQuery) { asOf, ...range }: FramesQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetFrameResults(id, range, { ...options, asOf }));
  }

  @Get('frame-minutes')
  @Needs('reader', getFrameMinutes)
  @Operation({
    summary: 'Summarise frames by minute',
    description: 'How many, how certain, and how far they went.',
  })
  @Answers(200, [FrameMinute])
  frameMinutes(
    @FlightId() id: string,
    @ValidQuery(FrameMinutesQuery) range: FrameMinutesQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetFrameMinutes(id, range, options));
  }

  @Put('frames/:frameId')
  @Needs('operator')
  @Operation({
    summary: 'Save a frame result',
    description: 'Saving it again refines it; the log keeps both.',
  })
  @Answers(200, CommandResult)
  saveFrame(
    @FlightId() flightId: string,
    @Count('frameId') frameId: number,
    @ValidBody(FrameInPath) frame: FrameInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', frame.frameId, frameId);
    return this.commands.execute(new SaveFrameResult({ ...sender, flightId, frame: { ...frame, frameId } }));
  }

  @Post('frames')
  @Needs('operator')
  @Operation({ summary: 'Save many frame results' })
  @Answers(200, SavedResult)
  saveFrames(
    @FlightId() flightId: string,
    @ValidBodies(FrameResult, MAX_BATCH) frames: FrameResult[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new SaveFrameResults({ ...sender, flightId, frames }));
  }
}

export const framesPart: ContextPart = {
  commands: [saveFrameResult, saveFrameResults],
  projections: [frameResults],
  followers: [frameMinutesFollower],
  queries: [getFrameResults, getFrameMinutes],
  controllers: [FramesController],
};
