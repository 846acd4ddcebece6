import type { MigrationInterface, QueryRunner } from 'typeorm';
import { releaseDatabaseRoles, type Query } from '#lib/timescale';

/**
 * From here on only migrations work as the owner (docs/decisions/0021). `migrate()` creates the roles and sets rights
 * and owners after the migrations, every time: later ones add tables.
 */
export class DatabaseRoles1790000011000 implements MigrationInterface {
  name = 'DatabaseRoles1790000011000';

  async up(runner: QueryRunner): Promise<void> {
    // Every role can call a function unless that is revoked.
    await runner.query(`revoke execute on all functions in schema log from public`);
  }

  async down(runner: QueryRunner): Promise<void> {
    const query = async (sql: string, values?: unknown[]) => (await runner.query(sql, values)) as object[];
    await releaseDatabaseRoles(query as Query);
    await runner.query(`grant execute on all functions in schema log to public`);
  }
}
