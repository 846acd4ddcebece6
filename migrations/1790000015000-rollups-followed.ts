import type { MigrationInterface, QueryRunner } from 'typeorm';
import { createFrameMinutes, dropFrameMinutes } from './1790000006000-hypertables.js';

/**
 * The minute rollup is a table that the follower keeps, in every edition (docs/decisions/0025). The rows of a
 * continuous aggregate are kept, because of minutes whose frames no longer exist; the follower computes all others
 * again.
 *
 * From here on, what a retention policy of TimescaleDB drops is recorded: the existing chunks are known, and everything
 * before the oldest chunk counts as dropped by policies.
 */
export class RollupsFollowed1790000015000 implements MigrationInterface {
  name = 'RollupsFollowed1790000015000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`drop function flight.create_frame_minutes()`);
    await runner.query(followAggregate);
    await runner.query(`drop function flight.drop_frame_minutes()`);
    await runner.query(`
      create table timescale.known_chunks (
        -- The hypertable as it was: one that a rebuild or a restore has put in its place has lost nothing.
        relation oid not null,
        chunk_name text not null,
        table_schema text not null,
        table_name text not null,
        range_start timestamptz not null,
        range_end timestamptz not null,
        primary key (relation, chunk_name)
      )`);
    await runner.query(
      `comment on table timescale.known_chunks is 'Chunks of tables with a retention policy of TimescaleDB, which drops them and does not say so'`,
    );
    await runner.query(noteEarlierDrops);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table timescale.known_chunks`);
    await runner.query(dropFrameMinutes);
    await runner.query(createFrameMinutes);
    await runner.query(aggregateAgain);
  }
}

/** In the Apache edition it is that table already. */
const followAggregate = `
  do $follow$
  begin
    if (select relkind from pg_class where oid = 'flight.frame_minute_parts'::regclass) = 'r' then
      return;
    end if;
    -- Its job would delete what the drop deletes: the one that comes second fails.
    perform remove_continuous_aggregate_policy('flight.frame_minute_parts', if_exists => true);
    create temporary table aggregated on commit drop as select * from flight.frame_minute_parts;
    perform flight.drop_frame_minutes();
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
    insert into flight.frame_minute_parts
    select flight_id, minute, frames, mean_confidence, min_confidence, refined_share, path from aggregated;
    create view flight.frame_minutes as
    select flight_id, minute, frames, mean_confidence, min_confidence, refined_share,
           path[1] + coalesce(flight.great_circle_metres(lag(path[4]) over flown, lag(path[5]) over flown, path[2], path[3]), 0)
             as distance_metres
      from flight.frame_minute_parts
    window flown as (partition by flight_id order by minute);
    comment on view flight.frame_minutes is
      'Frame results by flight and minute. The way between two frames counts into the minute in which it ends, so the sum is the length of the path';
    delete from flight.frame_minutes_source;
  end
  $follow$`;

const noteEarlierDrops = `
  insert into timescale.dropped_ranges (table_schema, table_name, range_start, range_end, reason)
  select j.hypertable_schema, j.hypertable_name, '-infinity',
         least(s.last_successful_finish - (j.config->>'drop_after')::interval,
               (select min(c.range_start) from timescaledb_information.chunks c
                 where (c.hypertable_schema, c.hypertable_name) = (j.hypertable_schema, j.hypertable_name))),
         'retention'
    from timescaledb_information.jobs j join timescaledb_information.job_stats s using (job_id)
   where j.proc_name = 'policy_retention' and j.config ? 'drop_after' and s.total_successes > 0`;

const aggregateAgain = `
  do $again$
  begin
    if current_setting('timescaledb.license') = 'timescale' then
      perform flight.drop_frame_minutes();
      perform flight.create_frame_minutes();
    end if;
  end
  $again$`;
