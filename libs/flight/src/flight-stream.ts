import type { StreamType } from '#lib/waylog';
import { DEFAULT_FLIGHT_DAYS } from '#lib/platform';
import { DEFAULT_TIMES, refuseTimesOutside, type TimesWindow } from './days/times-window.js';
import { flightStreams, type FlightEvent } from './events.js';
import { flightDecider, refuseTooManyDays, type Flight } from './flight.js';
import { flightEvents } from './vocabulary.js';

/** What can be set for the flight context of an application. */
export interface FlightSettings {
  /** The most different days (UTC) that the frames and headings of one flight can be on; default 100. */
  readonly days?: number;
  /** The times that frames and headings can have; default from 1970 to a year ahead of the clock. */
  readonly times?: TimesWindow;
}

/**
 * A flight, with its waypoints, geofences, frames, headings, images, route chunks and processing state: they are
 * decided in one order, so that what depends on each other is recorded together.
 */
export const flightStream: StreamType<Flight, FlightEvent> = {
  category: flightStreams,
  key: 'flightId',
  decider: flightDecider,
  events: flightEvents,
  door:
    ({ days = DEFAULT_FLIGHT_DAYS, times = DEFAULT_TIMES }: FlightSettings) =>
    (flightId, flight, events, at) => {
      refuseTooManyDays(flight, flightId, events, days);
      refuseTimesOutside(flightId, events, times, at);
    },
};
