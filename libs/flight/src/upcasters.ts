import type { Upcasters } from '#lib/event-store';

/**
 * How events of older schema versions are brought to the current shape, by event type. Nothing has changed shape yet:
 * the first change of an event's data adds its step here, and every reader of the log gets the new shape.
 */
export const flightUpcasters: Upcasters = {};
