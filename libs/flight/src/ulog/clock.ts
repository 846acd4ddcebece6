import { resolve } from 'node:path';
import type { LogFile } from './log-file.js';
import type { Rows } from './rows.js';
import { median, trustedRows } from './tidy.js';
import { GPS_TOPICS } from './topics.js';

/** Where the time of day of a flight comes from, the best first; `earlier-import`: see earlier-import.ts. */
export type ClockSource = 'gps' | 'boot-time' | 'log-name' | 'file-path' | 'file-time' | 'earlier-import';

/** How the log's time, microseconds since boot, becomes time of day. */
export interface Clock {
  /** UTC in microseconds since 1970 minus microseconds since boot. */
  readonly offset: number;
  readonly from: ClockSource;
  /** Where the time comes from, in words. */
  readonly how: string;
  /** Set where the time should not be relied on. */
  readonly warning?: string;
}

/** The times of the first and the last position, microseconds since boot. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

type DatedLog = Pick<LogFile, 'rows' | 'info' | 'console' | 'startTime' | 'path' | 'modifiedAt'>;

const PX4_BEGINS = Date.UTC(2012, 0, 1) * 1e3;
const LATEST = Date.UTC(2100, 0, 1) * 1e3;
/** SDLOG_UTC_OFFSET goes to 1,000 minutes either way. */
const MAX_ZONE = 60_000;
/** Sources this far apart contradict each other, microseconds. */
const CONTRADICTION = 60e6;

/** Whether the time of day is in the log itself, so that every copy of the file says the same. */
export const isOfLog = (from: ClockSource): boolean =>
  from === 'gps' || from === 'boot-time' || from === 'log-name';

/**
 * The time of a GPS message with a fix is the best there is; then what the vehicle took for the time of its boot, which
 * it only says after a fix or when a ground station told it; a GPS without a fix; the name that PX4 gave the log, in its
 * console output or still in the path of the file. The time of the file is the last resort. What would date the flight
 * to before PX4, or to a distant future, is passed over. `warnings` names that, and sources that contradict.
 */
export function clockOf(log: DatedLog, span: Span): { clock: Clock; warnings: readonly string[] } {
  const withFix = gpsClock(log.rows, true);
  const found = [
    withFix,
    bootClock(log),
    // A receiver that finds a fix later may well have been wrong before.
    withFix ? undefined : gpsClock(log.rows, false),
    consoleClock(log),
    pathClock(log),
  ].filter((clock) => clock !== undefined);
  const possible = found.filter(({ offset }) => isPossible(offset, span));
  const clock = wholeMilliseconds(possible[0] ?? fileClock(log, span), span);
  const warnings = found
    .filter((other) => !possible.includes(other))
    .map(({ how }) => `Not used: ${how}, for it is no time at which PX4 can have flown.`);
  const contradicting = possible.filter(({ offset }) => Math.abs(offset - clock.offset) > CONTRADICTION);
  for (const { offset, how } of contradicting) {
    warnings.push(
      `The sources of time contradict each other: by ${how}, the flight began at ${timeOf(span.first + offset)}, ` +
        `and by ${clock.how}, at ${timeOf(span.first + clock.offset)}, which was used.`,
    );
  }
  return { clock, warnings: clock.warning === undefined ? warnings : [clock.warning, ...warnings] };
}

const isPossible = (offset: number, { first, last }: Span) =>
  first + offset > PX4_BEGINS && last + offset < LATEST;

const timeOf = (utc: number) => new Date(Math.round(utc / 1e3)).toISOString();

/** A flight that is dated from outside of its log begins on a whole millisecond, so that a later import can date it alike. */
function wholeMilliseconds(clock: Clock, { first }: Span): Clock {
  if (isOfLog(clock.from)) return clock;
  return { ...clock, offset: Math.round((first + clock.offset) / 1e3) * 1e3 - first };
}

function gpsClock(all: readonly Rows[], needsFix: boolean): Clock | undefined {
  const topics = [...GPS_TOPICS, 'vehicle_global_position'];
  const candidates = all
    .filter((rows) => rows.has('time_utc_usec') && topics.includes(rows.topic))
    .sort((a, b) => topics.indexOf(a.topic) - topics.indexOf(b.topic));
  for (const rows of candidates) {
    const offsets = trustedRows(rows.times).flatMap((row) => utcOffset(rows, row, needsFix));
    if (offsets.length === 0) continue;
    return {
      // The middle one: a message may come late, and a bit may have flipped.
      offset: Math.round(median(offsets)),
      from: 'gps',
      how: `time_utc_usec of ${rows.topic} (${offsets.length} messages${needsFix ? '' : ', none with a fix'})`,
      ...(!needsFix && {
        warning: 'The GPS had no fix, so the times of the flight are those of its battery-backed clock.',
      }),
    };
  }
  return undefined;
}

