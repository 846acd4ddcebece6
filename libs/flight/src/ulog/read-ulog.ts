import { invalidInput, WaylogError, type FieldError, type Timestamp, counted } from '#lib/platform';
import { MAX_BATCH } from '../fields.js';
import { clockOf } from './clock.js';
import { bestHeadings, courseHeadings, type HeadingSource } from './headings.js';
import { readLogFile, type LogFile } from './log-file.js';
import { missionOf, type Mission } from './mission.js';
import { bestPositions, positionsOf, UNKNOWN_CONFIDENCE, type PositionSource } from './positions.js';
import { sample, sampleCount, type Sample, type Sampled } from './sampling.js';
import { MAX_GAP_SECONDS } from './tidy.js';
import { POSITION_TOPICS, WANTED } from './topics.js';
import {
  MAX_LISTED_GAPS,
  reasons,
  sourceLine,
  type UlogFlight,
  type UlogFrame,
  type UlogReport,
  type UlogSource,
  type UlogVehicle,
  type UlogWaypoint,
} from './ulog-flight.js';

export interface ReadUlogOptions {
  /** Frames per second, above 0 to 1,000; default 2. */
  readonly rate?: number | undefined;
  /** Every n-th frame becomes a waypoint, even where the log has a mission. Default: the mission, else about 80 frames. */
  readonly waypointEvery?: number | undefined;
  /** Told after every megabyte. */
  readonly onProgress?: ((bytesRead: number, bytes: number) => void) | undefined;
}

export const DEFAULT_RATE = 2;
const MAX_RATE = 1_000;
const MAX_FRAMES = 1_000_000;
const DEFAULT_WAYPOINTS = 80;
const MAX_WAYPOINTS = MAX_BATCH;

/**
 * Reads a PX4 flight log (.ulg) as a flight: positions from the estimate, GPS or the local position, headings from the
 * attitude, waypoints from the mission or the frames. Damaged and cut-off files give what is left in them; the report
 * says what was used, what was left out and why.
 *
 * Throws `input.invalid` for a rate or a waypoint distance that cannot be, `ulog.unreadable` for what is no ULog,
 * `ulog.no-position` for a log without a single usable position (naming the topics it looked for and those there are),
 * and `ulog.too-many-frames` above a million frames.
 */
export async function readUlog(path: string, options: ReadUlogOptions = {}): Promise<UlogFlight> {
  const { rate = DEFAULT_RATE, waypointEvery, onProgress } = options;
  checkOptions(rate, waypointEvery);
  // Twice the rate is all that interpolation can use; 100 Hz keep the headings of a turn.
  const log = await readLogFile(path, { wanted: WANTED, spacing: 1e6 / Math.max(100, 2 * rate), onProgress });
  return flightOf(log, rate, waypointEvery);
}

function checkOptions(rate: number, waypointEvery: number | undefined): void {
  const errors: FieldError[] = [];
  if (!(rate > 0 && rate <= MAX_RATE)) {
    errors.push({ field: 'rate', message: `must be above 0 and at most ${MAX_RATE} frames per second` });
  }
  if (waypointEvery !== undefined && !(Number.isSafeInteger(waypointEvery) && waypointEvery >= 1)) {
    errors.push({ field: 'waypointEvery', message: 'must be a whole number of frames, 1 or more' });
  }
  if (errors.length > 0) throw invalidInput(errors);
}

/** The flight of a log that has been read. Pure. */
export function flightOf(log: LogFile, rate: number, waypointEvery?: number): UlogFlight {
  const sources = log.rows
    .filter(({ topic }) => (POSITION_TOPICS as readonly string[]).includes(topic))
    .map((rows) => positionsOf(rows));
  const best = bestPositions(sources);
  if (!best) throw noPosition(log, sources);
  checkFrameCount(best, rate, log.path);
  const headings = bestHeadings(log.rows) ?? courseHeadings(best.positions);
  const sampled = sample(best.positions, headings.headings, rate);
  const { clock, warnings } = clockOf(log, spanOf(best));
  const at = (time: number) => timestampOf(time + clock.offset);
  const frames = sampled.samples.map((taken, frameId) => frameOf(taken, frameId, at));
  const first = frames[0];
  const last = frames.at(-1);
  if (!first || !last) throw noPosition(log, sources);
  const mission = waypointEvery === undefined ? missionOf(log.rows, first.altitude) : undefined;
  const waypoints = mission
    ? missionWaypoints(mission, sampled.samples, at)
    : frameWaypoints(frames, waypointEvery);
  const positions: UlogSource = {
    topic: named(best),
    from: best.fields.join(', '),
    rows: best.rows,
    used: best.positions.length,
    skipped: best.skipped,
  };
  const pointing: UlogSource = {
    topic: named(headings),
    from: headings.how,
    rows: headings.rows,
    used: headings.headings.length,
    skipped: {},
  };
  const confidence = confidenceText(sampled);
  const report: UlogReport = {
    sources: {
      positions: sourceLine(positions),
      headings: sourceLine(pointing),
      confidence,
      waypoints: waypoints.from,
      time: clock.how,
    },
    file: { path: log.path, bytes: log.bytes },
    positions,
    headings: pointing,
    confidence,
    waypoints: { from: waypoints.from, count: waypoints.points.length },
    clock: {
      from: clock.from,
      how: clock.how,
      ...(clock.warning !== undefined && { warning: clock.warning }),
    },
    unused: unusedOf(sources, best),
    frames: frames.length,
    gaps: sampled.gaps
      .slice(0, MAX_LISTED_GAPS)
      .map(({ from, to }) => ({ from: at(from), seconds: seconds(to - from) })),
    gapCount: sampled.gaps.length,
    dropouts: log.dropouts,
    damage: { ...log.damage, cutOff: log.cutOff },
    warnings: [...log.notes, ...warnings, ...warningsOf(log, best, headings, sampled)],
  };
  return {
    startedAt: first.timestamp,
    durationSeconds: seconds((sampled.samples.at(-1)?.time ?? 0) - (sampled.samples[0]?.time ?? 0)),
    rate,
    start: { lat: first.lat, lon: first.lon, altitude: first.altitude },
    frames,
    waypoints: waypoints.points,
    vehicle: vehicleOf(log),
    report,
  };
}

