import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * A parked stream that has lost events can be accepted as it is: who did that, when and why, and up to which revision
 * its events are gone.
 */
export class AcceptedLosses1790000026000 implements Migration {
  name = 'AcceptedLosses1790000026000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table projection.parked_streams
        add column accepted_at timestamptz,
        add column accepted_by text,
        add column accepted_reason text,
        add column missing_to integer,
        add constraint parked_streams_accepted_check
          check (num_nulls(accepted_at, accepted_by, accepted_reason, missing_to) in (0, 4))`);
  }

  /** The streams stay parked; somebody has to accept them again. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table projection.parked_streams
        drop column accepted_at,
        drop column accepted_by,
        drop column accepted_reason,
        drop column missing_to`);
  }
}
