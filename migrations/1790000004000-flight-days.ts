import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The days on which a flight has frames or headings. The hypertables are cut by time and read by flight: without these
 * bounds every read of a flight looks into every TimescaleDB chunk, 0.1 ms each.
 */
export class FlightDays1790000004000 implements Migration {
  name = 'FlightDays1790000004000';
  serviceName = 'flight';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table flight.flight_days (
        flight_id text collate "C" not null,
        -- Midnight in UTC.
        day timestamptz not null,
        primary key (flight_id, day)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table flight.flight_days`);
    await runner.query(`delete from projection.checkpoints where projection = 'flight_days'`);
  }
}
