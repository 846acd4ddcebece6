import type { StreamType } from '#lib/waylog';
import { DEFAULT_TIMES, refuseTimesOutside } from './days/times-window.js';
import { FLIGHT_EVENT_TYPES, flightStreams, type FlightEvent } from './events.js';
import { flightDecider, refuseTooManyDays, type Flight } from './flight.js';
import { DEFAULT_FLIGHT_DAYS, type FlightSettings } from './settings.js';
import { flightEvents } from './vocabulary.js';

/**
 * A flight, with its waypoints, geofences, frames, headings, images, route chunks and processing state: they are
 * decided in one order, so that what depends on each other is recorded together.
 */
export const flightStream: StreamType<Flight, FlightEvent> = {
  category: flightStreams,
  key: 'flightId',
  decider: flightDecider,
  eventTypes: FLIGHT_EVENT_TYPES,
  events: flightEvents,
  door:
    ({ days = DEFAULT_FLIGHT_DAYS, times = DEFAULT_TIMES }: FlightSettings) =>
    (flightId, flight, events, at) => {
      refuseTooManyDays(flight, flightId, events, days);
      refuseTimesOutside(flightId, events, times, at);
    },
};
