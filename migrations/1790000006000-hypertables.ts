import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The settings of operators for hypertables (retention, compression), what was dropped, what was archived, and the
 * minute rollups of frame results.
 */
export class Hypertables1790000006000 implements MigrationInterface {
  name = 'Hypertables1790000006000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema timescale`);
    await runner.query(`
      create table timescale.hypertables (
        table_schema text not null,
        table_name text not null,
        -- When it was made a hypertable by this service; null for those that migrations made.
        created_at timestamptz,
        -- Chunks whose end is older than this are dropped; null keeps them.
        retention interval check (retention > interval '0'),
        compress_after interval check (compress_after > interval '0'),
        -- The last run of the retention, where it is ours and no policy of TimescaleDB.
        last_run_at timestamptz,
        last_error text,
        primary key (table_schema, table_name)
      )`);
    await runner.query(`
      create table timescale.dropped_ranges (
        table_schema text not null,
        table_name text not null,
        range_start timestamptz not null,
        range_end timestamptz not null,
        reason text not null check (reason in ('retention', 'operator', 'archive')),
        dropped_at timestamptz not null default clock_timestamp(),
        primary key (table_schema, table_name, range_start, range_end)
      )`);
    await runner.query(
      `comment on table timescale.dropped_ranges is 'Whose rows were dropped on purpose: the log still has them, and a comparison with it must leave them out'`,
    );
    await runner.query(`
      create table timescale.archival_events (
        event_id uuid primary key,
        table_schema text not null,
        table_name text not null,
        older_than timestamptz not null,
        status text not null check (status in ('pending', 'archiving', 'verifying', 'completed', 'failed')),
        -- The folder with the files.
        lakehouse_path text not null,
        created_at timestamptz not null default clock_timestamp(),
        completed_at timestamptz,
        error_message text
      )`);
    await runner.query(`
      create table timescale.archived_chunks (
        event_id uuid not null references timescale.archival_events on delete cascade,
        range_start timestamptz not null,
        range_end timestamptz not null,
        chunk_name text not null,
        state text not null check (state in ('pending', 'written', 'dropped', 'restored', 'gone')),
        -- What the manifest beside the file says too: from "written" on.
        file text,
        row_count bigint,
        bytes bigint,
        sha256 text,
        row_hash text,
        primary key (event_id, range_start)
      )`);
    await runner.query(greatCircle);
    await runner.query(pathStep);
    await runner.query(`
      create aggregate flight.path (double precision, double precision) (
        sfunc = flight.path_step, stype = double precision[], parallel = safe
      )`);
    // One row, once all of the table with this oid has been rolled up; another oid means that the table was rebuilt.
    await runner.query(`create table flight.frame_minutes_source (relation oid not null)`);
    // Flights whose frames were written out of the order of the log, such as by a repair: to be rolled up again.
    await runner.query(`create table flight.frame_minutes_touched (flight_id text collate "C" primary key)`);
    await runner.query(createFrameMinutes);
    await runner.query(dropFrameMinutes);
    await runner.query(`select flight.create_frame_minutes()`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`select flight.drop_frame_minutes()`);
    await runner.query(`drop function flight.create_frame_minutes, flight.drop_frame_minutes`);
    await runner.query(`drop table flight.frame_minutes_source, flight.frame_minutes_touched`);
    await runner.query(`drop aggregate flight.path (double precision, double precision)`);
    await runner.query(`drop function flight.path_step, flight.great_circle_metres`);
    await runner.query(`delete from projection.checkpoints where projection = 'frame_minutes'`);
    await runner.query(`drop schema timescale cascade`);
  }
}

/** Haversine on the mean radius of WGS84, 6,371,008.8 m; the short way over the antimeridian. */
const greatCircle = `
  create function flight.great_circle_metres(
    lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision
  ) returns double precision
  language sql immutable strict parallel safe as $$
    select 2 * 6371008.8 * asin(least(1, sqrt(
      sin(radians(lat2 - lat1) / 2) ^ 2 + cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ^ 2)))
  $$`;

/** The state of a path: its length in metres, its first position, its last position. */
const pathStep = `
  create function flight.path_step(path double precision[], lat double precision, lon double precision)
  returns double precision[]
  language plpgsql immutable parallel safe as $$
  begin
    if path is null then
      return array[0, lat, lon, lat, lon];
    end if;
    return array[path[1] + flight.great_circle_metres(path[4], path[5], lat, lon), path[2], path[3], lat, lon];
  end
  $$`;

/**
 * The rollup: parts that depend on nothing but the frames of their own minute, and a view that adds the way from the
 * last frame of the minute before. So the parts can be a continuous aggregate if the edition has them; otherwise they
 * are a table that a follower of the log keeps (libs/flight/src/frames/frame-minutes.follower.ts).
 *
 * These are functions, because code that replaces flight.frame_results has to do this again: a continuous aggregate
 * depends on the very table, which cannot be dropped under it. Both can run inside a transaction.
 */
export const createFrameMinutes = `
  create function flight.create_frame_minutes() returns void
  language plpgsql volatile as $create$
  begin
    if current_setting('timescaledb.license') = 'timescale' then
      execute $sql$
        create materialized view flight.frame_minute_parts
          with (timescaledb.continuous, timescaledb.materialized_only = false) as
        select flight_id, time_bucket(interval '1 minute', "timestamp") as minute, count(*) as frames,
               avg(confidence order by "timestamp", frame_id) as mean_confidence,
               min(confidence) as min_confidence,
               avg(case when refined then 1.0::double precision else 0.0::double precision end) as refined_share,
               flight.path(gps_lat, gps_lon order by "timestamp", frame_id) as path
          from flight.frame_results
         group by 1, 2
          with no data
      $sql$;
      perform add_continuous_aggregate_policy('flight.frame_minute_parts',
        start_offset => null, end_offset => interval '1 minute', schedule_interval => interval '1 minute');
    else
      create table flight.frame_minute_parts (
        flight_id text collate "C" not null,
        minute timestamptz not null,
        frames bigint not null check (frames > 0),
        mean_confidence double precision not null,
        min_confidence double precision not null,
        refined_share double precision not null,
        -- As flight.path makes it: metres within the minute, first latitude and longitude, last latitude and longitude.
        path double precision[] not null,
        primary key (flight_id, minute)
      ) with (fillfactor = 70);
      delete from flight.frame_minutes_source;
    end if;
    create view flight.frame_minutes as
    select flight_id, minute, frames, mean_confidence, min_confidence, refined_share,
           path[1] + coalesce(flight.great_circle_metres(lag(path[4]) over flown, lag(path[5]) over flown, path[2], path[3]), 0)
             as distance_metres
      from flight.frame_minute_parts
    window flown as (partition by flight_id order by minute);
    comment on view flight.frame_minutes is
      'Frame results by flight and minute. The way between two frames counts into the minute in which it ends, so the sum is the length of the path';
  end
  $create$`;

export const dropFrameMinutes = `
  create function flight.drop_frame_minutes() returns void
  language plpgsql volatile as $drop$
  begin
    drop view flight.frame_minutes;
    if exists (select from timescaledb_information.continuous_aggregates
                where view_schema = 'flight' and view_name = 'frame_minute_parts') then
      drop materialized view flight.frame_minute_parts;
    else
      drop table flight.frame_minute_parts;
    end if;
  end
  $drop$`;

/** How the continuous aggregate of before, which one role cannot give to another, is dropped and created again. */
export const frameMinutesAggregate = {
  drop: 'select flight.drop_frame_minutes()',
  create: 'select flight.create_frame_minutes()',
};
