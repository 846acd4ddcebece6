import { IsOpaqueId } from '#lib/platform';
import { FlightCommand, slice, type Decide } from '../command.js';
import { flightNotFound } from '../flight.js';
import { flightSensitiveFields } from '../sensitive-fields.js';

/** What an erasure answers while the tables still hold what was erased. */
export interface StillInTables {
  /** Why, and what has to happen before they do not. */
  readonly waits?: string;
}

/**
 * Erases what is sensitive of a flight, also of a deleted one, for good: from the tables, and from every event ever recorded
 * of it, as the key that opens them is deleted. What is left can be read and deleted, and not be changed any more.
 */
export class EraseFlight extends FlightCommand<StillInTables> {
  @IsOpaqueId() override readonly flightId!: string;
}

export const decideEraseFlight: Decide<EraseFlight> =
  ({ flightId }) =>
  ({ history, details }) => {
    if (history === 'none') throw flightNotFound(flightId);
    if (history === 'erased') return [];
    return [
      {
        type: 'FlightErased',
        data: { details: details ? { ...details, ...flightSensitiveFields.FlightCreated } : null },
      },
    ];
  };

export const eraseFlight = slice(EraseFlight, decideEraseFlight);
