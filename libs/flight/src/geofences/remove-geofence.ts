import { IsOpaqueId, notFound } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { existing } from '../flight.js';

export class RemoveGeofence extends FlightCommand {
  @IsOpaqueId() override readonly flightId!: string;
  @IsOpaqueId() readonly geofenceId!: string;

  constructor(fields: { readonly flightId: string; readonly geofenceId: string } & CommandOptions) {
    super(fields);
  }
}

export const geofenceNotFound = (flightId: string, geofenceId: string) =>
  notFound('geofence.not-found', `Flight ${flightId} has no geofence ${geofenceId}.`, {
    flightId,
    geofenceId,
  });

export const removeGeofence = slice(RemoveGeofence, ({ flightId, geofenceId }, flight) => {
  if (!existing(flight, flightId).geofences.has(geofenceId)) throw geofenceNotFound(flightId, geofenceId);
  return [{ type: 'GeofenceRemoved', data: { id: geofenceId } }];
});
