import { Id, list, anyObject, count, object, recorded, shape } from '#lib/rest';

// What the routes of the flight context have in common.

const SAMPLE = 'fjord-1';

/** The id of the flight in the path. */
export const FlightId = (): ParameterDecorator => Id('id', SAMPLE);

export const sampleFlightId = { type: 'string', examples: [SAMPLE] };
export const flightRecorded = recorded('flightId', SAMPLE);

export const CommandResult = shape('CommandResult', () => object(flightRecorded));
export const SavedResult = shape('SavedResult', () => object({ ...flightRecorded, saved: count }));
export const TransactionResult = shape('TransactionResult', () =>
  object({ ...flightRecorded, results: list(anyObject) }),
);
