import { IsJsonObject, Nested, Optional } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions, type Decide } from '../command.js';
import { Altitude, FreeText, Label } from '../fields.js';
import { existing, same } from '../flight.js';
import { GpsPoint } from '../gps-point.js';

/** The details to change; what is left out stays. */
export class FlightChanges {
  @Optional() @Label(255) readonly name?: string | null | undefined;
  @Optional() @FreeText(10_000) readonly description?: string | null | undefined;
  @Optional() @Nested(() => GpsPoint) readonly startGps?: GpsPoint | null | undefined;
  @Optional() @Altitude() readonly altitude?: number | null | undefined;
  @Optional() @IsJsonObject() readonly cameraParams?: object | null | undefined;
}

export class UpdateFlight extends FlightCommand {
  @Nested(() => FlightChanges) readonly changes!: FlightChanges;

  constructor(fields: { readonly flightId: string; readonly changes: FlightChanges } & CommandOptions) {
    super(fields);
  }
}

export const decideUpdateFlight: Decide<UpdateFlight> =
  ({ flightId, changes }, at) =>
  (flight) => {
    const { details } = existing(flight, flightId);
    const data = {
      ...details,
      name: changes.name ?? details.name,
      description: changes.description ?? details.description,
      startGps: changes.startGps
        ? { lat: changes.startGps.lat, lon: changes.startGps.lon }
        : details.startGps,
      altitude: changes.altitude ?? details.altitude,
      cameraParams: changes.cameraParams ? { ...changes.cameraParams } : details.cameraParams,
      updatedAt: at,
    };
    return same(details, data, 'updatedAt') ? [] : [{ type: 'FlightUpdated', data }];
  };

export const updateFlight = slice(UpdateFlight, decideUpdateFlight);
