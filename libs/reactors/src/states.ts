import { IsBoolean, IsIn, IsInt, IsNumber, IsString, Min } from 'class-validator';
import type pg from 'pg';
import {
  IsTimestamp,
  Optional,
  readRows,
  timestampFromPostgres,
  WaylogError,
  type Timestamp,
} from '#lib/platform';
import type { Position, ReadableLog } from '#lib/event-store';
import { leaderLock } from '#lib/projections';
import { lockOf } from './led.js';
import { nameOfLog } from './recorded.js';

const KINDS = ['reactor', 'deadline'] as const;
const STATES = ['active', 'catching-up', 'paused', 'stopped', 'failed', 'never-ran'] as const;

/** A reactor, or a kind of deadline, as any process can tell. */
export class ReactorStatus {
  @IsString() readonly name!: string;
  @IsIn(KINDS) readonly kind!: (typeof KINDS)[number];
  /** The context that declares it; absent for what ships with Waylog. */
  @Optional() @IsString() readonly context?: string;
  /** `stopped`: no process leads it. `never-ran`: it begins with the first process that has it. */
  @IsIn(STATES) readonly state!: (typeof STATES)[number];
  /** The version that acted last. */
  @Optional() @IsInt() readonly version?: number;
  @IsInt() readonly codeVersion!: number;
  /** Up to where the log was acted on. A deadline acts on a table instead. */
  @Optional() @IsString() readonly position?: Position;
  /** Whether that position is one of another log: it waits for a reset. */
  @IsBoolean() readonly isOfOtherLog!: boolean;
  /** Events that it has not looked at yet, or commands that are due and were not sent. */
  @IsInt() @Min(0) readonly lagEvents!: number;
  /** The age of the oldest of them, in seconds: for a deadline how late it is. */
  @IsNumber() @Min(0) readonly lagSeconds!: number;
  /** Streams, or commands of deadlines, that have failed and are tried again. */
  @IsInt() @Min(0) readonly waiting!: number;
  /** Those that are not tried again until an operator decides. */
  @IsInt() @Min(0) readonly parked!: number;
  /** The host and process that lead. */
  @Optional() @IsString() readonly leader?: string;
  @Optional() @IsString() readonly lastError?: string;
  @Optional() @IsTimestamp() readonly lastErrorAt?: Timestamp;
  @Optional() @IsTimestamp() readonly pausedSince?: Timestamp;
  @Optional() @IsString() readonly pausedBy?: string;
  @Optional() @IsString() readonly pauseReason?: string;
}

/** What is known of one without running it. */
export interface DeclaredReactor {
  readonly name: string;
  readonly version: number;
  readonly context?: string | undefined;
  /** The part of the log that it hears; a deadline has a table instead. */
  readonly hears?: ReadableLog;
  readonly table?: string;
}

/** A leader that has been silent for this long counts as dead. */
const REPORT_IS_OLD_AFTER_SECONDS = 30;

const statesSql = `
  select r.version, r.position, r.log, r.paused_at, r.paused_by, r.pause_reason,
         p.leader, p.state, p.last_error, p.last_error_at, r.moved_at,
         coalesce(extract(epoch from clock_timestamp() - p.reported_at) < ${REPORT_IS_OLD_AFTER_SECONDS}, false),
         exists (select from pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                    and l.database = (select oid from pg_database where datname = current_database())
                    and (l.classid::bigint << 32) | l.objid::bigint = $3::bigint),
         (select count(*) from projection.reactions a where a.reactor = $1 and a.next_attempt_at is not null)
           + (select count(*) from projection.sent_deadlines d where d.deadline = $1 and d.next_attempt_at is not null),
         (select count(*) from projection.reactions a where a.reactor = $1 and a.next_attempt_at is null)
           + (select count(*) from projection.sent_deadlines d
               where d.deadline = $1 and d.next_attempt_at is null and d.error is not null and d.discarded_by is null),
         extract(epoch from clock_timestamp()) * 1000
    from (select) one
    left join projection.reactors r on r.name = $1
    left join projection.projectors p on p.name = $2`;

/** The state of one. */
export async function reactorState(pool: pg.Pool, declared: DeclaredReactor): Promise<ReactorStatus> {
  const { name, version, context, hears, table } = declared;
  const [row = []] = await readRows(pool, undefined, statesSql, [
    name,
    lockOf(name),
    leaderLock(lockOf(name)),
  ]);
  const [wasVersion, position, ofLog, pausedAt, pausedBy, pauseReason, leader, state] = row;
  const [lastError, lastErrorAt, movedAt, recent, led, waiting, parked, now] = row.slice(8);
  const isRecent = recent === 't';
  const isLed = led === 't';
  const lag = hears
    ? await behind(hears, position ?? undefined, ofLog ?? undefined, Number(now))
    : await late(pool, name, table ?? '');
  const stateOf = (): ReactorStatus['state'] => {
    if (pausedAt) return 'paused';
    if (state === 'failed' && isRecent) return 'failed';
    if (wasVersion === null || wasVersion === undefined) return 'never-ran';
    if (!isLed) return 'stopped';
    return state === 'catching-up' ? state : 'active';
  };
  return {
    name,
    kind: hears ? 'reactor' : 'deadline',
    ...(context !== undefined && { context }),
    state: stateOf(),
    ...(wasVersion && { version: Number(wasVersion) }),
    codeVersion: version,
    ...(position && { position }),
    ...lag,
    waiting: Number(waiting),
    parked: Number(parked),
    ...(isLed && isRecent && leader && { leader }),
    ...(isRecent &&
      lastError &&
      (state === 'failed' || (lastErrorAt ?? '') > (movedAt ?? '')) && {
        lastError,
        lastErrorAt: timestampFromPostgres(lastErrorAt as string),
      }),
    ...(pausedAt && {
      pausedSince: timestampFromPostgres(pausedAt),
      pausedBy: pausedBy as string,
      pauseReason: pauseReason as string,
    }),
  };
}

type Lag = Pick<ReactorStatus, 'isOfOtherLog' | 'lagEvents' | 'lagSeconds'>;

async function behind(
  log: ReadableLog,
  position: Position | undefined,
  ofLog: string | undefined,
  now: number,
): Promise<Lag> {
  if (position === undefined) return { isOfOtherLog: false, lagEvents: 0, lagSeconds: 0 };
  const isOfOtherLog = ofLog !== undefined && (await nameOfLog(log)) !== ofLog;
  if (isOfOtherLog) return { isOfOtherLog, lagEvents: 0, lagSeconds: 0 };
  try {
    const { events, since } = await log.backlog(position);
    return {
      isOfOtherLog,
      lagEvents: events,
      lagSeconds: since ? Math.max(0, (now - Date.parse(since)) / 1_000) : 0,
    };
  } catch (error) {
    if (!(error instanceof WaylogError) || error.code !== 'position.invalid') throw error;
    return { isOfOtherLog: true, lagEvents: 0, lagSeconds: 0 };
  }
}

async function late(pool: pg.Pool, name: string, table: string): Promise<Lag> {
  const [row = []] = await readRows(
    pool,
    undefined,
    `select count(*), coalesce(extract(epoch from clock_timestamp() - min(d.due_at)), 0)
       from ${table} d
       left join projection.sent_deadlines s
         on s.deadline = $1 and s.id = d.id and s.key = d.key and s.revision = d.set_by
      where d.due_at <= clock_timestamp() and s.id is null`,
    [name],
  );
  return { isOfOtherLog: false, lagEvents: Number(row[0] ?? 0), lagSeconds: Number(row[1] ?? 0) };
}
