import {
  conflict,
  databaseUnavailable,
  endClient,
  messageOf,
  openSession,
  sqlStateOf,
  SqlState,
  type Queryable,
} from '#lib/platform';

/** The locks needed to rebuild the hypertable with the most chunks, and those that the server has. */
export interface LockRoom {
  readonly table: string;
  readonly chunks: number;
  /** Locks of one transaction that compares the table with its shadow and swaps them. */
  readonly needed: number;
  /** Locks that all transactions of the server have together. */
  readonly room: number;
  /** The value that max_locks_per_transaction would need. */
  readonly setting: number;
}

// A chunk is a table with its indexes, plus another one for long values with its own; and for a while there are two of
// each. Indexes are found by the catalog: the schema of another application's hypertable can be one that the role may not use.
const sql = `
  select format('%s.%s', hypertable_schema, hypertable_name) as "table", num_chunks::integer as chunks, needed::integer,
         (current_setting('max_locks_per_transaction')::bigint * sessions)::float8 as room,
         ceil(needed / sessions::numeric)::integer as setting
    from timescaledb_information.hypertables,
         lateral (select 2 * num_chunks * (3 + (select count(*) from pg_indexes
                   where (schemaname, tablename) = (hypertable_schema, hypertable_name))) as needed) n,
         lateral (select current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint as sessions) s
   order by needed desc limit 1`;

/** undefined if there is no hypertable. */
export const lockRoom = async (db: Queryable): Promise<LockRoom | undefined> =>
  (await (db as { query: (sql: string) => Promise<{ rows: LockRoom[] }> }).query(sql)).rows[0];

async function roomAt(connectionString: string): Promise<LockRoom | undefined> {
  const client = await openSession({ connectionString, applicationName: 'waylog locks' });
  return lockRoom(client).finally(() => endClient(client));
}

/**
 * Runs work that locks every chunk of a table at once. If the server has too few locks, the error says so, and how many
 * are needed.
 */
export async function withRoomForLocks<T>(connectionString: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.outOfMemory) throw error;
    const room = await roomAt(connectionString).catch(() => undefined);
    // If the number cannot be determined, report the original error.
    if (!room || room.needed < room.room)
      throw /shared memory/.test(messageOf(error)) ? databaseUnavailable(error) : error;
    const { table, chunks, needed, setting } = room;
    throw conflict(
      'database.too-few-locks',
      `The server ran out of locks: ${table} has ${chunks} TimescaleDB chunks, and rebuilding a table takes about ${needed} locks ` +
        `at once, where all transactions have ${room.room} together. Set max_locks_per_transaction to ${setting * 2} or more and ` +
        `restart PostgreSQL, or have fewer chunks (\`waylog archive run --help\`). Nothing has changed; a rebuild goes on from where it is.`,
      { ...room },
    );
  }
}
