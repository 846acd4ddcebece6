import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The contexts whose tables the database has. The role that keeps those tables owns their schemas, and could drop what
 * shows whose they are; this it can only read.
 */
export class KnownContexts1790000028000 implements Migration {
  name = 'KnownContexts1790000028000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table projection.contexts (name text primary key)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table projection.contexts`);
  }
}
