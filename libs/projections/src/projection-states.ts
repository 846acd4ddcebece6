import { IsIn, IsInt, IsNumber, IsString, Min } from 'class-validator';
import type { Pool } from 'pg';
import {
  IsTimestamp,
  Nested,
  Optional,
  readRows,
  timestampFromPostgres,
  WaylogError,
  type Timestamp,
} from '#lib/platform';
import type { Backlog, Position, ReadableLog } from '#lib/event-store';
import { otherLog } from './folded-log.js';
import { leaderLock } from './lead.js';
import type { ProjectorState } from './projector-status.js';

/** The progress of a rebuild that is running, or was interrupted. */
export class RebuildProgress {
  @IsInt() @Min(0) readonly events!: number;
  /** The approximate total. */
  @IsInt() @Min(0) readonly total!: number;
  @IsTimestamp() readonly updatedAt!: Timestamp;
}

type ShownState = Exclude<ProjectorState, 'standby'>;
const STATES: readonly ShownState[] = ['active', 'catching-up', 'paused', 'stopped', 'failed'];

/** A table and its state relative to the log, as any process can tell. */
export class ProjectionStatus {
  @IsString() readonly projection!: string;
  @IsString() readonly projector!: string;
  /** `stopped`: no process leads the projector. */
  @IsIn(STATES) readonly state!: ShownState;
  /** The version of the fold that wrote the table. */
  @IsInt() readonly version!: number;
  /** The version of the fold in this code; the projector rebuilds a table of an older one. */
  @IsInt() readonly codeVersion!: number;
  @IsString() readonly position!: Position;
  /** Events in the log that are not in the table yet. */
  @IsInt() @Min(0) readonly lagEvents!: number;
  /** Age of the oldest of them in seconds; 0 if there is none. */
  @IsNumber() @Min(0) readonly lagSeconds!: number;
  /** For how many seconds events have waited and none was folded; 0 while it moves, or has nothing to do. */
  @IsNumber() @Min(0) readonly stuckSeconds!: number;
  /** Over the last ten seconds, by the process that leads. The rollup counts the events that touch it. */
  @IsNumber() @Min(0) readonly eventsPerSecond!: number;
  /** The host and process that lead. */
  @Optional() @IsString() readonly leader?: string;
  @Optional() @IsString() readonly lastError?: string;
  @Optional() @IsTimestamp() readonly lastErrorAt?: Timestamp;
  @Optional() @IsTimestamp() readonly pausedSince?: Timestamp;
  @Optional() @IsString() readonly pausedBy?: string;
  @Optional() @IsString() readonly pauseReason?: string;
  @Optional() @Nested(() => RebuildProgress) readonly rebuild?: RebuildProgress;
  /** Streams with events that cannot be projected and wait for an operator; without those that one has accepted. */
  @IsInt() @Min(0) readonly parkedStreams!: number;
}

/** A leader that has been silent for this long counts as dead. */
const REPORT_IS_OLD_AFTER_SECONDS = 30;

const statesSql = `
  select c.projection, c.version, c.position, c.updated_at, extract(epoch from clock_timestamp() - c.updated_at),
         c.paused_at, c.paused_by, c.pause_reason,
         p.leader, p.state, p.events_per_second, p.last_error, p.last_error_at,
         extract(epoch from clock_timestamp() - p.reported_at),
         exists (select from pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                    and l.database = (select oid from pg_database where datname = current_database())
                    and (l.classid::bigint << 32) | l.objid::bigint = $3::bigint),
         r.events, r.total, r.updated_at,
         (select count(*) from projection.parked_streams where projector = $1 and accepted_at is null),
         extract(epoch from clock_timestamp()) * 1000
    from projection.checkpoints c
    left join projection.projectors p on p.name = $1
    left join projection.rebuilds r on r.projector = c.projector and r.projection = c.projection
   where c.projector = $1 and c.projection = any ($2)`;

async function backlogOf(store: ReadableLog, position: Position): Promise<Backlog> {
  try {
    return await store.backlog(position);
  } catch (error) {
    throw error instanceof WaylogError && error.code === 'position.invalid' ? otherLog() : error;
  }
}

/** How many streams are parked: each table shows what its projector has parked. */
export const parkedIn = (states: readonly ProjectionStatus[]): number =>
  [...new Map(states.map((state) => [state.projector, state.parkedStreams])).values()].reduce(
    (sum, streams) => sum + streams,
    0,
  );

/** The state of the tables of a projector; tables that no projector has run for yet are left out. */
export async function projectionStates(
  pool: Pool,
  store: ReadableLog,
  projector: string,
  projections: readonly { readonly name: string; readonly version: number }[],
): Promise<ProjectionStatus[]> {
  const names = projections.map(({ name }) => name);
  const rows = await readRows(pool, undefined, statesSql, [projector, names, leaderLock(projector)]);
  const backlogs = new Map<string, Promise<Backlog>>();
  const states = rows.map(async (row): Promise<ProjectionStatus> => {
    const [projection, version, position, updatedAt, unmovedFor, pausedAt, pausedBy, pauseReason] = row;
    const [leader, state, rate, lastError, lastErrorAt, reportAge, isLed] = row.slice(8);
    const [events, total, rebuiltAt, parked, now] = row.slice(15);
    const at = position as string;
    if (!backlogs.has(at)) backlogs.set(at, backlogOf(store, at));
    const { events: lagEvents, since } = await (backlogs.get(at) as Promise<Backlog>);
    // By the clock of the database, which has dated the event: this machine's clock can differ.
    const lagSeconds = since ? Math.max(0, (Number(now) - Date.parse(since)) / 1_000) : 0;
    const isRecent = Number(reportAge ?? Infinity) < REPORT_IS_OLD_AFTER_SECONDS;
    const isReporting = isLed === 't' && isRecent;
    return {
      projection: projection as string,
      projector,
      state: stateOf(),
      version: Number(version),
      codeVersion: projections.find(({ name }) => name === projection)?.version ?? 0,
      position: at,
      lagEvents,
      lagSeconds,
      stuckSeconds: lagEvents > 0 ? Math.min(lagSeconds, Math.max(0, Number(unmovedFor))) : 0,
      eventsPerSecond: isReporting ? Number(rate) : 0,
      ...(isReporting && leader && { leader }),
      ...(isRecent &&
        lastError &&
        // An old error, after which the table has moved, is no longer reported.
        (state === 'failed' || (lastErrorAt ?? '') > (updatedAt ?? '')) && {
          lastError,
          lastErrorAt: timestampFromPostgres(lastErrorAt as string),
        }),
      ...(pausedAt && {
        pausedSince: timestampFromPostgres(pausedAt),
        pausedBy: pausedBy as string,
        pauseReason: pauseReason as string,
      }),
      ...(events !== null &&
        events !== undefined && {
          rebuild: {
            events: Number(events),
            total: Number(total),
            updatedAt: timestampFromPostgres(rebuiltAt as string),
          },
        }),
      parkedStreams: Number(parked),
    };

    function stateOf(): ProjectionStatus['state'] {
      if (pausedAt) return 'paused';
      // Between two attempts a failed projector does not lead, so its last report counts for a while.
      if (state === 'failed' && isRecent) return 'failed';
      if (isLed !== 't') return 'stopped';
      return state === 'catching-up' || state === 'failed' ? state : 'active';
    }
  });
  return (await Promise.all(states)).sort(
    (a, b) => names.indexOf(a.projection) - names.indexOf(b.projection),
  );
}
