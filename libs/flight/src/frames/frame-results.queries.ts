import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { mapInTurns, type Timestamp } from '#lib/platform';
import type { Row } from '#lib/projections';
import type { FrameData } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, FramesOfFlight } from '../query-rules.js';
import { frameResultsTable } from './frame-results.projection.js';

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