const seconds = (microseconds: number) => Math.round(microseconds / 1e3) / 1e3;
const timestampOf = (utcMicroseconds: number): Timestamp =>
  new Date(Math.round(utcMicroseconds / 1e3)).toISOString();
const named = ({ topic, instance }: { topic: string; instance: number }) =>
  instance === 0 ? topic : `${topic}#${instance}`;

function frameOf(taken: Sample, frameId: number, at: (time: number) => Timestamp): UlogFrame {
  const { time, ...where } = taken;
  return { frameId, ...where, timestamp: at(time) };
}

function checkFrameCount({ positions }: PositionSource, rate: number, path: string): void {
  const count = sampleCount(positions, rate);
  if (count <= MAX_FRAMES) return;
  throw new WaylogError(
    'ulog.too-many-frames',
    'invalid',
    `${path} would give up to ${count} frames at ${rate}/s, and one import takes at most ${MAX_FRAMES}. Choose a lower rate.`,
    { path, rate, frames: count, limit: MAX_FRAMES },
  );
}

/** What was looked for, what came of it, and what the log has instead. */
function noPosition(log: LogFile, sources: readonly PositionSource[]): WaylogError {
  const looked = POSITION_TOPICS.map((topic) => {
    const found = sources.filter((source) => source.topic === topic);
    const state = found.map(
      (source) =>
        `${counted(source.rows, 'row')}${source.rows > 0 ? `: ${reasons(source.skipped).join(', ')}` : ''}`,
    );
    return { topic, why: state.length > 0 ? state.join(' and ') : 'not in the log' };
  });
  const has = log.topics.filter(({ messages }) => messages > 0).map(named);
  const listed =
    has.length > 40 ? `${has.slice(0, 40).join(', ')} and ${has.length - 40} more` : has.join(', ');
  const damage = log.damage.places > 0 || log.cutOff > 0 ? ` The file is damaged (${damageText(log)}).` : '';
  return new WaylogError(
    'ulog.no-position',
    'invalid',
    `${log.path} has no usable position. Looked for: ${looked.map(({ topic, why }) => `${topic} (${why})`).join('; ')}. ` +
      `The log has ${has.length > 0 ? `messages of: ${listed}` : 'no messages at all'}.${damage} ` +
      'Import a log of a flight with GPS, or with a global reference of its local position.',
    { path: log.path, looked, topics: log.topics, damage: log.damage, cutOff: log.cutOff },
  );
}

function unusedOf(sources: readonly PositionSource[], best: PositionSource): UlogReport['unused'] {
  return sources
    .filter((source) => source !== best)
    .map((source) => ({
      topic: named(source),
      why:
        source.positions.length > 0
          ? `${source.positions.length} positions; ${named(best)} is preferred or covers more than twice the time`
          : [...reasons(source.skipped), ...(source.rows === 0 ? ['no messages'] : [])].join(', '),
    }));
}

function confidenceText({ samples, accuracyUnknown }: Sampled): string {
  if (accuracyUnknown === samples.length)
    return `${UNKNOWN_CONFIDENCE}, for the log does not say how accurate the positions are`;
  const rest = accuracyUnknown > 0 ? `; ${UNKNOWN_CONFIDENCE} for ${accuracyUnknown} frames without eph` : '';
  return `1 / (1 + eph / 5), from the horizontal accuracy eph in metres${rest}`;
}

interface Waypoints {
  readonly from: string;
  readonly points: readonly UlogWaypoint[];
}

