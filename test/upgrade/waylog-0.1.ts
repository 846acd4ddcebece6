import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import pg from 'pg';
import { hashTable, type TableHash } from '#lib/projections';
import { openSession } from '#lib/platform';
import { madeAccess } from '#lib/timescale';

/** What a database of 0.1 and its answers are in; README.md there says how they were made. */
export const folder = join('test', 'upgrade', '0.1');

const unzipped = (file: string): string => gunzipSync(readFileSync(join(folder, file))).toString();

/** A command as it was sent to 0.1, and what it answered. */
export interface Sent {
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly status: number;
  readonly answer: unknown;
}

/** What 0.1 said of that database. */
export interface Record01 {
  /** Without a hash where a row names another object by the number that this database gave it. */
  readonly tables: Readonly<Record<string, { readonly rows: number; readonly hash?: string }>>;
  readonly checkpoints: readonly {
    readonly projection: string;
    readonly version: number;
    readonly position: string;
  }[];
  readonly chunks: readonly { readonly table: string; readonly range_start: string }[];
  readonly verify: { readonly position: string; readonly isSound: boolean };
  readonly audit: { readonly isSound: boolean; readonly digests: number; readonly vouchedPosition: string };
  readonly sent: readonly Sent[];
  readonly answers: Readonly<Record<string, { readonly status: number; readonly body: unknown }>>;
  /** Of an operator. */
  readonly key: string;
  /** The public half of the key that signed the digests. */
  readonly auditKey: string;
}

export const record = JSON.parse(unzipped('record.json.gz')) as Record01;

/** The roles that Waylog makes, and the comments by which it knows them. */
const ROLES = {
  app: 'Made by Waylog: appends to the log of one database and reads it.',
  projector: 'Made by Waylog: keeps the tables of one database.',
  reader: 'Made by Waylog: reads the tables of one database for ad-hoc SQL.',
} as const;

/** Makes an empty database what 0.1 left: tables, rows, hypertables, and the roles with their rights. */
export async function restore(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('create extension if not exists timescaledb');
    let sql = unzipped('database.sql.gz');
    for (const kind of ['app', 'projector', 'reader'] as const) {
      const access = madeAccess(url, kind);
      if (!access) throw new Error('The URL of the test server has no password.');
      const { role } = access;
      await client.query(
        `create role ${role} login password '${new URL(access.url).password}';
         comment on role ${role} is '${ROLES[kind]}'; grant ${role} to current_user`,
      );
      sql = sql.replaceAll(`@${kind}@`, role);
    }
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** The columns of every table of Waylog and of registered models. */
export async function columnsOf(url: string): Promise<Map<string, string[]>> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog test' });
  try {
    const { rows } = await client.query<{ name: string; columns: string[] }>(
      `select format('%s.%s', nspname, relname) as name,
              array(select attname::text from pg_attribute
                     where attrelid = c.oid and attnum > 0 and not attisdropped order by attnum) as columns
         from pg_class c join pg_namespace n on n.oid = relnamespace
        where relkind = 'r' and nspname !~ '^(pg_|_?timescaledb|information_schema)'
          and not exists (select from pg_depend where objid = c.oid and deptype = 'e')
        order by 1`,
    );
    return new Map(rows.map(({ name, columns }) => [name, columns]));
  } finally {
    await client.end();
  }
}

/** The fingerprint of each of these columns' rows. */
export async function hashesOf(
  url: string,
  columns: ReadonlyMap<string, readonly string[]>,
): Promise<Record<string, TableHash>> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog test' });
  try {
    const hashes: Record<string, TableHash> = {};
    for (const [table, names] of columns)
      hashes[table] = await hashTable(
        client,
        `(select ${names.map((name) => `"${name}"`).join(', ')} from ${table})`,
      );
    return hashes;
  } finally {
    await client.end();
  }
}
