import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, IsNumber, Max, Min } from 'class-validator';
import pg from 'pg';
import {
  databaseCall,
  invalidInput,
  IsTimestamp,
  parseTimestamp,
  readRows,
  timestampFromPostgres,
  type Timestamp,
} from '#lib/platform';
import { capabilities, retainedSince, type ContinuousAggregateInfo } from '#lib/timescale';
import { FlightReads, type ReadOptions } from '../flight-reads.js';
import { waiting } from '../observe-queries.js';
import { FrameMinutes } from './frame-minutes.follower.js';
import { frameResults } from './frame-results.projection.js';

/** What the frames of one flight gave within one minute. */
export class FrameMinute {
  /** Its beginning, in UTC. */
  @IsTimestamp() readonly minute!: Timestamp;
  @IsInt() @Min(1) readonly frames!: number;
  @IsNumber() @Min(0) @Max(1) readonly meanConfidence!: number;
  @IsNumber() @Min(0) @Max(1) readonly minConfidence!: number;
  /** The part of the frames that have been refined, from 0 to 1. */
  @IsNumber() @Min(0) @Max(1) readonly refinedShare!: number;
  /**
   * Metres along great circles from frame to frame, in the order of their timestamps. The way between two frames counts
   * into the minute in which it ends, so that the sum over all minutes is the length of the whole path.
   */
  @IsNumber() @Min(0) readonly distanceMetres!: number;
}

/** Which minutes: those that begin from `from` (inclusive) to `to` (exclusive), RFC 3339. */
export interface MinuteRange {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

/** The minutes in which a flight has frames, oldest first. */
export class GetFrameMinutes extends Query<FrameMinute[]> {
  constructor(
    readonly flightId: string,
    readonly range: MinuteRange = {},
    readonly options: Pick<ReadOptions, 'minPosition'> = {},
  ) {
    super();
  }
}

/** The longest that a read waits for its minimum position. */
const MAX_WAIT_MS = 5_000;

const minutesSql = `
  select minute, frames, mean_confidence, min_confidence, refined_share, distance_metres
    from flight.frame_minutes
   where flight_id = $1 and ($2::timestamptz is null or minute >= $2) and ($3::timestamptz is null or minute < $3)
   order by minute`;

@QueryHandler(GetFrameMinutes)
export class GetFrameMinutesHandler implements IQueryHandler<GetFrameMinutes> {
  constructor(
    private readonly reads: FlightReads,
    private readonly minutes: FrameMinutes,
    private readonly pool: pg.Pool,
  ) {}

