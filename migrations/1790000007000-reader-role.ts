import type { MigrationInterface, QueryRunner } from 'typeorm';
import { dropReaderRole } from '#lib/timescale';

/**
 * What ad-hoc SQL and cached answers need. `migrate()` creates the reading role after the migrations, every time: its
 * password derives from the owner's, and later migrations add tables.
 */
export class ReaderRole1790000007000 implements MigrationInterface {
  name = 'ReaderRole1790000007000';

  async up(runner: QueryRunner): Promise<void> {
    // Increased by every change of rows without an event, such as a repair: answers cached before it are invalid.
    await runner.query(`
      create table projection.generation (
        only_row boolean primary key default true check (only_row),
        value bigint not null
      )`);
    await runner.query(`insert into projection.generation (value) values (0)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table projection.generation`);
    const { options } = runner.dataSource;
    if (!('url' in options) || typeof options.url !== 'string') return;
    await dropReaderRole(
      (sql, values) => runner.query(sql, values) as Promise<Record<string, unknown>[]>,
      options.url,
    );
  }
}
