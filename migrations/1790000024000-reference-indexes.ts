import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/** Each index and its purpose. */
const INDEXES = {
  // The processing states of all flights in a time, whatever their status.
  flight_state_updated: 'flight.flight_state (updated_at, flight_id)',
  // The route chunks of a flight that are still growing, and those that still have no anchor.
  chunks_active: 'flight.chunks (flight_id, is_active)',
  chunks_matching: 'flight.chunks (flight_id, matching_status)',
} as const;

/** Indexes that the reference of the database service names, for reads in SQL, and one for the processing history. */
export class ReferenceIndexes1790000024000 implements Migration {
  name = 'ReferenceIndexes1790000024000';

  async up(runner: QueryRunner): Promise<void> {
    for (const [name, on] of Object.entries(INDEXES)) await runner.query(`create index ${name} on ${on}`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const name of Object.keys(INDEXES)) await runner.query(`drop index flight.${name}`);
  }
}
