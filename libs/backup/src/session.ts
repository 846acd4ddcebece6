import pg from 'pg';
import { endClient, sessionOptions } from '#lib/platform';

/** The same server and role, another database. */
export function withDatabaseName(url: string, database: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(database)}`;
  return other.href;
}

/**
 * Runs `work` with a connection of its own. An abort ends the connection, and with it whatever runs on it.
 *
 * @param settings of the session, as on PostgreSQL's command line: `-c name=value`
 */
export async function withSession<T>(
  url: string,
  signal: AbortSignal | undefined,
  work: (client: pg.Client) => Promise<T>,
  settings = '',
): Promise<T> {
  signal?.throwIfAborted();
  const client = new pg.Client({
    connectionString: url,
    application_name: 'waylog backup',
    // What is done here may take long, and the transaction that holds a snapshot waits for another program.
    options: `${sessionOptions} -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 ${settings}`,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  // A lost connection fails the next query on it; without a listener it would end the process.
  client.on('error', () => undefined);
  const onAbort = () => {
    endClient(client);
  };
  try {
    await client.connect();
    signal?.addEventListener('abort', onAbort);
    return await work(client);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await endClient(client);
  }
}

/** Every table with data of its own: Waylog's and anybody else's, but not PostgreSQL's nor TimescaleDB's. */
export async function tablesOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(`
    select format('%I.%I', n.nspname, c.relname) as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and not c.relispartition
       and n.nspname !~ '^(pg_|_?timescaledb_)' and n.nspname <> 'information_schema'
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
     order by 1`);
  return rows.map(({ name }) => name);
}

/** A name as SQL wants it. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