function utcOffset(rows: Rows, row: number, needsFix: boolean): number[] {
  const hasFix = !(rows.at('fix_type', row) < 3);
  if (hasFix !== needsFix) return [];
  const utc = rows.at('time_utc_usec', row);
  if (!(utc > PX4_BEGINS && utc < LATEST)) return [];
  const relative = rows.at('timestamp_time_relative', row);
  return [utc - rows.timeAt(row) - (Number.isFinite(relative) ? relative : 0)];
}

/** The zone in which the vehicle names its logs, microseconds east of UTC. It is no time by itself. */
function zoneOf({ info }: Pick<DatedLog, 'info'>): number {
  const seconds = info.get('time_ref_utc');
  return typeof seconds === 'number' && Math.abs(seconds) <= MAX_ZONE ? seconds * 1e6 : 0;
}

/**
 * `boot_time_utc_us`, by which later versions of PX4 date the boot. In spite of its name PX4 adds the zone to it, as it
 * does to names (get_log_time in its logger's util.cpp). Where the log has a name, that tells whether this one did.
 */
function bootClock(log: DatedLog): Clock | undefined {
  const boot = log.info.get('boot_time_utc_us');
  if (typeof boot !== 'number') return undefined;
  const zone = zoneOf(log);
  const named = namesIn(log.console).at(-1) ?? nameOf(log.path);
  const beginning = boot + log.startTime;
  const isLocal =
    named === undefined || Math.abs(beginning - named.local) <= Math.abs(beginning + zone - named.local);
  if (zone === 0 || !isLocal) return { offset: boot, from: 'boot-time', how: 'boot_time_utc_us of the log' };
  return {
    offset: boot - zone,
    from: 'boot-time',
    how: `boot_time_utc_us of the log, less its time_ref_utc of ${zone / 1e6} s`,
    ...(named === undefined && {
      warning:
        `PX4 adds time_ref_utc, ${zone / 1e6} s, to boot_time_utc_us, so it was taken off again. ` +
        'If the firmware of this vehicle does not, the times of the flight are wrong by as much.',
    }),
  };
}

/** A log's name, which says when it begins: `log/2021-04-21/06_30_58.ulg`, in local time. */
interface LogName {
  readonly text: string;
  /** Microseconds since 1970, as if the zone were UTC. */
  readonly local: number;
}

const NAME = String.raw`(\d{4})-(\d\d)-(\d\d)/(\d\d)_(\d\d)_(\d\d)(?:_replayed)?\.ulg`;

/** The names of logs in a text, in their order; not those of the short logs of missions, which stand in `mission_log`. */
const namesIn = (text: string): LogName[] =>
  [...text.matchAll(new RegExp(String.raw`(?<![\w-])log/${NAME}\b`, 'g'))].flatMap(
    (match) => nameOfMatch(match) ?? [],
  );

/** The name that PX4 gave a log, where the file still stands in the folder of its day. */
function nameOf(path: string): LogName | undefined {
  const match = new RegExp(`/${NAME}$`).exec(resolve(path));
  return match ? nameOfMatch(match) : undefined;
}

function nameOfMatch(match: RegExpExecArray): LogName | undefined {
  const [text, ...parts] = match;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.map(Number);
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // A 31st of February is none, though a Date makes one of it.
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  return isReal ? { text: text.replace(/^\//, ''), local: date.getTime() * 1e3 } : undefined;
}

/** The console output since the boot names every log of that boot; this one was opened last. */
function consoleClock(log: DatedLog): Clock | undefined {
  const name = namesIn(log.console).at(-1);
  return (
    name && {
      offset: name.local - zoneOf(log) - log.startTime,
      from: 'log-name',
      how: `the name that PX4 gave the log, ${name.text}`,
      warning:
        'No GPS message has a time of day, so the times of the flight come from the name of the log: right to about 2 s.',
    }
  );
}

function pathClock(log: DatedLog): Clock | undefined {
  const name = nameOf(log.path);
  return (
    name && {
      offset: name.local - zoneOf(log) - log.startTime,
      from: 'file-path',
      how: `the path of the file, ${name.text}, as PX4 names logs`,
      warning:
        'The log does not say when it was recorded, so the times of the flight come from the path of the file: right to about ' +
        '2 s, if it is the name that PX4 gave the log.',
    }
  );
}

function fileClock({ modifiedAt }: DatedLog, { last }: Span): Clock {
  const at = modifiedAt.toISOString();
  return {
    offset: modifiedAt.getTime() * 1e3 - last,
    from: 'file-time',
    how: `the time when the file was last modified, ${at}, taken as the end of the flight`,
    warning:
      `The log does not say when it was recorded (no GPS message has a time of day), so the flight is dated as if it had ended ` +
      `when the file was last modified, ${at}. The times within the flight are right; the day may be wrong. ` +
      'Better: import the file from where PX4 put it, such as log/2026-04-11/04_29_40.ulg.',
  };
}
