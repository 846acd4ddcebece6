import type { SensitiveFields } from '#lib/event-store';
import type { FlightEventType } from './events.js';

const details = { name: 'erased', description: '', cameraParams: {} };

/**
 * What of a flight may be personal or sensitive: texts that people write, and what cameras and files say of their owners.
 * In the log it is sealed with the key of the flight, and reads as this once the flight is erased. Positions are not among
 * it: they are what is kept.
 */
export const flightSensitiveFields = {
  FlightCreated: details,
  FlightUpdated: details,
  ImageMetadataSaved: { filePath: 'erased', metadata: {} },
} as const satisfies SensitiveFields;

/** What is sealed in the log of flights, and the events after which a flight has no key any more. */
export const flightSealing = {
  sensitive: flightSensitiveFields,
  erasedBy: ['FlightErased'] satisfies FlightEventType[],
};
