import { Inject } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, IsNumber, Max, Min } from 'class-validator';
import type pg from 'pg';
import {
  databaseCall,
  IsTimestamp,
  parseTimestamp,
  readRows,
  timestampFromPostgres,
  type Timestamp,
} from '#lib/platform';
import { retainedSince } from '#lib/timescale';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, waiting, type FollowerType, type RollupVerification, QUERY_POOL } from '#lib/waylog';
import { MinutesOfFlight } from '../query-rules.js';
import { FRAME_MINUTES, FrameMinutes, frameMinutesRollup } from './frame-minutes.follower.js';
import { frameResults } from './frame-results.projection.js';

/** The rollup of one flight's frames within one minute. */
export class FrameMinute {
  /** Its beginning, in UTC. */
  @IsTimestamp() readonly minute!: Timestamp;
  @IsInt() @Min(1) readonly frames!: number;
  @IsNumber() @Min(0) @Max(1) readonly meanConfidence!: number;
  @IsNumber() @Min(0) @Max(1) readonly minConfidence!: number;
  /** The share of the frames that have been refined, from 0 to 1. */
  @IsNumber() @Min(0) @Max(1) readonly refinedShare!: number;
  /**
   * Metres along great circles from frame to frame, in the order of their timestamps. The way between two frames counts
   * in the minute in which it ends, so that the sum over all minutes is the length of the whole path.
   */
  @IsNumber() @Min(0) readonly distanceMetres!: number;
}

/** The minutes that begin from `from` (inclusive) to `to` (exclusive), RFC 3339. */
export interface MinuteRange {
  readonly from?: string | null | undefined;
  readonly to?: string | null | undefined;
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
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  async execute({ flightId, range, options }: GetFrameMinutes): Promise<FrameMinute[]> {
    const { from, to } = checked(MinutesOfFlight, { ...range, flightId });
    const bounds = [from, to].map((bound) => (bound && parseTimestamp(bound)) ?? null);
    const { minPosition } = options;
    // The rollup has its own checkpoint.
    if (minPosition !== undefined)
      await waiting(options, () => this.minutes.waitFor(minPosition, MAX_WAIT_MS));
    return this.reads.of(flightId, options, async () => {
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

export interface RollupDifference {
  readonly flightId: string;
  readonly minute: Timestamp;
  readonly rollup: string | undefined;
  readonly frames: string | undefined;
}

export interface FrameMinutesVerification extends RollupVerification {
  readonly differences: readonly RollupDifference[];
}

/**
 * Another way to compute the same numbers: hops from frame to frame over the whole flight, then by minute. Rows dropped
 * on purpose cannot be used: $1 is the first time that can; the hop into the first frame after it is unknown too.
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

/** Returns a row if the rollup holds everything that the table does. */
const caughtUpSql = `
  select true
   where (select count(distinct position) from projection.checkpoints 
          where (projector, projection) in (('${FRAME_MINUTES}', '${frameMinutesRollup.name}'), ('flight', '${frameResults.name}'))) <= 1
     and (exists (select from flight.frame_minutes_source where relation = 'flight.frame_results'::regclass)
          or not exists (select from flight.frame_results))
     and not exists (select from flight.frame_minutes_touched)`;

export interface RollupVerificationOptions {
  /** How often it compares before it reports that the rollup is behind. */
  readonly attempts?: number;
  /** The pause between two comparisons, in which the follower can catch up. */
  readonly pauseMs?: number;
}

/**
 * Compares the rollup with a computation from the frames themselves, in one snapshot. A difference while the rollup is
 * behind may only be due to that, so it compares again; it reports the differences that every comparison found.
 */
export async function verifyFrameMinutes(
  pool: pg.Pool,
  { attempts = 10, pauseMs = 1_000 }: RollupVerificationOptions = {},
): Promise<FrameMinutesVerification> {
  const since = (await retainedSince(pool)).get('flight.frame_results');
  // The first minute after may be partly dropped, if chunks do not begin with a minute.
  const from = since ? new Date(Math.ceil(since.getTime() / 60_000) * 60_000) : null;
  let found = await compareFrameMinutes(pool, from);
  for (let look = 1; look < attempts && !found.identical && !found.caughtUp; look++) {
    await sleep(pauseMs);
    const again = await compareFrameMinutes(pool, from);
    const before = new Set(found.differences.map(keyOf));
    const differences = again.differences.filter((difference) => before.has(keyOf(difference)));
    found = again.caughtUp ? again : { ...again, differences, identical: differences.length === 0 };
  }
  return found;
}

const keyOf = ({ flightId, minute }: RollupDifference): string => `${minute} ${flightId}`;

async function compareFrameMinutes(pool: pg.Pool, from: Date | null): Promise<FrameMinutesVerification> {
  const client = await databaseCall(() => pool.connect());
  // A session that fails in the transaction must not be used again.
  let isBroken = true;
  try {
    await client.query('begin isolation level repeatable read read only');
    const caughtUp = await readRows(client, undefined, caughtUpSql, []);
    const rows = await readRows(client, undefined, differencesSql, [from]);
    await client.query('commit');
    isBroken = false;
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
      caughtUp: caughtUp.length > 0,
    };
  } finally {
    client.release(isBroken);
  }
}

/** Keeps the minute rollup of frame results, the same way in every edition. */
export const frameMinutesFollower: FollowerType = {
  name: FRAME_MINUTES,
  // In the Timescale edition, the view is over parts between two migrations.
  keeps: ['frame_minutes', 'frame_minute_parts'],
  tables: [frameMinutesRollup],
  rollup: {
    info: () => ({
      viewName: 'flight.frame_minutes',
      sourceTable: 'flight.frame_results',
      refreshPolicy: { mechanism: 'follower' },
      materialized: true,
    }),
    verify: verifyFrameMinutes,
    tell: ({ flightId, minute, rollup, frames }: RollupDifference) =>
      `${flightId} ${minute}: rollup ${rollup ?? 'none'}, frames ${frames ?? 'none'}`,
  },
  token: FrameMinutes,
  make: (options) => new FrameMinutes(options),
};
