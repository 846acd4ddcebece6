import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { Timestamp } from '#lib/platform';
import { newId, type FlightCommand } from '../command.js';
import { CreateFlight, ImportedFlight } from '../flight/create-flight.js';
import { GpsPoint } from '../gps-point.js';
import { FrameResult } from '../frames/save-frame-result.js';
import { SaveFrameResults } from '../frames/save-frame-results.js';
import { HeadingRecord } from '../headings/save-heading.js';
import { SaveHeadings } from '../headings/save-headings.js';
import { FlightStateFields, SaveFlightState } from '../processing-state/save-flight-state.js';
import { NewWaypoint } from '../waypoints/waypoint.js';
import { isOfLog } from './clock.js';
import { NO_EARLIER_IMPORT, type EarlierImport } from './earlier-import.js';
import { readable } from './log-scanner.js';
import type { UlogFlight, UlogFrame } from './ulog-flight.js';

export interface UlogCommandOptions {
  readonly flightId: string;
  /** Default: what the log says of vehicle and day, such as `PX4 CUBEPILOT_CUBEORANGE 2021-04-21 06:30`. */
  readonly name?: string | undefined;
  /** Who imports, for the audit trail. */
  readonly actor?: string | undefined;
  /** What is recorded of this flight already; default: nothing. */
  readonly earlier?: EarlierImport | undefined;
}

/** Frames, or headings, in one command. */
export const IMPORT_BATCH = 500;
const MAX_ID = 128;
const MAX_WARNINGS = 10;

/**
 * The commands that record a flight, in their order: the flight with its waypoints, then in batches the frames, their
 * headings and how far it has come, and at the end `completed`. Execute one after the other.
 *
 * Every command has an id made of the flight, the content and its place. So an import that was killed and is run again
 * goes on where it stopped, and one that is run twice records nothing new, also from a copy under another name; the same
 * flight with other content (another rate, a file with other bytes) is refused at the first command with
 * `flight.already-exists` rather than mixed in. For that, `flight` is dated as in the import before: see `datedAsBefore`.
 */
export function* ulogCommands(
  flight: UlogFlight,
  { flightId, name, actor, earlier = NO_EARLIER_IMPORT }: UlogCommandOptions,
): Generator<FlightCommand, void, undefined> {
  const idOf = commandIds(flight, flightId, earlier);
  const base = (place: string) => ({ flightId, actor, commandId: idOf(place) });
  const state = (place: string, status: string, framesProcessed: number) =>
    new SaveFlightState({
      ...base(`state ${place}`),
      state: made(FlightStateFields, {
        status,
        framesProcessed,
        framesTotal: flight.frames.length,
        currentFrame: framesProcessed > 0 ? framesProcessed - 1 : null,
        blocked: false,
      }),
    });

  // Another name of the file says the same flight in other words, which a command of the same id may not.
  if (!isBegunBy(flight, flightId, earlier))
    yield new CreateFlight({ ...base('flight'), flight: newFlight(flight, flightId, name) });
  yield state('0', 'processing', 0);
  for (let from = 0, batch = 0; from < flight.frames.length; from += IMPORT_BATCH, batch += 1) {
    const frames = flight.frames.slice(from, from + IMPORT_BATCH);
    yield new SaveFrameResults({ ...base(`frames ${batch}`), frames: frames.map(frameResult) });
    yield new SaveHeadings({
      ...base(`headings ${batch}`),
      headings: frames.map(({ frameId, heading, timestamp }) =>
        made(HeadingRecord, { frameId, heading, timestamp }),
      ),
    });
    const done = from + frames.length;
    if (done < flight.frames.length) yield state(String(batch + 1), 'processing', done);
  }
  yield state('end', 'completed', flight.frames.length);
}

/** How many commands ulogCommands will give, for a progress bar. */
export const ulogCommandCount = ({ frames }: UlogFlight): number =>
  3 + Math.max(0, Math.ceil(frames.length / IMPORT_BATCH) * 3 - 1);

const frameResult = ({ frameId, lat, lon, altitude, heading, confidence, timestamp }: UlogFrame) =>
  made(FrameResult, {
    frameId,
    gpsCenter: made(GpsPoint, { lat, lon }),
    altitude,
    heading,
    confidence,
    timestamp,
  });

function newFlight(flight: UlogFlight, id: string, name: string | undefined) {
  const { start, waypoints } = flight;
  return made(ImportedFlight, {
    id,
    name: name ?? defaultName(flight),
    description: description(flight),
    startGps: made(GpsPoint, { lat: start.lat, lon: start.lon }),
    altitude: start.altitude,
    cameraParams: sourceInfo(flight),
    waypoints: waypoints.map((waypoint) => made(NewWaypoint, waypoint)),
  });
}

const defaultName = ({ vehicle, startedAt }: UlogFlight) =>
  `${[vehicle.system ?? 'PX4', vehicle.hardware].filter(Boolean).join(' ').slice(0, 200)} ${startedAt.slice(0, 16).replace('T', ' ')}`;

