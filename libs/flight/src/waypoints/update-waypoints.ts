import { ArrayMaxSize, ArrayMinSize } from 'class-validator';
import { Nested, Optional } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import type { FlightEvent } from '../events.js';
import { Flag, MAX_BATCH } from '../fields.js';
import { existing, same } from '../flight.js';
import { waypointNotFound } from './update-waypoint.js';
import { Waypoint, waypointOf } from './waypoint.js';

export interface BatchResult {
  /** True if every waypoint was known. */
  readonly success: boolean;
  readonly updatedCount: number;
  /** The ids that the flight lacks. */
  readonly failedIds: readonly string[];
}

/** Updates the waypoints that the flight has, in one append, and names those that it lacks. */
export class UpdateWaypoints extends FlightCommand<BatchResult> {
  @Nested(() => Waypoint, { each: true })
  @ArrayMinSize(1)
  @ArrayMaxSize(MAX_BATCH)
  readonly waypoints!: readonly Waypoint[];
  /** Refuse the whole command if the flight lacks one of them, instead of naming it; default false. */
  @Optional() @Flag() readonly allOrNone?: boolean | null | undefined;

  constructor(
    fields: {
      readonly flightId: string;
      readonly waypoints: readonly Waypoint[];
      readonly allOrNone?: boolean | null | undefined;
    } & CommandOptions,
  ) {
    super(fields);
  }
}

export const updateWaypoints = slice(UpdateWaypoints, ({ flightId, waypoints, allOrNone }, flight) => {
  const { waypoints: known } = existing(flight, flightId);
  const latest = new Map<string, FlightEvent>();
  const failed = new Set<string>();
  for (const waypoint of waypoints) {
    const before = known.get(waypoint.id);
    const data = waypointOf(waypoint, waypoint.id);
    if (!before && allOrNone) throw waypointNotFound(flightId, waypoint.id);
    if (!before) failed.add(waypoint.id);
    else if (same(before, data)) latest.delete(waypoint.id);
    else latest.set(waypoint.id, { type: 'WaypointUpdated', data });
  }
  return {
    events: [...latest.values()],
    answer: {
      success: failed.size === 0,
      updatedCount: waypoints.filter(({ id }) => !failed.has(id)).length,
      failedIds: [...failed],
    },
  };
});
