import { Example, IsTimestamp, Nested, Optional, parseTimestamp, type Timestamp } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import type { FlightEvent } from '../events.js';
import { Altitude, Confidence, Flag, FrameNumber, HeadingDegrees, normalHeading } from '../fields.js';
import { existing, same, type ExistingFlight } from '../flight.js';
import { GpsPoint } from '../gps-point.js';

/** What one camera frame says about the position of the aircraft. */
@Example<FrameResult>({
  frameId: 0,
  gpsCenter: { lat: 63.4401, lon: 10.4002 },
  altitude: 121.5,
  heading: 92.5,
  confidence: 0.4,
  timestamp: '2026-05-01T12:00:00.500Z',
})
export class FrameResult {
  @FrameNumber() readonly frameId!: number;
  /** The ground point in the middle of the frame. */
  @Nested(() => GpsPoint) readonly gpsCenter!: GpsPoint;
  @Altitude() readonly altitude!: number;
  @HeadingDegrees() readonly heading!: number;
  @Confidence() readonly confidence!: number;
  /** True once a later estimate has improved the result. */
  @Optional() @Flag() readonly refined?: boolean | null | undefined;
  /**
   * When the frame was taken. The frames and headings of a flight can be on `WAYLOG_FLIGHT_DAYS` (100) different days.
   */
  @IsTimestamp() readonly timestamp!: string;
  /** Kept if given; otherwise the time of the last change. */
  @Optional() @IsTimestamp() readonly updatedAt?: string | null | undefined;
}

export class SaveFrameResult extends FlightCommand {
  @Nested(() => FrameResult) readonly frame!: FrameResult;

  constructor(fields: { readonly flightId: string; readonly frame: FrameResult } & CommandOptions) {
    super(fields);
  }
}

/** The event of one saved frame, or none if nothing changes. Shared with SaveFrameResults. */
export function frameEvents(flight: ExistingFlight, frame: FrameResult, at: Timestamp): FlightEvent[] {
  const known = flight.frames.get(frame.frameId);
  const data = {
    frameId: frame.frameId,
    gpsCenter: { lat: frame.gpsCenter.lat, lon: frame.gpsCenter.lon },
    altitude: frame.altitude,
    heading: normalHeading(frame.heading),
    confidence: frame.confidence,
    refined: frame.refined ?? false,
    timestamp: parseTimestamp(frame.timestamp) ?? frame.timestamp,
    updatedAt: (frame.updatedAt && parseTimestamp(frame.updatedAt)) ?? at,
  };
  if (frame.updatedAt ? same(known, data) : same(known, data, 'updatedAt')) return [];
  // The table is keyed by time as well (docs/decisions/0003): a row that gets another time has to be moved.
  const moved = known && known.timestamp !== data.timestamp;
  return [{ type: 'FrameResultSaved', data: moved ? { ...data, supersedes: known.timestamp } : data }];
}

export const saveFrameResult = slice(SaveFrameResult, ({ flightId, frame }, flight, { at }) =>
  frameEvents(existing(flight, flightId), frame, at),
);
