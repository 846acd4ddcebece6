import type pg from 'pg';
import { endClient, openSession, type SessionSettings } from '#lib/platform';

/** The same server and role, another database. */
export function withDatabaseName(url: string, database: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(database)}`;
  return other.href;
}

/**
 * Runs `work` with a connection of its own. An abort ends the connection, and with it whatever runs on it.
 *
 * @param settings of the session, besides the usual ones
 */
export async function withSession<T>(
  url: string,
  signal: AbortSignal | undefined,
  work: (client: pg.Client) => Promise<T>,
  settings: SessionSettings = {},
): Promise<T> {
  signal?.throwIfAborted();
  const client = await openSession({
    connectionString: url,
    applicationName: 'waylog backup',
    settings,
    connectTimeoutMs: 10_000,
  });
  const onAbort = () => {
    endClient(client);
  };
  try {
    signal?.throwIfAborted();
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
