import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * Who created and who revoked a key, and from where: an object with `by`, and `address`, `agent` and `session` if
 * known.
 */
export class OriginOfKeys1790000025000 implements Migration {
  name = 'OriginOfKeys1790000025000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table access.api_keys add column created jsonb, add column revoked jsonb`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table access.api_keys drop column created, drop column revoked`);
  }
}
