import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The keys that seal what is sensitive in the events of a stream. Deleting one erases all of it, while the events stay as
 * they were recorded.
 */
export class DataKeys1790000013000 implements MigrationInterface {
  name = 'DataKeys1790000013000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table if not exists log.data_keys (
        stream_id text primary key,
        -- AES-256
        key bytea not null check (octet_length(key) = 32),
        made_at timestamptz not null default clock_timestamp()
      )`);
  }

  /** The keys stay: without them what they have sealed is lost, and older code has no use for the table and no harm of it. */
  async down(): Promise<void> {
    return Promise.resolve();
  }
}
