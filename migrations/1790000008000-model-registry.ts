import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The models that services register while Waylog runs. Those of the code are not in here. */
export class ModelRegistry1790000008000 implements MigrationInterface {
  name = 'ModelRegistry1790000008000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema registry`);
    await runner.query(`
      create table registry.models (
        service_name text not null,
        name text not null,
        definition jsonb not null,
        registered_at timestamptz not null default clock_timestamp(),
        primary key (service_name, name)
      )`);
  }

  /**
   * The tables that were created for registered models stay: they hold the data of others, which no log can restore.
   */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema registry cascade`);
  }
}
