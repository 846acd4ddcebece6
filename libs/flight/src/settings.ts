import type { ContextSettings } from '#lib/platform';
import { DEFAULT_TIMES, type TimesWindow } from './days/times-window.js';

/** What can be set for the flight context of an application. */
export interface FlightSettings {
  /** The most different days (UTC) that the frames and headings of one flight can be on; default 100. */
  readonly days?: number;
  /** The times that frames and headings can have; default from 1970 to a year ahead of the clock. */
  readonly times?: TimesWindow;
}

/** A flight takes hours. This limit keeps a flight whose clock jumps from harming others. */
export const DEFAULT_FLIGHT_DAYS = 100;

export const flightSettings: ContextSettings = {
  variables: {
    WAYLOG_FLIGHT_DAYS:
      'on how many different days (UTC) the frames and headings of one flight may be, 1 to 99999; each may open a chunk of two hypertables (100)',
    WAYLOG_FIRST_YEAR: 'the first year that frames and headings may be of, 1970 to 2199 (1970)',
    WAYLOG_DAYS_AHEAD:
      'how many days ahead of the clock frames and headings may be, 1 to 99999; each week may open a chunk of two hypertables (366)',
  },
  read: (number): FlightSettings => ({
    days: number('WAYLOG_FLIGHT_DAYS', DEFAULT_FLIGHT_DAYS, 1, 99_999),
    times: {
      firstYear: number('WAYLOG_FIRST_YEAR', DEFAULT_TIMES.firstYear, 1970, 2199),
      daysAhead: number('WAYLOG_DAYS_AHEAD', DEFAULT_TIMES.daysAhead, 1, 99_999),
    },
  }),
};