function description({ report, vehicle, rate, durationSeconds }: UlogFlight): string {
  const firmware = [vehicle.system ?? 'PX4', vehicle.firmware].filter(Boolean).join(' ');
  return (
    `Imported from ${fileName(report.file.path)}, a flight log of ${firmware}${vehicle.hardware === undefined ? '' : ` on ${vehicle.hardware}`}: ` +
    `${report.frames} frames at ${rate}/s over ${durationSeconds} s, positions from ${report.positions.topic}, ` +
    `headings from ${report.headings.topic}, waypoints from ${report.waypoints.from}.`
  );
}

/** Where the flight comes from, in place of a camera: a log has none. Stays far below the 16 KiB and 500 values of cameraParams. */
function sourceInfo({ report, vehicle, startedAt, durationSeconds, rate }: UlogFlight): object {
  return {
    source: 'px4-ulog',
    file: fileName(report.file.path),
    bytes: report.file.bytes,
    startedAt,
    durationSeconds,
    rate,
    vehicle: { ...vehicle },
    positions: report.positions.topic,
    headings: `${report.headings.topic}: ${report.headings.from}`,
    confidence: report.confidence,
    clock: report.clock.how,
    clockFrom: report.clock.from,
    gaps: report.gapCount,
    damagedBytes: report.damage.bytes,
    warnings: report.warnings.slice(0, MAX_WARNINGS).map((warning) => warning.slice(0, 500)),
  };
}

/** As it may stand in a text column: file names may hold anything but `/` and NUL. */
const fileName = (path: string) => readable(basename(path));

/** Whether the flight that there is was made by an import of the same content. */
export const isBegunBy = (flight: UlogFlight, flightId: string, earlier: EarlierImport): boolean =>
  earlier.creation?.commandId === commandIds(flight, flightId, earlier)('flight');

/**
 * The flight with the times of an earlier import of the same content, where its log does not say when it was recorded: a
 * copy has another path and another time of modification, and one flight has one time.
 */
export function datedAsBefore(flight: UlogFlight, flightId: string, earlier: EarlierImport): UlogFlight {
  const { startedAt, clock } = earlier.creation ?? {};
  const { report } = flight;
  if (isOfLog(report.clock.from) || startedAt === undefined || !isBegunBy(flight, flightId, earlier))
    return flight;
  const later = Date.parse(startedAt) - Date.parse(flight.startedAt);
  const moved = (time: Timestamp) => new Date(Date.parse(time) + later).toISOString();
  const how = `an earlier import of this log${clock === undefined ? '' : `, by ${clock}`}`;
  const warning =
    'The log does not say when it was recorded, so the times of the flight are those that an earlier import of it was given' +
    (later === 0 ? '.' : `; by ${report.clock.how}, it would have begun at ${flight.startedAt}.`);
  return {
    ...flight,
    startedAt,
    frames: flight.frames.map((frame) => ({ ...frame, timestamp: moved(frame.timestamp) })),
    waypoints: flight.waypoints.map((waypoint) => ({ ...waypoint, timestamp: moved(waypoint.timestamp) })),
    report: {
      ...report,
      sources: { ...report.sources, time: how },
      clock: { from: 'earlier-import', how, warning },
      gaps: report.gaps.map((gap) => ({ ...gap, from: moved(gap.from) })),
      warnings: report.warnings.map((text) => (text === report.clock.warning ? warning : text)),
    },
  };
}

function commandIds(flight: UlogFlight, flightId: string, { deletions }: EarlierImport) {
  const content = contentOf(flight);
  const life = deletions > 0 ? ` after deletion ${deletions}` : '';
  return (place: string) => shortened(`import ${flightId} ${content}${life} ${place}`);
}

/**
 * What tells two imports apart: the frames and waypoints. The name and the texts may change without that, and so may the
 * day of a flight whose log does not tell it: then times count from its beginning.
 */
function contentOf({ startedAt, frames, waypoints, report }: UlogFlight): string {
  const isDated = isOfLog(report.clock.from);
  const contentOfEach = <T extends { readonly timestamp: Timestamp }>(item: T) =>
    isDated ? item : { ...item, timestamp: Date.parse(item.timestamp) - Date.parse(startedAt) };
  const hash = createHash('sha256').update(JSON.stringify(waypoints.map(contentOfEach)));
  for (const frame of frames) hash.update(JSON.stringify(contentOfEach(frame)));
  return hash.digest('hex').slice(0, 12);
}

/** Ids have 128 characters at most; a long flight id leaves no room for the place. */
const shortened = (text: string): string => (text.length <= MAX_ID ? text : newId(text, 'import'));

/** An input of a command, checked by the compiler field by field. */
const made = <T extends object>(Type: new () => T, fields: { readonly [Field in keyof T]: T[Field] }): T =>
  Object.assign(new Type(), fields);