function missionWaypoints(
  mission: Mission,
  samples: readonly Sample[],
  at: (time: number) => Timestamp,
): Waypoints {
  const first = samples[0]?.time ?? 0;
  const last = samples.at(-1)?.time ?? first;
  const every = Math.ceil(mission.points.length / MAX_WAYPOINTS);
  const points = mission.points
    .filter((_, i) => i % every === 0)
    .map(({ time, lat, lon, altitude }) => ({
      lat,
      lon,
      altitude,
      confidence: 1,
      // A mission may have been loaded long before the flight.
      timestamp: at(Math.min(Math.max(time, first), last)),
    }));
  return {
    from: every > 1 ? `every ${every}. point of ${mission.topic}` : `the mission in ${mission.topic}`,
    points,
  };
}

/** Every n-th frame and the last one. */
function frameWaypoints(frames: readonly UlogFrame[], wanted: number | undefined): Waypoints {
  const every = Math.max(
    wanted ?? Math.ceil(frames.length / DEFAULT_WAYPOINTS),
    Math.ceil(frames.length / (MAX_WAYPOINTS - 1)),
  );
  const points = frames
    .filter((_, i) => i % every === 0 || i === frames.length - 1)
    .map(({ lat, lon, altitude, confidence, timestamp }) => ({ lat, lon, altitude, confidence, timestamp }));
  const capped =
    wanted !== undefined && every > wanted
      ? `, not every ${wanted}., for a flight has at most ${MAX_WAYPOINTS}`
      : '';
  const why = wanted === undefined ? ', for the log has no mission' : '';
  return {
    from: `${every === 1 ? 'every frame' : `every ${every}. frame and the last`}${why}${capped}`,
    points,
  };
}

function vehicleOf({ info }: LogFile): UlogVehicle {
  const text = (key: string) => {
    const value = info.get(key);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const release = info.get('ver_sw_release');
  const known = {
    system: text('sys_name'),
    hardware: text('ver_hw'),
    hardwareId: text('sys_uuid'),
    firmware: typeof release === 'number' ? versionOf(release) : undefined,
    firmwareHash: text('ver_sw'),
    firmwareBranch: text('ver_sw_branch'),
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
}

/** PX4 keeps a version in four bytes: major, minor, patch, and the kind of release. */
const versionOf = (release: number) => [24, 16, 8].map((shift) => (release >>> shift) & 0xff).join('.');

function warningsOf(log: LogFile, best: PositionSource, headings: HeadingSource, sampled: Sampled): string[] {
  const warnings: string[] = [];
  if (log.damage.places > 0 || log.cutOff > 0) {
    warnings.push(
      `The file is damaged: ${damageText(log)}. What could be read was imported; copy the file again from the vehicle if you can.`,
    );
  }
  if (log.dropouts.count > 0) {
    warnings.push(
      `The logger lost ${log.dropouts.milliseconds} ms of the flight in ${log.dropouts.count} dropouts.`,
    );
  }
  if (sampled.gaps.length > 0) {
    const total = seconds(sampled.gaps.reduce((sum, { from, to }) => sum + to - from, 0));
    warnings.push(
      `${sampled.gaps.length} gaps of more than ${MAX_GAP_SECONDS} s in ${named(best)}, ${total} s together, have no frames.`,
    );
  }
  warnings.push(...headingWarnings(headings, sampled));
  const { madeUp, samples } = sampled;
  if (madeUp * 2 > samples.length) {
    warnings.push(
      `${named(best)} has ${positionsPerSecond(best)} positions per second, so ${madeUp} of the ${samples.length} frames are interpolated.`,
    );
  }
  return warnings;
}

function headingWarnings({ topic, headings }: HeadingSource, { headingsHeld, samples }: Sampled): string[] {
  if (headings.length === 0) {
    return [
      'The log has no heading and the aircraft did not move, so all headings are 0. Looked for: vehicle_attitude, vehicle_local_position, vehicle_global_position, GPS.',
    ];
  }
  const warnings: string[] = [];
  if (topic === 'positions')
    warnings.push(
      'The log has no heading, so the direction of movement stands in for it: wrong in wind and when hovering.',
    );
  if (headingsHeld > 0) {
    warnings.push(
      `${headingsHeld} of ${samples.length} frames have no heading within ${MAX_GAP_SECONDS} s and carry the nearest one.`,
    );
  }
  return warnings;
}

const damageText = ({ damage, cutOff }: LogFile) =>
  [
    ...(damage.places > 0
      ? [`${damage.bytes} bytes in ${damage.places} places make no sense and were skipped`]
      : []),
    ...(cutOff > 0 ? [`it ends in the middle of a message`] : []),
  ].join(', and ');

const spanOf = ({ positions }: PositionSource) => ({
  first: positions[0]?.time ?? 0,
  last: positions.at(-1)?.time ?? 0,
});

/** Where there are any: gaps do not count. */
function positionsPerSecond({ positions }: PositionSource): number {
  const steps = positions.slice(1).map(({ time }, i) => (time - (positions[i]?.time ?? time)) / 1e6);
  const joined = steps.filter((step) => step <= MAX_GAP_SECONDS);
  const covered = joined.reduce((sum, step) => sum + step, 0);
  return Math.round((joined.length / covered) * 10) / 10;
}
