import type { ClientBase } from 'pg';

import { DatabaseError } from './local/database-error.js';

/** Debian's build is the Apache edition; the vendor's images are the Timescale (Community) edition. */
export type Edition = 'apache' | 'timescale';

/** Whether a feature can be used, and if not, why. */
export type Availability =
  { readonly available: true } | { readonly available: false; readonly reason: string };

/** The capabilities of the database. */
export interface Capabilities {
  readonly edition: Edition;
  /** The extension's version in this database. */
  readonly timescaledb: string;
  /** Such as `17.11`. */
  readonly postgresql: string;
  /** Compressed chunks (columnstore). */
  readonly compression: Availability;
  readonly continuousAggregates: Availability;
  /** `add_retention_policy`; otherwise `drop_chunks` by Waylog's own schedule. */
  readonly retentionPolicies: Availability;
  /** `add_job`: user-defined jobs in the database. */
  readonly scheduler: Availability;
}

interface Answer {
  readonly license: string | null;
  readonly timescaledb: string | null;
  readonly postgresql: string;
  readonly workers: number | null;
}

/**
 * Determines the capabilities of a database once. Everything that depends on the edition uses this and never guesses.
 *
 * @param client connected to a database in which the extension has been created
 * @throws DatabaseError `database.unsuitable` if it has not
 */
export async function capabilities(client: Pick<ClientBase, 'query'>): Promise<Capabilities> {
  const { rows } = await client.query<Answer>(`
    select current_setting('timescaledb.license', true) as license,
           (select extversion from pg_extension where extname = 'timescaledb') as timescaledb,
           split_part(current_setting('server_version'), ' ', 1) as postgresql,
           current_setting('timescaledb.max_background_workers', true)::int as workers`);
  const [answer] = rows;
  if (!answer?.timescaledb || !answer.license) {
    throw new DatabaseError('database.unsuitable', {
      what: 'The database cannot say what it is capable of.',
      why: 'The extension timescaledb has not been created in it.',
      todo: 'Run the migrations first (`waylog migrate`).',
    });
  }
  return capabilitiesOf({
    edition: answer.license === 'timescale' ? 'timescale' : 'apache',
    timescaledb: answer.timescaledb,
    postgresql: answer.postgresql,
    workers: answer.workers ?? 0,
  });
}

/** The consequences of the edition and of the number of background workers. */
export function capabilitiesOf(server: {
  edition: Edition;
  timescaledb: string;
  postgresql: string;
  workers: number;
}): Capabilities {
  const { edition, timescaledb, postgresql, workers } = server;
  const licensed = (feature: string): Availability =>
    edition === 'timescale'
      ? { available: true }
      : {
          available: false,
          reason: `the Apache edition of TimescaleDB, which this server runs, does not include ${feature}; the Timescale (Community) edition does`,
        };
  const scheduled = (feature: string): Availability =>
    edition === 'timescale' && workers === 0
      ? {
          available: false,
          reason: `timescaledb.max_background_workers is 0 on this server, so ${feature} would never run`,
        }
      : licensed(feature);
  return {
    edition,
    timescaledb,
    postgresql,
    compression: licensed('compression'),
    continuousAggregates: licensed('continuous aggregates'),
    retentionPolicies: scheduled('retention policies'),
    scheduler: scheduled('scheduled jobs'),
  };
}
