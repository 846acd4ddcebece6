import type { ClientBase } from 'pg';

import { connected } from './connect.js';
import { codeOf, DatabaseError, reasonOf } from './database-error.js';

const MINIMUM = { timescaledb: '2.15', postgresql: 15 };

/** What a server reports about itself. */
export interface ServerFacts {
  /** `server_version`, such as `17.11 (Debian 17.11-0+deb13u1)`. */
  readonly postgresql: string;
  /** `server_version_num`, such as 170011. */
  readonly versionNumber: number;
  /** The version that `create extension` would make; null when there is none. */
  readonly available: string | null;
  /** The version in this database; null when it has not been created. */
  readonly installed: string | null;
  /** Whether TimescaleDB is among the preloaded libraries. */
  readonly preloaded: boolean;
}

/**
 * Checks that the server at DATABASE_URL can serve Waylog.
 *
 * @throws DatabaseError `database.unreachable` or `database.unsuitable`
 */
export async function checkUrl(url: string): Promise<ServerFacts> {
  const where = withoutPassword(url);
  let facts: ServerFacts;
  try {
    if (!/^postgres(ql)?:\/\//.test(url))
      throw new Error('it is not of the form postgres://user:password@host:port/database');
    facts = await connected(url, factsOf);
  } catch (error) {
    throw new DatabaseError(
      'database.unreachable',
      {
        what: `The server at DATABASE_URL (${where}) cannot be used.`,
        why: reasonOf(error),
        todo: todoAbout[codeOf(error) ?? ''] ?? NOT_REACHED,
      },
      { cause: error },
    );
  }
  const unsuited = unsuitable(facts);
  if (unsuited)
    throw new DatabaseError('database.unsuitable', {
      what: `The server at DATABASE_URL (${where}) does not suit.`,
      ...unsuited,
    });
  return facts;
}

const NOT_REACHED =
  'Put host, port, user, password and database of DATABASE_URL right, or unset it to get a database of your own.';

/** The server was reached, but through something that does not work for Waylog. */
const todoAbout: Readonly<Record<string, string>> = {
  'database.transaction-pooling':
    'Set pool_mode=session for this database in the pooler, or put the address of PostgreSQL itself into DATABASE_URL (docs/how-to/poolers.md).',
  'database.session-settings':
    'Let what is between Waylog and PostgreSQL leave settings of sessions alone, or put the address of PostgreSQL itself into DATABASE_URL (docs/how-to/poolers.md).',
};

/** Why a server cannot be used for Waylog, and what to do about it; undefined if it can. */
export function unsuitable(facts: ServerFacts): { why: string; todo: string } | undefined {
  const else_ = 'or unset DATABASE_URL to get a database of your own';
  if (facts.versionNumber < MINIMUM.postgresql * 10_000) {
    return {
      why: `It is PostgreSQL ${facts.postgresql}; Waylog needs ${MINIMUM.postgresql} or newer.`,
      todo: `Use a newer server, ${else_}.`,
    };
  }
  if (facts.available === null) {
    return {
      why: 'The extension timescaledb is not installed on that machine (it is not in pg_available_extensions).',
      todo: `Install TimescaleDB ${MINIMUM.timescaledb} or newer there, ${else_}.`,
    };
  }
  if (compareVersions(facts.installed ?? facts.available, MINIMUM.timescaledb) < 0) {
    const canUpdate = compareVersions(facts.available, MINIMUM.timescaledb) >= 0;
    return {
      why: `It has TimescaleDB ${facts.installed ?? facts.available}; Waylog needs ${MINIMUM.timescaledb} or newer.`,
      todo: canUpdate
        ? `Run \`alter extension timescaledb update\` in that database (${facts.available} is installed there), ${else_}.`
        : `Install a newer TimescaleDB there, ${else_}.`,
    };
  }
  if (!facts.preloaded) {
    return {
      why: 'TimescaleDB is installed, but not preloaded.',
      todo: `Add timescaledb to shared_preload_libraries there and restart that server, ${else_}.`,
    };
  }
  return undefined;
}

/** Queries the properties of a server. Needs no privileges. */
export async function factsOf(client: ClientBase): Promise<ServerFacts> {
  // shared_preload_libraries can only be read by superusers; a setting that only the preloaded library defines shows
  // the same.
  const { rows } = await client.query<ServerFacts>(`
    select current_setting('server_version') as postgresql,
           current_setting('server_version_num')::int as "versionNumber",
           (select default_version from pg_available_extensions where name = 'timescaledb') as available,
           (select extversion from pg_extension where extname = 'timescaledb') as installed,
           current_setting('timescaledb.max_background_workers', true) is not null as preloaded`);
  const [facts] = rows;
  if (!facts) throw new Error('the server returned no row');
  return facts;
}

/**
 * Compares dotted versions by number: negative, zero or positive like a sort function. Anything after a dash does not
 * count.
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => (version.split('-')[0] ?? '').split('.').map(Number));
  for (let i = 0; i < Math.max(left?.length ?? 0, right?.length ?? 0); i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** For messages: the URL without its password. */
export function withoutPassword(url: string): string {
  if (!URL.canParse(url)) return 'not a URL';
  const parsed = new URL(url);
  if (parsed.password) parsed.password = '***';
  parsed.searchParams.delete('password');
  return parsed.href;
}
