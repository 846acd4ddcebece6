import { conflict, IsId, Nested } from '#lib/platform';
import { FlightCommand, idOf, newId, slice, type CommandOptions } from '../command.js';
import { existing } from '../flight.js';
import { NewWaypoint, waypointOf } from './waypoint.js';

export class AddWaypoint extends FlightCommand<{ waypointId: string }> {
  @IsId() readonly waypointId!: string;
  @Nested(() => NewWaypoint) readonly waypoint!: NewWaypoint;

  constructor(fields: { readonly flightId: string; readonly waypoint: NewWaypoint } & CommandOptions) {
    super({
      ...fields,
      waypointId: idOf(fields.waypoint) ?? newId(fields.commandId, 'waypoint'),
    } as typeof fields);
  }
}

export const addWaypoint = slice(AddWaypoint, ({ flightId, waypointId, waypoint }, flight) => {
  if (existing(flight, flightId).waypoints.has(waypointId)) {
    throw conflict(
      'waypoint.already-exists',
      `Flight ${flightId} has a waypoint ${waypointId} already. Update it instead, or leave the id out to get a new one.`,
      { flightId, waypointId },
    );
  }
  return {
    events: [{ type: 'WaypointAdded', data: waypointOf(waypoint, waypointId) }],
    answer: { waypointId },
  };
});
