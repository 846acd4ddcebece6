import { IsOpaqueId } from '#lib/platform';
import type { StillInTables } from '#lib/waylog';
import { FlightCommand, slice } from '../command.js';
import { flightNotFound } from '../flight.js';
import { flightSensitiveFields } from '../vocabulary.js';

/**
 * Erases the sensitive fields of a flight, even a deleted one, permanently: from the tables, and from every event
 * recorded of it, as the key that opens them is deleted. The rest can be read and deleted, but no longer changed.
 */
export class EraseFlight extends FlightCommand<StillInTables> {
  @IsOpaqueId() override readonly flightId!: string;
}

export const eraseFlight = slice(EraseFlight, ({ flightId }, { history, details }) => {
  if (history === 'none') throw flightNotFound(flightId);
  if (history === 'erased') return [];
  return [
    {
      type: 'FlightErased',
      data: { details: details ? { ...details, ...flightSensitiveFields.FlightCreated } : null },
    },
  ];
});
