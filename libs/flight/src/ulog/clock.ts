import type { LogContents } from './log-scanner.js';
import type { Rows } from './rows.js';
import { median, trustedRows } from './tidy.js';
import { GPS_TOPICS } from './topics.js';

/** How the log's time, microseconds since boot, becomes time of day. */
export interface Clock {
  /** UTC in microseconds since 1970 minus microseconds since boot. */
  readonly offset: number;
  readonly from: 'gps' | 'log-name' | 'file-time';
  /** Where the time comes from, in words. */
  readonly how: string;
  /** Set where the time should not be relied on. */
  readonly warning?: string;
}

const PX4_BEGINS = Date.UTC(2012, 0, 1) * 1e3;
const LATEST = Date.UTC(2100, 0, 1) * 1e3;

/** The time of a GPS message with a fix is the best there is; the name that PX4 gave the log the next; the file's time the last resort. */
export function clockOf(
  log: Pick<LogContents, 'rows' | 'info' | 'console' | 'startTime'>,
  lastTime: number,
  modifiedAt: Date,
): Clock {
  return gpsClock(log.rows) ?? nameClock(log) ?? fileClock(lastTime, modifiedAt);
}

function gpsClock(all: readonly Rows[]): Clock | undefined {
  const topics = [...GPS_TOPICS, 'vehicle_global_position'];
  const candidates = all
    .filter((rows) => rows.has('time_utc_usec') && topics.includes(rows.topic))
    .sort((a, b) => topics.indexOf(a.topic) - topics.indexOf(b.topic));
  for (const needsFix of [true, false]) {
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
  }
  return undefined;
}

function utcOffset(rows: Rows, row: number, needsFix: boolean): number[] {
  if (needsFix && rows.at('fix_type', row) < 3) return [];
  const utc = rows.at('time_utc_usec', row);
  if (!(utc > PX4_BEGINS && utc < LATEST)) return [];
  const relative = rows.at('timestamp_time_relative', row);
  return [utc - rows.timeAt(row) - (Number.isFinite(relative) ? relative : 0)];
}

/**
 * PX4 names a log by the time when it begins, once it knows the time: `log/2021-04-21/06_30_58.ulg`, and the console
 * output in the log says so. The name is in local time; `time_ref_utc` is the zone in seconds (and no time by itself).
 */
function nameClock({
  console,
  info,
  startTime,
}: Pick<LogContents, 'console' | 'info' | 'startTime'>): Clock | undefined {
  const name = /log\/(\d{4})-(\d\d)-(\d\d)\/(\d\d)_(\d\d)_(\d\d)\.ulg/.exec(console);
  if (!name) return undefined;
  const [year, month, day, hour, minute, second] = name.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const zone = Number(info.get('time_ref_utc') ?? 0);
  const utc = (Date.UTC(year, month - 1, day, hour, minute, second) - zone * 1e3) * 1e3;
  if (!(utc > PX4_BEGINS && utc < LATEST)) return undefined;
  return {
    offset: utc - startTime,
    from: 'log-name',
    how: `the name that PX4 gave the log, ${name[0]}`,
    warning:
      'No GPS message has a time of day, so the times of the flight come from the name of the log: right to about 2 s.',
  };
}

function fileClock(lastTime: number, modifiedAt: Date): Clock {
  const at = modifiedAt.toISOString();
  return {
    offset: Math.round(modifiedAt.getTime() * 1e3 - lastTime),
    from: 'file-time',
    how: `the time when the file was last modified, ${at}, taken as the end of the flight`,
    warning:
      `The log does not say when it was recorded (no GPS message has a time of day), so the flight is dated as if it had ended ` +
      `when the file was last modified, ${at}. The times within the flight are right; the day may be wrong.`,
  };
}
