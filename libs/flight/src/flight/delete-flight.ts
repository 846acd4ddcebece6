import { IsOpaqueId } from '#lib/platform';
import { FlightCommand, slice } from '../command.js';
import { flightNotFound } from '../flight.js';

/** Removes a flight from every table. Its events stay in the log, for the audit; its id can be used again. */
export class DeleteFlight extends FlightCommand {
  @IsOpaqueId() override readonly flightId!: string;
}

export const deleteFlight = slice(DeleteFlight, ({ flightId }, flight) => {
  if (!flight.details) throw flightNotFound(flightId);
  return [{ type: 'FlightDeleted', data: {} }];
});
