import { seededRandom } from '#lib/platform';
import type { FlightCommand } from '../command.js';
import type { Point } from '../events.js';
import { CreateFlight } from '../flight/create-flight.js';
import { SaveFrameResult, type FrameResult } from '../frames/save-frame-result.js';
import { SaveHeading } from '../headings/save-heading.js';
import { SaveImageMetadata } from '../images/save-image-metadata.js';
import { SaveFlightState } from '../processing-state/save-flight-state.js';
import { MergeChunk } from '../route-chunks/merge-chunk.js';
import { SaveChunkState, type ChunkHandle } from '../route-chunks/save-chunk-state.js';
import { Transact } from '../transact.js';
import { UpdateWaypoint } from '../waypoints/update-waypoint.js';
import type { Waypoint } from '../waypoints/waypoint.js';

export interface SimulationOptions {
  readonly flightId: string;
  /** The same seed gives the same flight. */
  readonly seed: number;
  readonly frames: number;
  readonly framesPerSecond?: number;
  /** When the first frame is taken. */
  readonly startedAt?: Date;
  readonly name?: string;
}

/** Commands that are sent together, `atSeconds` after the start of the flight. */
export interface SimulationStep {
  readonly atSeconds: number;
  readonly commands: readonly FlightCommand[];
}

/** Frames of one route chunk, frames between waypoints, and how late a refinement comes. */
const FRAMES_PER_CHUNK = 25;
const FRAMES_PER_WAYPOINT = 10;
const REFINED_AFTER_FRAMES = 12;
const METRES_PER_DEGREE = 111_320;
const CRUISE_METRES_PER_SECOND = 14;

interface Estimate {
  readonly truth: Point;
  readonly frame: FrameResult;
}

/**
 * A UAV that computes its position from camera frames: the estimate drifts away from the truth and grows less certain.
 * Some frames after a route chunk is complete it is anchored, its frames and waypoints are refined in one transaction,
 * and it is merged into the route so far. Every command has its own id, so a run can be repeated.
 */
export function* simulateFlight(options: SimulationOptions): Generator<SimulationStep> {
  const { flightId, frames, framesPerSecond = 2, startedAt = new Date('2026-05-01T12:00:00Z') } = options;
  const random = seededRandom(options.seed);
  let sent = 0;
  const sender = () => ({
    flightId,
    commandId: `${flightId.slice(0, 100)} ${options.seed}/${sent++}`,
    actor: 'simulation',
  });
  const time = (frame: number) =>
    new Date(startedAt.getTime() + (frame / framesPerSecond) * 1_000).toISOString();
  const state = (status: string, frame: number) =>
    new SaveFlightState({
      ...sender(),
      state: {
        status,
        framesProcessed: frame,
        framesTotal: frames,
        currentFrame: frame || null,
        blocked: false,
        updatedAt: time(frame),
      },
    });

  const start = { lat: 63.4305 + random() * 0.05, lon: 10.3951 + random() * 0.05 };
  const estimates = flightPath({ start, frames, framesPerSecond, random, time });
  const waypoints = estimates
    .filter((_, i) => i % FRAMES_PER_WAYPOINT === 0)
    .map(({ frame }): Waypoint => ({ ...waypointAt(frame), confidence: 0.3, refined: false }));

  yield {
    atSeconds: 0,
    commands: [
      new CreateFlight({
        ...sender(),
        flight: {
          id: flightId,
          name: options.name ?? `Simulated flight ${options.seed}`,
          description: `${frames} frames at ${framesPerSecond}/s, seed ${options.seed}`,
          startGps: start,
          altitude: 120,
          cameraParams: { focalLengthMm: 25, resolutionWidth: 6252, resolutionHeight: 4168 },
          waypoints,
          geofences: [
            {
              id: 'area',
              northWest: { lat: start.lat + 0.5, lon: start.lon - 0.5 },
              southEast: { lat: start.lat - 0.5, lon: start.lon + 0.5 },
            },
          ],
        },
      }),
      state('processing', 0),
    ],
  };

  const refinements = new Map<number, number>();
  for (const [i, { frame }] of estimates.entries()) {
    const chunk = Math.floor(i / FRAMES_PER_CHUNK);
    const commands: FlightCommand[] = [
      new SaveImageMetadata({
        ...sender(),
        image: {
          frameId: i,
          filePath: `/images/${flightId}/${i}.jpg`,
          metadata: { width: 6252, height: 4168 },
          uploadedAt: time(i),
        },
      }),
      new SaveFrameResult({ ...sender(), frame }),
      new SaveHeading({
        ...sender(),
        heading: { frameId: i, heading: frame.heading, timestamp: frame.timestamp },
      }),
    ];
    if (i % FRAMES_PER_CHUNK === 0 || (i + 1) % FRAMES_PER_CHUNK === 0 || i === frames - 1) {
      commands.push(
        new SaveChunkState({ ...sender(), chunk: chunkState(chunk, i, frames) }),
        state('processing', i + 1),
      );
    }
    if ((i + 1) % FRAMES_PER_CHUNK === 0) refinements.set(i + REFINED_AFTER_FRAMES, chunk);
    const refined = refinements.get(i);
    if (refined !== undefined) commands.push(...refinement(refined));
    refinements.delete(i);
    yield { atSeconds: i / framesPerSecond, commands };
  }
  // Refinements that are still due after the last frame come later.
  const late = [...refinements.values()].flatMap((chunk) => refinement(chunk));
  yield { atSeconds: frames / framesPerSecond, commands: [...late, state('completed', frames)] };

  function refinement(chunk: number): FlightCommand[] {
    const from = chunk * FRAMES_PER_CHUNK;
    const members = estimates.slice(from, from + FRAMES_PER_CHUNK);
    const anchor = from + Math.floor(random() * members.length);
    const better = members.map(({ frame, truth }): FrameResult => ({
      ...frame,
      gpsCenter: { lat: truth.lat + (random() - 0.5) * 4e-5, lon: truth.lon + (random() - 0.5) * 4e-5 },
      confidence: 0.9 + random() * 0.1,
      refined: true,
      updatedAt: time(from + FRAMES_PER_CHUNK + REFINED_AFTER_FRAMES),
    }));
    const anchored = chunkState(chunk, from + members.length - 1, frames);
    const anchorGps = better[anchor - from]?.gpsCenter;
    const transaction = new Transact({
      ...sender(),
      commands: [
        {
          type: 'SaveChunkState',
          chunk: {
            ...anchored,
            hasAnchor: true,
            anchorFrameId: anchor,
            anchorGps,
            matchingStatus: 'anchored',
          },
        },
        { type: 'SaveFrameResults', frames: better },
        {
          type: 'UpdateWaypoints',
          waypoints: better.filter(({ frameId }) => frameId % FRAMES_PER_WAYPOINT === 0).map(waypointAt),
        },
      ],
    });
    const last = better.at(-1);
    const moved =
      last && last.frameId % FRAMES_PER_WAYPOINT === 0
        ? [new UpdateWaypoint({ ...sender(), waypoint: waypointAt(last) })]
        : [];
    const merge =
      chunk > 0 ? [new MergeChunk({ ...sender(), chunkId: `chunk-${chunk}`, into: 'chunk-0' })] : [];
    return [transaction, ...moved, ...merge];
  }
}

