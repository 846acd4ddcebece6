import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Which log the tables are folded from, by its first event: positions of two logs cannot be compared, and a checkpoint
 * means nothing in another log. No row as long as nothing has been folded.
 */
export class FoldedLog1790000009000 implements MigrationInterface {
  name = 'FoldedLog1790000009000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table projection.folded_log (
        only_one boolean primary key default true check (only_one),
        first_position text not null,
        first_event_id uuid not null,
        first_recorded_at timestamptz not null
      )`);
    // Before this migration the log was in this database.
    await runner.query(`
      insert into projection.folded_log (first_position, first_event_id, first_recorded_at)
      select position::text, id, recorded_at from log.events
       where exists (select from projection.stream_revisions)
       order by position limit 1`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table projection.folded_log`);
  }
}
