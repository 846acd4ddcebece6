import { conflict, IsId, Nested } from '#lib/platform';
import { FlightCommand, idOf, newId, slice, type CommandOptions } from '../command.js';
import { existing } from '../flight.js';
import { geofenceOf, NewGeofence } from './geofence.js';

export class AddGeofence extends FlightCommand<{ geofenceId: string }> {
  @IsId() readonly geofenceId!: string;
  @Nested(() => NewGeofence) readonly geofence!: NewGeofence;

  constructor(fields: { readonly flightId: string; readonly geofence: NewGeofence } & CommandOptions) {
    super({
      ...fields,
      geofenceId: idOf(fields.geofence) ?? newId(fields.commandId, 'geofence'),
    } as typeof fields);
  }
}

export const addGeofence = slice(AddGeofence, ({ flightId, geofenceId, geofence }, flight) => {
  if (existing(flight, flightId).geofences.has(geofenceId)) {
    throw conflict(
      'geofence.already-exists',
      `Flight ${flightId} has a geofence ${geofenceId} already. Update it instead, or leave the id out to get a new one.`,
      { flightId, geofenceId },
    );
  }
  return {
    events: [{ type: 'GeofenceAdded', data: geofenceOf(geofence, geofenceId) }],
    answer: { geofenceId },
  };
});
