import { Example, IsTimestamp, Nested, parseTimestamp } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import type { FlightEvent } from '../events.js';
import { FrameNumber, HeadingDegrees, normalHeading } from '../fields.js';
import { existing, same, type ExistingFlight } from '../flight.js';

/** The direction of the aircraft at one frame: for smoothing, and for turning the next image. */
@Example<HeadingRecord>({ frameId: 0, heading: 92.5, timestamp: '2026-05-01T12:00:00.500Z' })
export class HeadingRecord {
  @FrameNumber() readonly frameId!: number;
  @HeadingDegrees() readonly heading!: number;
  @IsTimestamp() readonly timestamp!: string;
}

export class SaveHeading extends FlightCommand {
  @Nested(() => HeadingRecord) readonly heading!: HeadingRecord;

  constructor(fields: { readonly flightId: string; readonly heading: HeadingRecord } & CommandOptions) {
    super(fields);
  }
}

/** The event of one saved heading, or none if nothing changes. Shared with SaveHeadings. */
export function headingEvents(
  flight: ExistingFlight,
  { frameId, heading, timestamp }: HeadingRecord,
): FlightEvent[] {
  const known = flight.headings.get(frameId);
  const data = {
    frameId,
    heading: normalHeading(heading),
    timestamp: parseTimestamp(timestamp) ?? timestamp,
  };
  if (same(known, data)) return [];
  const moved = known && known.timestamp !== data.timestamp;
  return [{ type: 'HeadingSaved', data: moved ? { ...data, supersedes: known.timestamp } : data }];
}

export const saveHeading = slice(SaveHeading, ({ flightId, heading }, flight) =>
  headingEvents(existing(flight, flightId), heading),
);
