import type pg from 'pg';
import type { EventStore } from '#lib/event-store';
import { projectionStates, type ProjectionStatus } from '#lib/projections';
import { flightIdOf } from './events.js';
import { FRAME_MINUTES, frameMinutesRollup, rollUpAgain } from './frames/frame-minutes.follower.js';
import { flightProjections } from './projections.js';

/** The name of the projector that keeps the tables of the flight context. */
export const FLIGHT_PROJECTOR = 'flight';

/** The description of the flight context's tables for rebuilding, verifying, repairing and unparking. */
export const flightProjector = {
  projector: FLIGHT_PROJECTOR,
  projections: flightProjections,
  keyOf: (streamId: string): string => flightIdOf({ streamId }),
  onRewritten: (client: pg.ClientBase, flightIds: readonly string[]): Promise<void> =>
    rollUpAgain(client, flightIds),
} as const;

/** What stands still together when an operator pauses the tables: the rollup is computed from one of them. */
export const flightTableNames: readonly string[] = [
  ...flightProjections.map(({ name }) => name),
  frameMinutesRollup.name,
];

/** The state of all tables of the flight context relative to the log, the minute rollup last if a follower keeps it. */
export async function flightProjectionStates(pool: pg.Pool, store: EventStore): Promise<ProjectionStatus[]> {
  const states = await Promise.all([
    projectionStates(pool, store, FLIGHT_PROJECTOR, flightProjections),
    projectionStates(pool, store, FRAME_MINUTES, [frameMinutesRollup]),
  ]);
  return states.flat();
}
