import type pg from 'pg';
import { PartOfLog, type ReadableLog } from '#lib/event-store';
import { projectionStates, type ProjectionStatus } from '#lib/projections';
import { flightIdOf, flightStreams } from './events.js';
import { FRAME_MINUTES, frameMinutesRollup, rollUpAgain } from './frames/frame-minutes.follower.js';
import { flightProjections } from './projections.js';

/** The name of the projector that keeps the tables of the flight context. */
export const FLIGHT_PROJECTOR = 'flight';

/** The part of the log that the flight context's tables are folded from. */
export const flightLog = (log: ReadableLog): ReadableLog => new PartOfLog(log, [flightStreams.name]);

/** The description of the flight context's tables for rebuilding, verifying, repairing and unparking. */
export const flightProjector = {
  projector: FLIGHT_PROJECTOR,
  projections: flightProjections,
  followers: [FRAME_MINUTES],
  keyOf: (streamId: string): string => flightIdOf({ streamId }),
  onRewritten: (client: pg.ClientBase, flightIds: readonly string[]): Promise<void> =>
    rollUpAgain(client, flightIds),
} as const;

/** What stands still together when an operator pauses the tables: the rollup is computed from one of them. */
export const flightProjectors: readonly string[] = [FLIGHT_PROJECTOR, FRAME_MINUTES];

/** The names of the tables that they keep. */
export const flightTableNames: readonly string[] = [
  ...flightProjections.map(({ name }) => name),
  frameMinutesRollup.name,
];

/** The state of all tables of the flight context relative to the log, the minute rollup last if a follower keeps it. */
export async function flightProjectionStates(pool: pg.Pool, store: ReadableLog): Promise<ProjectionStatus[]> {
  const log = flightLog(store);
  const states = await Promise.all([
    projectionStates(pool, log, FLIGHT_PROJECTOR, flightProjections),
    projectionStates(pool, log, FRAME_MINUTES, [frameMinutesRollup]),
  ]);
  return states.flat();
}
