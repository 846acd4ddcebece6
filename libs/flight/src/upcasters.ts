import type { Upcasters } from '#lib/event-store';

/**
 * How events of older schema versions become today's, by event type. Nothing has changed shape yet: the first change of
 * an event's data adds its step here, and every place that reads the log sees the new shape.
 */
export const flightUpcasters: Upcasters = {};
