import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/** Reactors and deadlines: how far each has come, what it could not do yet, and which commands of deadlines were sent. */
export class Reactors1790000032000 implements Migration {
  name = 'Reactors1790000032000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table projection.reactors (
        name text primary key,
        version integer not null,
        -- Up to where the log was acted on; null for a deadline, which acts on a table.
        position text,
        -- Which log that is a position of: the first event of it, with its position and time.
        log text,
        resets integer not null default 0,
        moved_at timestamptz not null default clock_timestamp(),
        paused_at timestamptz,
        paused_by text,
        pause_reason text,
        constraint reactors_paused_check check (num_nulls(paused_at, paused_by, pause_reason) in (0, 3))
      );

      create table projection.reactions (
        reactor text not null,
        stream_id text not null,
        revision integer not null,
        position text not null,
        event_id uuid not null,
        type text not null,
        error text not null,
        -- False after a discard: the next event of the stream has not been tried yet.
        has_failed boolean not null default true,
        attempts integer not null default 1,
        failed_at timestamptz not null default clock_timestamp(),
        last_attempt_at timestamptz not null default clock_timestamp(),
        -- Null: parked, until an operator decides.
        next_attempt_at timestamptz,
        primary key (reactor, stream_id)
      );
      create index reactions_due on projection.reactions (reactor, next_attempt_at);

      create table projection.discarded_reactions (
        reactor text not null,
        stream_id text not null,
        revision integer not null,
        event_id uuid not null,
        type text not null,
        error text not null,
        reason text not null,
        discarded_by text not null,
        discarded_at timestamptz not null default clock_timestamp(),
        primary key (reactor, stream_id, revision)
      );

      create table projection.sent_deadlines (
        deadline text not null,
        id text not null,
        key text not null,
        -- Of the event that set it.
        revision integer not null,
        due_at timestamptz not null,
        attempts integer not null,
        last_attempt_at timestamptz not null default clock_timestamp(),
        -- Null: its command was sent, or is not needed.
        error text,
        -- Null with an error: parked, until an operator decides.
        next_attempt_at timestamptz,
        discarded_by text,
        discard_reason text,
        primary key (deadline, id, key)
      );
      create index sent_deadlines_failed on projection.sent_deadlines (deadline) where error is not null`);
  }

  /** Reactors begin at the end of the log again; deadlines that were sent are sent again, with the same command ids. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table projection.sent_deadlines;
      drop table projection.discarded_reactions;
      drop table projection.reactions;
      drop table projection.reactors`);
  }
}