  async execute({ flightId, range, options }: GetFrameMinutes): Promise<FrameMinute[]> {
    const bounds = (['from', 'to'] as const).map((field) => boundOf(field, range[field]));
    const { minPosition } = options;
    if (minPosition !== undefined) {
      // A continuous aggregate reads on from the table; a follower's table is as far as its own checkpoint.
      if (await this.minutes.isFollowed())
        await waiting(options, () => this.minutes.waitFor(minPosition, MAX_WAIT_MS));
      else await this.reads.live(options);
    }
    return this.reads.ofFlight(flightId, options, async () => {
      const rows = await readRows(this.pool, 'flight.frame_minutes', minutesSql, [flightId, ...bounds]);
      return rows.map(([minute, ...numbers]): FrameMinute => {
        const [frames, meanConfidence, minConfidence, refinedShare, distanceMetres] = numbers.map(Number);
        return {
          minute: timestampFromPostgres(minute ?? ''),
          frames: frames ?? 0,
          meanConfidence: meanConfidence ?? 0,
          minConfidence: minConfidence ?? 0,
          refinedShare: refinedShare ?? 0,
          distanceMetres: distanceMetres ?? 0,
        };
      });
    });
  }
}

function boundOf(field: string, text: string | undefined): Timestamp | null {
  if (text === undefined) return null;
  const time = parseTimestamp(text);
  if (time === undefined) throw invalidInput([{ field, message: 'must be an RFC 3339 time with a zone' }]);
  return time;
}

export interface RollupDifference {
  readonly flightId: string;
  readonly minute: Timestamp;
  readonly rollup: string | undefined;
  readonly frames: string | undefined;
}

export interface RollupVerification {
  /** How many minutes were compared. */
  readonly minutes: number;
  /** At most 100. */
  readonly differences: readonly RollupDifference[];
  readonly identical: boolean;
  /** Whether the rollup was as far as the table: where it was not, a difference may be just that. */
  readonly caughtUp: boolean;
}

/**
 * Another way to the same numbers: hops from frame to frame over the whole flight, then by minute. What was dropped on
 * purpose cannot be computed any more: $1 is from when on; the hop into the first frame after it is not known either.
 */
const differencesSql = `
  with hops as (
    select flight_id, "timestamp", confidence, refined,
           flight.great_circle_metres(lag(gps_lat) over flown, lag(gps_lon) over flown, gps_lat, gps_lon) as metres,
           $1::timestamptz is not null and coalesce(lag("timestamp") over flown < $1, true) as is_cut
      from flight.frame_results
    window flown as (partition by flight_id order by "timestamp", frame_id)
  ), direct as materialized (
    select flight_id, time_bucket(interval '1 minute', "timestamp") as minute, count(*) as frames,
           avg(confidence) as mean_confidence, min(confidence) as min_confidence,
           avg(refined::int)::double precision as refined_share,
           coalesce(sum(metres), 0) as distance_metres, bool_or(is_cut) as is_cut
      from hops group by 1, 2
  ), compared as (
    select coalesce(m.flight_id, d.flight_id) as flight_id, coalesce(m.minute, d.minute) as minute,
           concat_ws(' ', m.frames, m.mean_confidence, m.min_confidence, m.refined_share, m.distance_metres) as rollup,
           concat_ws(' ', d.frames, d.mean_confidence, d.min_confidence, d.refined_share, d.distance_metres) as frames,
           coalesce(m.frames = d.frames and m.min_confidence = d.min_confidence
             and abs(m.mean_confidence - d.mean_confidence) < 1e-9 and abs(m.refined_share - d.refined_share) < 1e-9
             and (d.is_cut or abs(m.distance_metres - d.distance_metres) < 1e-6 * (1 + d.distance_metres)), false) as same
      from direct d full join flight.frame_minutes m on m.flight_id = d.flight_id and m.minute = d.minute
     where $1::timestamptz is null or coalesce(m.minute, d.minute) >= $1
  )
  select (select count(*) from compared)::text, c.flight_id, c.minute, nullif(c.rollup, ''), nullif(c.frames, '')
    from (select) one left join (select * from compared where not same order by flight_id, minute limit 100) c on true`;

/** Compares the rollup with a computation from the frames themselves. */
export async function verifyFrameMinutes(pool: pg.Pool): Promise<RollupVerification> {
  const since = (await retainedSince(pool)).get('flight.frame_results');
  // The first minute after may be partly dropped, where chunks do not begin with a minute.
  const from = since ? new Date(Math.ceil(since.getTime() / 60_000) * 60_000) : null;
  const positions = await databaseCall(() =>
    pool.query<{ n: string }>(
      `select count(distinct position)::text as n from projection.checkpoints where projection in ('frame_minutes', $1)
         and to_regclass('flight.frame_minute_parts') in (select oid from pg_class where relkind = 'r')`,
      [frameResults.name],
    ),
  );
  const rows = await readRows(pool, undefined, differencesSql, [from]);
  const differences = rows.flatMap(([, flightId, minute, rollup, frames]): RollupDifference[] =>
    flightId
      ? [
          {
            flightId,
            minute: timestampFromPostgres(minute ?? ''),
            rollup: rollup ?? undefined,
            frames: frames ?? undefined,
          },
        ]
      : [],
  );
  return {
    minutes: Number(rows[0]?.[0]),
    differences,
    identical: differences.length === 0,
    caughtUp: Number(positions.rows[0]?.n) <= 1,
  };
}

/** How the rollup is kept here: by a continuous aggregate or by the follower. */
export async function frameMinutesInfo(
  pool: pg.Pool,
  minutes: FrameMinutes,
): Promise<ContinuousAggregateInfo> {
  const can = await capabilities(pool);
  const isFollowed = await minutes.isFollowed();
  const rows = await readRows(
    pool,
    undefined,
    `select j.schedule_interval::text from timescaledb_information.jobs j
       join timescaledb_information.continuous_aggregates a
         on (a.materialization_hypertable_schema, a.materialization_hypertable_name) = (j.hypertable_schema, j.hypertable_name)
      where a.view_schema = 'flight' and a.view_name = 'frame_minute_parts'
        and j.proc_name = 'policy_refresh_continuous_aggregate'`,
    [],
  );
  const interval = rows[0]?.[0];
  return {
    viewName: 'flight.frame_minutes',
    sourceTable: 'flight.frame_results',
    refreshPolicy: {
      mechanism: isFollowed ? 'follower' : 'continuous aggregate',
      ...(isFollowed && !can.continuousAggregates.available && { reason: can.continuousAggregates.reason }),
      ...(interval && { scheduleInterval: interval }),
    },
    materialized: true,
  };
}