const waypointAt = ({
  frameId,
  gpsCenter,
  altitude,
  confidence,
  timestamp,
  refined,
}: FrameResult): Waypoint => ({
  id: `wp-${frameId / FRAMES_PER_WAYPOINT}`,
  ...gpsCenter,
  altitude,
  confidence,
  timestamp,
  refined: refined ?? false,
});

function chunkState(chunk: number, frame: number, frames: number): ChunkHandle {
  const from = chunk * FRAMES_PER_CHUNK;
  const isComplete = (frame + 1) % FRAMES_PER_CHUNK === 0 || frame === frames - 1;
  return {
    chunkId: `chunk-${chunk}`,
    startFrameId: from,
    endFrameId: isComplete ? frame : null,
    frames: Array.from({ length: frame - from + 1 }, (_, i) => from + i),
    isActive: !isComplete,
    hasAnchor: false,
    matchingStatus: 'unanchored',
  };
}

function flightPath(path: {
  readonly start: Point;
  readonly frames: number;
  readonly framesPerSecond: number;
  readonly random: () => number;
  readonly time: (frame: number) => string;
}): Estimate[] {
  const { random } = path;
  const metres = CRUISE_METRES_PER_SECOND / path.framesPerSecond;
  let truth = path.start;
  let heading = random() * 360;
  let drift = { lat: 0, lon: 0 };
  return Array.from({ length: path.frames }, (_, frameId): Estimate => {
    heading = (heading + (random() - 0.5) * 6 + 360) % 360;
    const radians = (heading * Math.PI) / 180;
    const perDegreeEast = METRES_PER_DEGREE * Math.cos((truth.lat * Math.PI) / 180);
    truth = {
      lat: truth.lat + (Math.cos(radians) * metres) / METRES_PER_DEGREE,
      lon: truth.lon + (Math.sin(radians) * metres) / perDegreeEast,
    };
    const sinceAnchor = frameId % FRAMES_PER_CHUNK;
    if (sinceAnchor === 0) drift = { lat: 0, lon: 0 };
    drift = { lat: drift.lat + (random() - 0.5) * 2e-5, lon: drift.lon + (random() - 0.5) * 4e-5 };
    return {
      truth,
      frame: {
        frameId,
        gpsCenter: { lat: truth.lat + drift.lat, lon: truth.lon + drift.lon },
        altitude: 120 + (random() - 0.5) * 3,
        heading,
        confidence: Math.max(0.2, 0.85 - sinceAnchor * 0.02),
        refined: false,
        timestamp: path.time(frameId),
        updatedAt: path.time(frameId),
      },
    };
  });
}
