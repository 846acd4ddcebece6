import type { MigrationInterface, QueryRunner } from 'typeorm';

/** An event that cannot be folded is a finding of a verification, and is parked by a rebuild. */
export class UnfoldableEvents1790000022000 implements MigrationInterface {
  name = 'UnfoldableEvents1790000022000';

  async up(runner: QueryRunner): Promise<void> {
    // Increases when a rebuild parks streams. It is in the very row that a projector moves, so that a projector that
    // waits for the rebuild to release the row learns at once that the parked streams have changed.
    await runner.query(`alter table projection.checkpoints add column parkings integer not null default 0`);
    await runner.query(`alter table projection.integrity_findings add column error text`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table projection.checkpoints drop column parkings`);
    await runner.query(`alter table projection.integrity_findings drop column error`);
  }
}
