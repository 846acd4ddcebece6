import { Nested } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { existing, same } from '../flight.js';
import { Geofence, geofenceOf } from './geofence.js';
import { geofenceNotFound } from './remove-geofence.js';

export class UpdateGeofence extends FlightCommand {
  @Nested(() => Geofence) readonly geofence!: Geofence;

  constructor(fields: { readonly flightId: string; readonly geofence: Geofence } & CommandOptions) {
    super(fields);
  }
}

export const updateGeofence = slice(UpdateGeofence, ({ flightId, geofence }, flight) => {
  const known = existing(flight, flightId).geofences.get(geofence.id);
  if (!known) throw geofenceNotFound(flightId, geofence.id);
  const data = geofenceOf(geofence, geofence.id);
  return same(known, data) ? [] : [{ type: 'GeofenceUpdated', data }];
});
