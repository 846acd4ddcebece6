import { IsInt, Max, Min } from 'class-validator';
import {
  invalidInput,
  IsOpaqueId,
  IsTimestamp,
  Optional,
  validate,
  type Class,
  FreeText,
} from '#lib/platform';
import { FLIGHT_EVENT_TYPES } from './events.js';
import { FrameNumber } from './fields.js';

// The rules for the parameters of queries: the same in process, by name through the gateway, and in a query string.
// Null and omitted mean the same.

/** The checked parameters of a query, without those that are null. Throws `input.invalid`. */
export function checked<T extends object>(
  rules: Class<T>,
  given: T,
): { [K in keyof T]: Exclude<T[K], null> } {
  validate(rules, given);
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as never;
}

const MAX_LIMIT = 100_000;
const MAX_EVENTS = 5_000;
/** All event types together have some 270 characters. */
const MAX_TYPES_LENGTH = 1_000;

export class AsOf {
  /** An RFC 3339 time or a revision: the answer comes from the log as of then. */
  @Optional() @FreeText(100) readonly asOf?: string | null | undefined;
}

export class OfFlight extends AsOf {
  @IsOpaqueId() readonly flightId!: string;
}

export class WaypointsQuery extends AsOf {
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly limit?: number | null | undefined;
}

export class WaypointsOfFlight extends WaypointsQuery {
  @IsOpaqueId() readonly flightId!: string;
}

export class FramesQuery extends AsOf {
  /** The first frame id. */
  @Optional() @FrameNumber() readonly from?: number | null | undefined;
  /** The last frame id. */
  @Optional() @FrameNumber() readonly to?: number | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly limit?: number | null | undefined;
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
  @Optional() @IsInt() @Min(1) @Max(MAX_LIMIT) readonly last?: number | null | undefined;
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

export class EventsQuery {
  /** Only events after this position. */
  @Optional() @IsOpaqueId() readonly after?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(MAX_EVENTS) readonly limit?: number | null | undefined;
  /** Event types, separated by commas. */
  @Optional() @FreeText(MAX_TYPES_LENGTH) readonly types?: string | null | undefined;
}

/** Throws `input.invalid` that names the first unknown event type. */
export function knownTypes(types: readonly string[]): readonly string[] {
  const unknown = types.find((type) => !FLIGHT_EVENT_TYPES.has(type));
  if (unknown === undefined) return types;
  throw invalidInput([
    {
      field: 'types',
      message: `has ${JSON.stringify(unknown.slice(0, 100))}, which is no event type. There are ${[...FLIGHT_EVENT_TYPES].join(', ')}`,
    },
  ]);
}
