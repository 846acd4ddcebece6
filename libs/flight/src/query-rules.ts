import { IsInt, Max, Min } from 'class-validator';
import { IsOpaqueId, IsTimestamp, Optional } from '#lib/platform';
import { ALL_ROWS, AsOf, MAX_EVENTS } from '#lib/waylog';
import { FrameNumber } from './fields.js';

// The rules for the parameters of queries: the same in process, by name through the gateway, and in a query string.
// Null and omitted mean the same.

export class OfFlight extends AsOf {
  @IsOpaqueId() readonly flightId!: string;
}

export class WaypointsQuery extends AsOf {
  @Optional() @IsInt() @Min(1) @Max(ALL_ROWS) readonly limit?: number | null | undefined;
}

export class WaypointsOfFlight extends WaypointsQuery {
  @IsOpaqueId() readonly flightId!: string;
}

export class FramesQuery extends AsOf {
  /** The first frame id. */
  @Optional() @FrameNumber() readonly from?: number | null | undefined;
  /** The last frame id. */
  @Optional() @FrameNumber() readonly to?: number | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(ALL_ROWS) readonly limit?: number | null | undefined;
}

export class FramesOfFlight extends FramesQuery {
  @IsOpaqueId() readonly flightId!: string;
}

export class FrameMinutesQuery {
  /** The first minute, an RFC 3339 time. */
  @Optional() @IsTimestamp() readonly from?: string | null | undefined;
  /** The end, exclusive. */
  @Optional() @IsTimestamp() readonly to?: string | null | undefined;
}

export class MinutesOfFlight extends FrameMinutesQuery {
  @IsOpaqueId() readonly flightId!: string;
}

export class HeadingsQuery extends AsOf {
  /** The last so many. */
  @Optional() @IsInt() @Min(1) @Max(ALL_ROWS) readonly last?: number | null | undefined;
}

export class HeadingsOfFlight extends HeadingsQuery {
  @IsOpaqueId() readonly flightId!: string;
}

export class ImageOfFlight extends OfFlight {
  @FrameNumber() readonly frameId!: number;
}

export class FlightEventsQuery {
  @Optional() @FrameNumber() readonly fromRevision?: number | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(MAX_EVENTS) readonly limit?: number | null | undefined;
}

export class EventsOfFlight extends FlightEventsQuery {
  @IsOpaqueId() readonly flightId!: string;
}
