import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The tables of the flight context. Each is a fold of the log and has no foreign keys: what belongs together was
 * decided together in the stream, and a projector writes it in one transaction (docs/decisions/0005).
 *
 * Positions are WGS84 degrees, altitudes metres above mean sea level, headings degrees clockwise from north.
 */
export class FlightTables1790000003000 implements Migration {
  name = 'FlightTables1790000003000';
  serviceName = 'flight';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema flight`);
    await runner.query(`
      create table flight.flights (
        id text collate "C" primary key,
        name text not null,
        description text not null,
        start_lat double precision not null ${latitude('start_lat')},
        start_lon double precision not null ${longitude('start_lon')},
        altitude double precision not null,
        camera_params jsonb not null,
        created_at timestamptz not null,
        updated_at timestamptz not null
      )`);
    await runner.query(`create index flights_created_at on flight.flights (created_at, id)`);
    await runner.query(`create index flights_name on flight.flights (name text_pattern_ops)`);
    await runner.query(`
      create table flight.waypoints (
        flight_id text collate "C" not null,
        id text collate "C" not null,
        lat double precision not null ${latitude('lat')},
        lon double precision not null ${longitude('lon')},
        altitude double precision,
        confidence double precision not null check (confidence between 0 and 1),
        "timestamp" timestamptz not null,
        refined boolean not null,
        primary key (flight_id, id)
      ) with (fillfactor = 80)`);
    await runner.query(`create index waypoints_in_time on flight.waypoints (flight_id, "timestamp", id)`);
    await runner.query(`
      create table flight.geofences (
        flight_id text collate "C" not null,
        id text collate "C" not null,
        nw_lat double precision not null ${latitude('nw_lat')},
        nw_lon double precision not null ${longitude('nw_lon')},
        se_lat double precision not null ${latitude('se_lat')},
        se_lon double precision not null ${longitude('se_lon')},
        primary key (flight_id, id)
      )`);
    await runner.query(`
      create table flight.flight_state (
        flight_id text collate "C" primary key,
        status text not null,
        frames_processed integer not null check (frames_processed >= 0),
        frames_total integer not null check (frames_total >= 0),
        current_frame integer check (current_frame >= 0),
        blocked boolean not null,
        search_grid_size integer check (search_grid_size >= 0),
        created_at timestamptz not null,
        updated_at timestamptz not null
      ) with (fillfactor = 50)`);
    await runner.query(`create index flight_state_history on flight.flight_state (status, updated_at)`);
    await runner.query(`
      create table flight.frame_results (
        flight_id text collate "C" not null,
        frame_id integer not null check (frame_id >= 0),
        gps_lat double precision not null ${latitude('gps_lat')},
        gps_lon double precision not null ${longitude('gps_lon')},
        altitude double precision not null,
        heading double precision not null ${headingRange},
        confidence double precision not null check (confidence between 0 and 1),
        refined boolean not null,
        "timestamp" timestamptz not null,
        updated_at timestamptz not null,
        -- TimescaleDB wants the time column in every unique key; one row a frame is the projector's promise (docs/decisions/0003).
        primary key (flight_id, frame_id, "timestamp")
      )`);
    await runner.query(hypertable('flight.frame_results'));
    await runner.query(`
      create table flight.heading_history (
        flight_id text collate "C" not null,
        frame_id integer not null check (frame_id >= 0),
        heading double precision not null ${headingRange},
        "timestamp" timestamptz not null,
        primary key (flight_id, frame_id, "timestamp")
      )`);
    await runner.query(hypertable('flight.heading_history'));
    await runner.query(
      `create index heading_history_in_time on flight.heading_history (flight_id, "timestamp" desc, frame_id desc)`,
    );
    await runner.query(`
      create table flight.flight_images (
        flight_id text collate "C" not null,
        frame_id integer not null check (frame_id >= 0),
        file_path text not null,
        metadata jsonb not null,
        uploaded_at timestamptz not null,
        primary key (flight_id, frame_id)
      )`);
    await runner.query(`
      create table flight.chunks (
        flight_id text collate "C" not null,
        chunk_id text collate "C" not null,
        start_frame_id integer not null check (start_frame_id >= 0),
        end_frame_id integer check (end_frame_id >= 0),
        frames jsonb not null,
        is_active boolean not null,
        has_anchor boolean not null,
        anchor_frame_id integer check (anchor_frame_id >= 0),
        anchor_lat double precision ${latitude('anchor_lat')},
        anchor_lon double precision ${longitude('anchor_lon')},
        matching_status text not null,
        created_at timestamptz not null,
        updated_at timestamptz not null,
        primary key (flight_id, chunk_id)
      )`);
    await runner.query(
      `comment on table flight.chunks is 'Route chunks of a flight; nothing to do with the chunks of a hypertable'`,
    );
  }

  /** The log stays, so the tables can be rebuilt: without records of their progress, the projector starts again. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema flight cascade`);
    await runner.query(`drop schema if exists rebuild_flight cascade`);
    await runner.query(
      `delete from projection.checkpoints
        where projection in ('flights', 'waypoints', 'geofences', 'flight_state', 'frame_results', 'heading_history',
                             'flight_images', 'chunks')`,
    );
    await runner.query(`delete from projection.stream_revisions where projector = 'flight'`);
  }
}

const latitude = (column: string) => `check (${column} between -90 and 90)`;
const longitude = (column: string) => `check (${column} between -180 and 180)`;
const headingRange = 'check (heading >= 0 and heading < 360)';
const hypertable = (table: string) => `
  select create_hypertable('${table}', by_range('timestamp', interval '7 days'), create_default_indexes => false)`;
