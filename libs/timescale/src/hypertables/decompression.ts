import type { ClientBase } from 'pg';

const LIMIT = 'timescaledb.max_tuples_decompressed_per_dml_transaction';

/**
 * Lets a transaction, or all of a session, change as many compressed rows as it must: TimescaleDB refuses it after 100,000,
 * and who folds a log cannot take fewer. Where there is no such setting nothing is limited.
 */
export const decompressWithoutLimit = (client: ClientBase, scope: 'session' | 'transaction') =>
  client.query(`select set_config(name, '0', $2) from pg_settings where name = $1`, [
    LIMIT,
    scope === 'transaction',
  ]);
