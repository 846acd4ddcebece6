import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * API keys. Of a key's secret only the SHA-256 is stored. A secret is 256 random bits, so it cannot be found from its
 * hash. A slow hash, as for passwords that people choose, would gain nothing and slow down every first request.
 */
export class AccessKeys1790000010000 implements MigrationInterface {
  name = 'AccessKeys1790000010000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema access`);
    await runner.query(`
      create table access.api_keys (
        id text primary key,
        name text not null,
        role text not null check (role in ('reader', 'operator', 'admin')),
        hash bytea not null check (octet_length(hash) = 32),
        created_at timestamptz not null default clock_timestamp(),
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz
      )`);
  }

  /** Deletes every key: after migrating up again, new ones must be created. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema access cascade`);
  }
}
