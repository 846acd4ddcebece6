import { parseTimestamp } from '#lib/platform';
import { UsageError } from './context.js';

const UNITS = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 } as const;

/** Parses an operator's time: an RFC 3339 time, or a length of time before now such as 90d. */
export const timeBefore = (text: string, now = Date.now()): string => timeFrom(text, now, -1);

/** The same for future times; the midnight (UTC) at which a day begins can be written as the day. */
export const timeAfter = (text: string, now = Date.now()): string =>
  timeFrom(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text, now, 1);

function timeFrom(text: string, now: number, direction: 1 | -1): string {
  const [, count, unit] = /^(\d{1,6}) ?([smhdw])[a-z]*$/.exec(text) ?? [];
  if (count && unit) {
    const ms = Number(count) * UNITS[unit as keyof typeof UNITS] * 1_000;
    return new Date(now + direction * ms).toISOString();
  }
  const time = parseTimestamp(text);
  if (time) return time;
  throw new UsageError(
    `${text} is neither a length of time such as 90d nor a time such as 2026-05-01T00:00:00Z.`,
  );
}
