import type { ClientBase } from 'pg';

const LIMIT = 'timescaledb.max_tuples_decompressed_per_dml_transaction';

/**
 * Lets a transaction, or all of a session, change any number of compressed rows: TimescaleDB refuses more than 100,000
 * by default, and a fold of the log cannot use fewer. Without that setting there is no limit.
 */
export const decompressWithoutLimit = (client: ClientBase, scope: 'session' | 'transaction') =>
  client.query(`select set_config(name, '0', $2) from pg_settings where name = $1`, [
    LIMIT,
    scope === 'transaction',
  ]);
