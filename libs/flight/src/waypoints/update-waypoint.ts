import { Nested, notFound } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { existing, same } from '../flight.js';
import { Waypoint, waypointOf } from './waypoint.js';

export class UpdateWaypoint extends FlightCommand {
  @Nested(() => Waypoint) readonly waypoint!: Waypoint;

  constructor(fields: { readonly flightId: string; readonly waypoint: Waypoint } & CommandOptions) {
    super(fields);
  }
}

export const waypointNotFound = (flightId: string, waypointId: string) =>
  notFound('waypoint.not-found', `Flight ${flightId} has no waypoint ${waypointId}. Add it first.`, {
    flightId,
    waypointId,
  });

/** A repeat with the same values changes nothing: no event. */
export const updateWaypoint = slice(UpdateWaypoint, ({ flightId, waypoint }, flight) => {
  const known = existing(flight, flightId).waypoints.get(waypoint.id);
  if (!known) throw waypointNotFound(flightId, waypoint.id);
  const data = waypointOf(waypoint, waypoint.id);
  return same(known, data) ? [] : [{ type: 'WaypointUpdated', data }];
});
