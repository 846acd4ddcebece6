/**
 * A point in time as text: RFC 3339 in UTC, with three fraction digits, or six if microseconds were given. Text rather
 * than `Date`, because a `Date` drops microseconds, and a time must come back as it was sent.
 */
export type Timestamp = string;

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([Zz]|[+-]\d\d:\d\d)$/;
const FIRST_YEAR = 1970;
const LAST_YEAR = 2199;

/** The form of nearly every time, which needs no calendar check: canonical, and on one of the first 28 days. */
const PLAIN =
  /^(?:19[7-9]|2[01]\d)\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/;

/** The form of a timestamp; the text of every refusal. */
export const TIMESTAMP_RULE =
  'must be an RFC 3339 time with a zone and at most microseconds, from 1970 to 2199, such as 2026-05-01T12:00:00.000Z';

/**
 * The canonical form of an RFC 3339 time, or undefined if the text is not one: no zone, a day that the calendar does
 * not have, more than six fraction digits, or outside 1970 to 2199 (each stray year would cost a hypertable chunk).
 */
export function parseTimestamp(text: string): Timestamp | undefined {
  if (PLAIN.test(text)) return text;
  const match = RFC3339.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', zone = 'Z'] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  // Date.UTC treats years below 100 as those of the twentieth century.
  if (Number(year) < FIRST_YEAR - 1) return undefined;
  if (!isDayOfMonth(Number(year), Number(month), Number(day))) return undefined;
  const isUtc = zone === 'Z' || zone === 'z';
  if (isUtc && Number(year) >= FIRST_YEAR && Number(year) <= LAST_YEAR) {
    return `${text.slice(0, 10)}T${text.slice(11, 19)}.${canonicalFraction(fraction)}Z`;
  }
  const offset = isUtc ? 0 : offsetMinutes(zone);
  if (offset === undefined) return undefined;
  const local = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  );
  const utc = new Date(local - offset * 60_000);
  if (utc.getUTCFullYear() < FIRST_YEAR || utc.getUTCFullYear() > LAST_YEAR) return undefined;
  return utc.toISOString().slice(0, 20) + canonicalFraction(fraction) + 'Z';
}

function isDayOfMonth(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  if (day <= 28) return true;
  // The day before the first of the next month.
  return day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}

/** The time in whole milliseconds since 1970, as `Date.getTime()`. */
export const millisecondsOf = (timestamp: Timestamp): number => Date.parse(timestamp);

/** A canonical time in whole microseconds since 1970, exactly: they stay below 2^53. NaN for other text. */
export const microsecondsOf = (timestamp: Timestamp): number =>
  timestamp.length === 24
    ? Date.parse(timestamp) * 1_000
    : Date.parse(`${timestamp.slice(0, 23)}Z`) * 1_000 + Number(timestamp.slice(23, -1));

/** The canonical time at this many microseconds after 1970. */
export function timestampAt(microseconds: number): Timestamp {
  const rest = microseconds % 1_000;
  const text = new Date((microseconds - rest) / 1_000).toISOString();
  return rest === 0 ? text : `${text.slice(0, 23)}${String(rest).padStart(3, '0')}Z`;
}

/**
 * PostgreSQL's text of a timestamptz in canonical form: `2026-05-01 12:00:00.5+00`, or in JSON `2026-05-01T12:00:00.5+00:00`,
 * whatever the session's time zone was. Throws for any other text.
 */
export function timestampFromPostgres(text: string): Timestamp {
  // The usual case, for every row that is read: a pattern takes three times as long.
  if ((text.endsWith('+00') || text.endsWith('+00:00')) && (text[10] === ' ' || text[10] === 'T')) {
    const dot = text.indexOf('.', 19);
    const fraction = dot < 0 ? '' : text.slice(dot + 1, text.indexOf('+', 19));
    return `${text.slice(0, 10)}T${text.slice(11, 19)}.${canonicalFraction(fraction)}Z`;
  }
  const match = POSTGRES.exec(text);
  if (!match) throw notATime(text);
  const [, date, time, fraction = '', sign, hours, minutes = '00', seconds = '00'] =
    match as unknown as string[];
  const offset = (Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds);
  const utc = new Date(Date.parse(`${date}T${time}Z`) - Number(`${sign}1`) * offset * 1_000);
  return `${utc.toISOString().slice(0, 20)}${canonicalFraction(fraction)}Z`;
}

/** Historical offsets have seconds. */
const POSTGRES =
  /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/;

const notATime = (text: string): Error =>
  new Error(
    `PostgreSQL sent ${JSON.stringify(text)}, which is no time that can be read: there has to be a year of four digits and an ` +
      `offset, as with datestyle ISO. See what has changed the settings of the session (docs/how-to/poolers.md).`,
  );

function canonicalFraction(digits: string): string {
  const micros = digits.padEnd(6, '0');
  return micros.endsWith('000') ? micros.slice(0, 3) : micros;
}

function offsetMinutes(zone: string): number | undefined {
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}
