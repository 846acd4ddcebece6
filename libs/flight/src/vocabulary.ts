import type { KnownEvents, SensitiveFields } from '#lib/event-store';
import type { FlightEventType } from './events.js';

const details = { name: 'erased', description: '', cameraParams: {} };

/**
 * The fields of a flight that can be personal or sensitive: texts written by people, and what cameras and files reveal
 * about their owners. In the log they are sealed with the key of the flight, and have these values once the flight is
 * erased. Positions are not among them: they are kept.
 */
export const flightSensitiveFields = {
  FlightCreated: details,
  FlightUpdated: details,
  ImageMetadataSaved: { filePath: 'erased', metadata: {} },
  // Who has a picture could tell by its digest that it is this one.
  ImageContentStored: { sha256: 'erased', size: 0, type: 'erased' },
} as const satisfies SensitiveFields;

/** What is known of the events of flights. */
export const flightEvents: KnownEvents = {
  // Nothing has changed shape yet: the first change of an event's data adds its step here.
  upcasters: {},
  sensitive: flightSensitiveFields,
  erasedBy: ['FlightErased'] satisfies FlightEventType[],
  files: { ImageContentStored: (data) => [data['sha256']] },
};
