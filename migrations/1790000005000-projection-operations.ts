import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What operators do with projections: pause them, park and discard events, rebuild resumably, verify and repair. */
export class ProjectionOperations1790000005000 implements MigrationInterface {
  name = 'ProjectionOperations1790000005000';

  async up(runner: QueryRunner): Promise<void> {
    // For the statements on which the database spends its time. A convenience: without it nothing else is missing.
    await runner.query(`
      do $$
      begin
        create extension if not exists pg_stat_statements;
      exception
        when insufficient_privilege or undefined_file or feature_not_supported then
          raise notice 'pg_stat_statements is not available: %', sqlerrm;
      end $$`);
    // A pause is set in the very rows that a projector's transaction moves: after it was committed, none moves them.
    await runner.query(`
      alter table projection.checkpoints
        add column paused_at timestamptz,
        add column paused_by text,
        add column pause_reason text`);
    await runner.query(`
      create table projection.projectors (
        name text primary key,
        -- What the process that leads said last of itself.
        leader text not null,
        state text not null,
        events_folded bigint not null,
        events_per_second double precision not null,
        last_error text,
        last_error_at timestamptz,
        reported_at timestamptz not null default clock_timestamp()
      ) with (fillfactor = 50)`);
    await runner.query(`
      create table projection.parked_streams (
        projector text not null,
        stream_id text not null,
        -- The first event that is not in the tables; nor is any later one of the stream.
        revision integer not null,
        position text not null,
        event_id uuid not null,
        type text not null,
        error text not null,
        parked_at timestamptz not null default clock_timestamp(),
        attempts integer not null default 1,
        last_attempt_at timestamptz not null default clock_timestamp(),
        primary key (projector, stream_id)
      )`);
    await runner.query(`
      create table projection.discarded_events (
        projector text not null,
        stream_id text not null,
        revision integer not null,
        position text not null,
        event_id uuid not null,
        type text not null,
        error text not null,
        reason text not null,
        discarded_by text not null,
        discarded_at timestamptz not null default clock_timestamp(),
        primary key (projector, stream_id, revision)
      )`);
    await runner.query(`
      create table projection.rebuilds (
        projection text primary key,
        -- What the shadow table was begun with; a rebuild goes on with it only when all of that still holds.
        basis text not null,
        position text not null,
        events bigint not null,
        total bigint not null,
        started_at timestamptz not null default clock_timestamp(),
        updated_at timestamptz not null default clock_timestamp()
      ) with (fillfactor = 50)`);
    await runner.query(`
      create table projection.integrity_findings (
        id bigint generated always as identity primary key,
        projection text not null,
        -- The value of the table's first key column: the flight.
        key text not null,
        -- Up to this position the table should have been what the log says.
        position text not null,
        rows_found integer not null,
        rows_expected integer not null,
        found_at timestamptz not null default clock_timestamp(),
        found_by text not null,
        repaired_at timestamptz,
        repaired_by text,
        rows_removed integer,
        rows_written integer,
        -- Set when a later look found the rows as they should be without a repair of ours, such as after a rebuild.
        gone_at timestamptz
      )`);
    await runner.query(`
      create unique index integrity_findings_open on projection.integrity_findings (projection, key)
       where repaired_at is null and gone_at is null`);
    await runner.query(`
      create table projection.verifications (
        projector text primary key,
        -- The scheduled verification goes through the streams in their order; here it goes on after a stop.
        after_stream text not null default '',
        round_began_at timestamptz not null default clock_timestamp(),
        streams integer not null default 0,
        skipped integer not null default 0,
        last_round_ended_at timestamptz,
        last_round_streams integer
      ) with (fillfactor = 50)`);
  }

  /**
   * Without its record it would be unknown that a parked stream is incomplete in the tables, even after migrating
   * forward again.
   */
  async down(runner: QueryRunner): Promise<void> {
    const parked = (await runner.query(
      `select count(*)::integer as streams from projection.parked_streams`,
    )) as [{ streams: number }];
    if (parked[0].streams > 0) {
      throw new Error(
        `${parked[0].streams} streams are parked, and what is known of them would be lost. Retry or discard their ` +
          `events first (\`waylog parked list\`)`,
      );
    }
    for (const table of [
      'verifications',
      'integrity_findings',
      'rebuilds',
      'discarded_events',
      'parked_streams',
      'projectors',
    ]) {
      await runner.query(`drop table projection.${table}`);
    }
    await runner.query(`
      alter table projection.checkpoints
        drop column paused_at,
        drop column paused_by,
        drop column pause_reason`);
    await runner.query(`drop schema if exists rebuild_flight cascade`);
    await runner.query(`drop schema if exists verify_flight cascade`);
  }
}
