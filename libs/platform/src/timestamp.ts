/**
 * A point in time as text: RFC 3339 in UTC, with three fraction digits, or six where microseconds were given.
 * Text rather than `Date`, because a `Date` drops microseconds, and what was sent is what comes back.
 */
export type Timestamp = string;

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([Zz]|[+-]\d\d:\d\d)$/;
const EARLIEST = Date.UTC(1970, 0, 1);
const LATEST = Date.UTC(2200, 0, 1);

/** What a timestamp must look like; the text of every refusal. */
export const TIMESTAMP_RULE =
  'must be an RFC 3339 time with a zone and at most microseconds, from 1970 to 2199, such as 2026-05-01T12:00:00.000Z';

/**
 * The canonical form of an RFC 3339 time, or undefined where the text is none: no zone, a day that the calendar does
 * not have, more than six fraction digits, or outside 1970 to 2199 (a stray year would cost a hypertable chunk each).
 */
export function parseTimestamp(text: string): Timestamp | undefined {
  if (isCanonical(text)) return text;
  const match = RFC3339.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', zone = 'Z'] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  const local = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  );
  if (new Date(local).getUTCDate() !== Number(day) || new Date(local).getUTCMonth() !== Number(month) - 1) {
    return undefined;
  }
  const offset = offsetMinutes(zone);
  if (offset === undefined) return undefined;
  const utc = local - offset * 60_000;
  if (utc < EARLIEST || utc >= LATEST) return undefined;
  return new Date(utc).toISOString().slice(0, 20) + canonicalFraction(fraction) + 'Z';
}

/** The common case at a third of the cost: the text is what a clock with milliseconds says of the time that it names. */
function isCanonical(text: string): boolean {
  if (text.length !== 24) return false;
  const time = Date.parse(text);
  return time >= EARLIEST && time < LATEST && new Date(time).toISOString() === text;
}

/** The time in whole milliseconds since 1970, as `Date.getTime()`. */
export const millisecondsOf = (timestamp: Timestamp): number => Date.parse(timestamp);

/**
 * PostgreSQL's text of a timestamptz in canonical form; session time zone UTC, `2026-05-01 12:00:00.5+00`, or in JSON
 * `2026-05-01T12:00:00.5+00:00`.
 */
export function timestampFromPostgres(text: string): Timestamp {
  const end = text.indexOf('+', 19);
  const dot = text.indexOf('.', 19);
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${canonicalFraction(dot < 0 ? '' : text.slice(dot + 1, end))}Z`;
}

function canonicalFraction(digits: string): string {
  const micros = digits.padEnd(6, '0');
  return micros.endsWith('000') ? micros.slice(0, 3) : micros;
}

function offsetMinutes(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}
