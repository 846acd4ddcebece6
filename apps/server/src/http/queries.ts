import { IsInt, Max, Min } from 'class-validator';
import { IsId, IsText, IsTimestamp, Optional } from '#lib/platform';

// The query strings of the routes.

const MAX_LIMIT = 100_000;

export class AsOf {
  /** An RFC 3339 time or a revision: the answer comes from the log as of then. */
  @Optional() @IsText() readonly asOf?: string;
}

export class WaypointsQuery extends AsOf {
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly limit?: number;
}

export class FramesQuery extends AsOf {
  /** The first frame id. */
  @Optional() @IsInt() @Min(0) @Max(2_147_483_647) readonly from?: number;
  /** The last frame id. */
  @Optional() @IsInt() @Min(0) @Max(2_147_483_647) readonly to?: number;
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly limit?: number;
}

export class FrameMinutesQuery {
  /** The first minute, an RFC 3339 time. */
  @Optional() @IsTimestamp() readonly from?: string;
  /** The end, exclusive. */
  @Optional() @IsTimestamp() readonly to?: string;
}

export class HeadingsQuery extends AsOf {
  /** The last so many. */
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly last?: number;
}

export class FlightEventsQuery {
  @Optional() @IsInt() @Min(0) @Max(2_147_483_647) readonly fromRevision?: number;
  @Optional() @IsInt() @Min(1) @Max(5_000) readonly limit?: number;
}

export class EventsQuery {
  /** Only events after this position. */
  @Optional() @IsId() readonly after?: string;
  @Optional() @IsInt() @Min(1) @Max(5_000) readonly limit?: number;
  /** Event types, with commas between. */
  @Optional() @IsText() readonly types?: string;
}
