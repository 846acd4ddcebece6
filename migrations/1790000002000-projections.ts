import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The checkpoint of each projection, and the last revision of each stream that a projector has folded. */
export class Projections1790000002000 implements MigrationInterface {
  name = 'Projections1790000002000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema projection`);
    await runner.query(`
      create table projection.checkpoints (
        projection text primary key,
        -- The version of the fold that wrote the table; another one in the code asks for a rebuild.
        version integer not null,
        -- Positions belong to the event store and are compared there, never here.
        position text not null,
        updated_at timestamptz not null default clock_timestamp()
      ) with (fillfactor = 50)`);
    await runner.query(`
      create table projection.stream_revisions (
        projector text not null,
        stream_id text not null,
        revision integer not null,
        primary key (projector, stream_id)
      ) with (fillfactor = 70)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema projection cascade`);
  }
}
