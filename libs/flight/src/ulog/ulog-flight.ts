import { counted } from '#lib/platform';
import type { Timestamp } from '#lib/platform';
import type { Clock } from './clock.js';

/** A flight as a log tells it: plain data, to be turned into commands. */
export interface UlogFlight {
  /** The times of the first and from it to the last frame. */
  readonly startedAt: Timestamp;
  readonly durationSeconds: number;
  /** Frames per second that were asked for. */
  readonly rate: number;
  /** Degrees WGS84, metres above mean sea level: the first frame. */
  readonly start: { readonly lat: number; readonly lon: number; readonly altitude: number };
  readonly frames: readonly UlogFrame[];
  readonly waypoints: readonly UlogWaypoint[];
  readonly vehicle: UlogVehicle;
  readonly report: UlogReport;
}

export interface UlogFrame {
  /** Counted from 0, without holes. */
  readonly frameId: number;
  readonly lat: number;
  readonly lon: number;
  /** Metres above mean sea level. */
  readonly altitude: number;
  /** Degrees clockwise from north, 0 <= h < 360. */
  readonly heading: number;
  /** From the horizontal accuracy (confidenceOf); 0.5 where the log does not say. */
  readonly confidence: number;
  /** RFC 3339 with milliseconds. */
  readonly timestamp: Timestamp;
}

export interface UlogWaypoint {
  readonly lat: number;
  readonly lon: number;
  /** Metres above mean sea level; null where the mission does not say, as at a landing. */
  readonly altitude: number | null;
  /** 1 for a mission point, which is where it is by definition; else that of the frame. */
  readonly confidence: number;
  readonly timestamp: Timestamp;
}

/** What the log says of the vehicle; what it does not say is left out. */
export interface UlogVehicle {
  /** Usually `PX4`. */
  readonly system?: string;
  /** The board, such as `CUBEPILOT_CUBEORANGE`. */
  readonly hardware?: string;
  readonly hardwareId?: string;
  /** The version, such as `1.11.2`. */
  readonly firmware?: string;
  /** The git hash. */
  readonly firmwareHash?: string;
  readonly firmwareBranch?: string;
}

/** What was used, what was left out, and why. */
export interface UlogReport {
  /** What gave the positions, headings, confidence, waypoints and times, in one line each. */
  readonly sources: Readonly<Record<'positions' | 'headings' | 'confidence' | 'waypoints' | 'time', string>>;
  readonly file: { readonly path: string; readonly bytes: number };
  readonly positions: UlogSource;
  readonly headings: UlogSource;
  /** How the confidence of the frames came about. */
  readonly confidence: string;
  readonly waypoints: { readonly from: string; readonly count: number };
  /** Where the times come from, and why that may be wrong (which stands among the warnings, too). */
  readonly clock: Omit<Clock, 'offset'>;
  /** Sources of positions that were not used: the topic, and why. */
  readonly unused: readonly { readonly topic: string; readonly why: string }[];
  readonly frames: number;
  /** Times without positions, at most MAX_LISTED_GAPS of them. */
  readonly gaps: readonly { readonly from: Timestamp; readonly seconds: number }[];
  readonly gapCount: number;
  /** What the logger on the vehicle lost. */
  readonly dropouts: { readonly count: number; readonly milliseconds: number };
  /** Places where the file is damaged with the bytes skipped there, and bytes of a message that the end cuts off. */
  readonly damage: { readonly places: number; readonly bytes: number; readonly cutOff: number };
  /** Sentences for a person: everything that makes the import less than the flight. */
  readonly warnings: readonly string[];
}

/** A topic that was used. */
export interface UlogSource {
  /** With the instance where it is not 0: `sensor_gps#1`. */
  readonly topic: string;
  /** The fields, or what they were made into. */
  readonly from: string;
  /** Rows kept: of messages less than 10 ms apart the first. */
  readonly rows: number;
  readonly used: number;
  /** Rows left out, by reason. */
  readonly skipped: Readonly<Record<string, number>>;
}

export const MAX_LISTED_GAPS = 100;

/** The report as lines for a terminal. */
export function reportLines({ report, startedAt, durationSeconds, rate, start }: UlogFlight): string[] {
  const { damage, dropouts } = report;
  return [
    `${report.file.path}: ${report.frames} frames at ${rate}/s over ${durationSeconds} s from ${startedAt}, ` +
      `beginning at ${start.lat}, ${start.lon}, ${start.altitude} m`,
    ...Object.entries(report.sources).map(([what, source]) => `${what}: ${source}`),
    ...report.unused.map(({ topic, why }) => `not used: ${topic} (${why})`),
    `lost by the logger: ${dropouts.milliseconds} ms in ${dropouts.count} dropouts; damaged: ${damage.bytes} bytes in ${damage.places} places`,
    ...report.warnings.map((warning) => `warning: ${warning}`),
  ];
}

/** A source in one line, with what was left out of it. */
export const sourceLine = ({ topic, from, rows, used, skipped }: UlogSource): string =>
  [`${topic} (${from}), ${used} of ${counted(rows, 'row')}`, ...reasons(skipped)].join('; ');

/** `5 without a 3D fix`, by reason. */
export const reasons = (skipped: Readonly<Record<string, number>>): string[] =>
  Object.entries(skipped).map(([why, count]) => `${count} ${why}`);
