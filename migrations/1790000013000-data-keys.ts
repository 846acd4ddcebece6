import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The keys that seal the sensitive fields in the events of a stream. Deleting one erases all of them, while the events
 * stay as they were recorded.
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

  /** The keys stay: without them the sealed fields are lost, and older code ignores the table. */
  async down(): Promise<void> {
    return Promise.resolve();
  }
}
