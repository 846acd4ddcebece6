import type { MigrationInterface, QueryRunner } from 'typeorm';

const ERASABLE: readonly (readonly [table: string, column: string, type: string])[] = [
  ['flight.flights', 'name', 'text'],
  ['flight.flights', 'description', 'text'],
  ['flight.flights', 'camera_params', 'jsonb'],
  ['flight.flight_images', 'file_path', 'text'],
  ['flight.flight_images', 'metadata', 'jsonb'],
];

/**
 * PostgreSQL's statistics of a column hold its values, and every role that can read the column can read them
 * (pg_stats), even those of an erased flight until the table is analyzed again. So no statistics are kept of columns
 * that an erasure clears. The planner does not need them, as flights are found by their id or the beginning of their
 * name.
 */
export class NoStatisticsOfErasableColumns1790000020000 implements MigrationInterface {
  name = 'NoStatisticsOfErasableColumns1790000020000';

  async up(runner: QueryRunner): Promise<void> {
    for (const [table, column, type] of ERASABLE) {
      await runner.query(`alter table ${table} alter column ${column} set statistics 0`);
      // Only a change of the type drops existing statistics, even to the same type; no row is touched.
      await runner.query(`alter table ${table} alter column ${column} type ${type}`);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const [table, column] of ERASABLE)
      await runner.query(`alter table ${table} alter column ${column} set statistics -1`);
  }
}
