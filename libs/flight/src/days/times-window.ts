import { conflict, millisecondsOf, type Timestamp } from '#lib/platform';
import type { FlightEvent } from '../events.js';

const DAY_MS = 86_400_000;

/** The times that frames and headings can have, whatever their source except a log. */
export interface TimesWindow {
  /** From the first day of this year on. */
  readonly firstYear: number;
  /** The latest time, in days ahead of the server's clock. */
  readonly daysAhead: number;
}

/** Clocks that were never set show 1970, or 1980, where GPS begins. */
export const DEFAULT_TIMES: TimesWindow = { firstYear: 1970, daysAhead: 366 };

/** A server whose clock is wrong, as after a flat battery, still accepts today's times: today is later than this. */
const LATER_THAN_MS = Date.parse('2026-11-30T00:00:00.000Z');

/**
 * Throws `flight.time-outside` if a frame or a heading is outside of the window. Each week with a frame or heading of
 * any flight is a chunk of a hypertable, and work on a whole hypertable, such as a backup, locks every chunk. The
 * window limits their number.
 */
export function refuseTimesOutside(
  flightId: string,
  events: readonly FlightEvent[],
  { firstYear, daysAhead }: TimesWindow,
  now: Timestamp,
): void {
  const first = Date.UTC(firstYear, 0);
  const last = Math.max(millisecondsOf(now), LATER_THAN_MS) + daysAhead * DAY_MS;
  for (const event of events) {
    if (event.type !== 'FrameResultSaved' && event.type !== 'HeadingSaved') continue;
    const { timestamp } = event.data;
    const time = millisecondsOf(timestamp);
    // A text that is not a time is refused by the rules of its field.
    if (!(time < first || time > last)) continue;
    const to = new Date(last).toISOString();
    throw conflict(
      'flight.time-outside',
      `Flight ${flightId} would have a frame or a heading at ${timestamp}; this server takes them from the year ${firstYear} ` +
        `(WAYLOG_FIRST_YEAR) to ${to} (${daysAhead} days ahead of its clock, WAYLOG_DAYS_AHEAD). Nothing was recorded. Most ` +
        `likely a clock or a unit is wrong: send the right time, or widen the window.`,
      { flightId, timestamp, firstYear, to },
    );
  }
}
