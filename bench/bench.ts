import type pg from 'pg';
import type { CommandResult, FlightCommand, FlightDatabase } from '#lib/flight';

/** What a benchmark is given: a Waylog in this process over an empty database, projector included. */
export interface Bench {
  readonly execute: (command: FlightCommand) => Promise<CommandResult>;
  readonly database: FlightDatabase;
  readonly pool: pg.Pool;
  readonly rounds: number;
  readonly say: (line: string) => void;
}
