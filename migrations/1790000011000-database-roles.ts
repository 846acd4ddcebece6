import type { MigrationInterface, QueryRunner } from 'typeorm';
import { releaseDatabaseRoles, type Query } from '#lib/timescale';

/**
 * From here on nobody works as the owner but migrations (docs/decisions/0021). The roles are made, and rights and owners set
 * right, by `migrate()` after the migrations, every time: tables come with later ones.
 */
export class DatabaseRoles1790000011000 implements MigrationInterface {
  name = 'DatabaseRoles1790000011000';

  async up(runner: QueryRunner): Promise<void> {
    // A function is everybody's to call unless somebody says otherwise.
    await runner.query(`revoke execute on all functions in schema log from public`);
  }

  async down(runner: QueryRunner): Promise<void> {
    const query = async (sql: string, values?: unknown[]) => (await runner.query(sql, values)) as object[];
    await releaseDatabaseRoles(query as Query);
    await runner.query(`grant execute on all functions in schema log to public`);
  }
}
