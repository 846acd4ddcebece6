import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/** Webhooks, with what signs for them: only the role that keeps keys may read it. */
export class Webhooks1790000033000 implements Migration {
  name = 'Webhooks1790000033000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table access.webhooks (
        -- Grows with each that is added: the version of its reactor, also when an earlier one had its name.
        number integer primary key,
        name text not null,
        url text not null,
        -- Categories (order) and types (order.Paid); null: all.
        events jsonb,
        signing text not null check (signing in ('hmac', 'ed25519')),
        with_sensitive_fields boolean not null,
        -- The secret of HMAC, or the private key of Ed25519.
        key bytea not null check (octet_length(key) = 32),
        previous_key bytea check (octet_length(previous_key) = 32),
        previous_key_until timestamptz,
        created_at timestamptz not null default clock_timestamp(),
        created_by text not null,
        ended_at timestamptz,
        ended_by text,
        constraint webhooks_rotated_check check (num_nulls(previous_key, previous_key_until) in (0, 2)),
        constraint webhooks_ended_check check (num_nulls(ended_at, ended_by) in (0, 2))
      );
      create unique index webhooks_name on access.webhooks (name) where ended_at is null`);
  }

  /** Ends all webhooks: receivers need new secrets when they are added again. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table access.webhooks`);
  }
}
