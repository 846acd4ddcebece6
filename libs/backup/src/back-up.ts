import { createWriteStream } from 'node:fs';
import { access, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type pg from 'pg';
import { conflict, messageOf, unavailable, WaylogError } from '#lib/platform';
import { hashTable } from '#lib/projections';
import { capabilities, FIRST_JOB, queryOn, refuseForeignCode } from '#lib/timescale';
import { Meter, sync } from './files.js';
import { encrypting } from './encryption.js';
import { dumpEnding, manifestFormat, manifestOf, type BackupManifest } from './manifest.js';
import { tablesOf, withSession } from './session.js';
import { isFileError, runTool, type FindTool } from './tool.js';

export interface BackupOptions {
  /** The database. */
  readonly url: string;
  /** A folder that exists, for a name made of database and time; or the path of the dump. */
  readonly to: string;
  readonly findTool: FindTool;
  /** Whom to encrypt it for: public keys of age, as `recipientsOf` takes them apart. None: it is not encrypted. */
  readonly recipients?: readonly string[] | undefined;
  /** One of a series, of which old ones are removed when there are newer ones. */
  readonly scheduled?: boolean;
  /** The version of Waylog, for the manifest. */
  readonly waylog: string;
  readonly signal?: AbortSignal;
  /** Told what is going on; `total` is an estimate from above, because the dump is compressed. */
  readonly onProgress?: (step: string, bytes: number, total: number) => void;
}

export interface Backup {
  /** The path of the dump. */
  readonly file: string;
  readonly manifest: BackupManifest;
}

/**
 * Backs up a whole database while it is in use: a dump in pg_dump's custom format, and a manifest with the counts and
 * hashes of the very snapshot that was dumped. Until it is complete its files have other names; the manifest comes last,
 * so a backup with a manifest is whole.
 *
 * @throws WaylogError `backup.exists`, `backup.not-waylog`, `database.foreign-code`, `backup.tool-failed`, `backup.not-written`
 */
export async function backUp(options: BackupOptions): Promise<Backup> {
  const { url, findTool, recipients = [], signal, onProgress = () => undefined } = options;
  const file = await dumpPath(options.to, url, dumpEnding(recipients.length > 0));
  const partial = `${file}.partial`;
  try {
    return await withSession(url, signal, async (client) => {
      const { tables, snapshot, createdAt } = await takeSnapshot(client);
      await refuseForeignCode(queryOn(client), 'Nothing was backed up');
      const database = await describe(client, tables);
      // No --jobs on the way back (see `restore`), so the dump need not be seekable and can go through a pipe.
      const args = ['--format=custom', '--no-password', `--snapshot=${snapshot}`];
      const command = await findTool(url, 'pg_dump', args);
      const meter = new Meter((bytes) => onProgress('dumping', bytes, database.bytes));
      const stopDump = new AbortController();
      const either = signal ? AbortSignal.any([signal, stopDump.signal]) : stopDump.signal;
      const target = createWriteStream(partial, { flags: 'w', mode: 0o600 });
      // Encrypted on its way to the file, and counted and hashed as it is there.
      const output = [...(recipients.length > 0 ? [encrypting(recipients)] : []), meter, target];
      const dumped = runTool(command, { output }, either);
      const hashed = hashAll(client, tables).catch((error: unknown) => {
        stopDump.abort(error);
        throw error;
      });
      // Both at once, of one snapshot; and neither outlives the other's failure.
      const [dump, hashes] = await Promise.allSettled([dumped, hashed]);
      if (hashes.status === 'rejected') throw hashes.reason as Error;
      if (dump.status === 'rejected') throw dump.reason as Error;
      await client.query('commit');
      const manifest = {
        format: manifestFormat(recipients.length > 0),
        createdAt,
        waylog: options.waylog,
        ...database.facts,
        ...(options.scheduled && { scheduled: true }),
        log: {
          position: database.position,
          events: hashes.value['log.events']?.rows ?? 0,
          streams: hashes.value['log.streams']?.rows ?? 0,
          hash: hashes.value['log.events']?.hash ?? '',
          ...(database.isLogElsewhere && { elsewhere: true }),
        },
        tables: hashes.value,
        dump: {
          file: basename(file),
          bytes: meter.bytes,
          sha256: meter.sha256(),
          ...(recipients.length > 0 && { encryption: { format: 'age' as const, recipients } }),
        },
      } satisfies BackupManifest;
      signal?.throwIfAborted();
      await put(partial, file);
      const manifestFile = manifestOf(file);
      await writeFile(`${manifestFile}.partial`, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
      await put(`${manifestFile}.partial`, manifestFile);
      return { file, manifest };
    });
  } catch (error) {
    if (isFileError(error)) {
      throw unavailable(
        'backup.not-written',
        `The backup could not be written to ${dirname(file)}: ${messageOf(error)}. See to space and rights there.`,
        {},
        error,
      );
    }
    throw error;
  } finally {
    for (const left of [partial, `${manifestOf(file)}.partial`]) await rm(left, { force: true });
  }
}

async function put(from: string, to: string): Promise<void> {
  await sync(from);
  await rename(from, to);
  await sync(to);
}

async function dumpPath(to: string, url: string, ending: string): Promise<string> {
  const found = await stat(to).catch(() => undefined);
  const isFolder = found?.isDirectory() ?? to.endsWith('/');
  const time = new Date().toISOString().replaceAll(/[-:]/g, '').replace('.', '-');
  const file = resolve(isFolder ? join(to, `${nameOf(url)}-${time}${ending}`) : to);
  if (!file.endsWith(ending)) {
    throw new WaylogError(
      'backup.bad-name',
      'invalid',
      `${to} is no folder that exists, and as the name of ${ending === '.dump' ? 'a' : 'an encrypted'} backup it must end with ${ending}.`,
    );
  }
  for (const path of [file, manifestOf(file)]) {
    const exists = await access(path).then(
      () => true,
      () => false,
    );
    if (exists)
      throw conflict('backup.exists', `${path} exists already. A backup never replaces another one.`);
  }
  return file;
}

/** A database's name as it is in the names of its backups. */
const nameOf = (url: string): string =>
  decodeURIComponent(new URL(url).pathname.slice(1)).replaceAll(/[^\w-]/g, '_');

/**
 * The tables are locked against changes of their form before the snapshot is taken, so that no rebuilt table takes the
 * place of another between the snapshot and the dump. Reads and writes go on.
 */
async function takeSnapshot(client: pg.Client) {
  const tables = await tablesOf(client);
  if (!tables.includes('log.events')) {
    throw new WaylogError(
      'backup.not-waylog',
      'invalid',
      'The database has no log of Waylog (no table log.events), so there is nothing to back up. Is it the right one?',
    );
  }
  await client.query('begin isolation level repeatable read read only');
  await client.query(`lock table ${tables.join(', ')} in access share mode`);
  const { rows } = await client.query<{ snapshot: string; now: string }>(
    `select pg_export_snapshot() as snapshot,
            to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as now`,
  );
  return { tables, snapshot: rows[0]?.snapshot ?? '', createdAt: rows[0]?.now ?? '' };
}

async function describe(client: pg.Client, tables: readonly string[]) {
  const { edition, timescaledb, postgresql } = await capabilities(client);
  const { rows } = await client.query<{
    bytes: string;
    position: string;
    roles: string[];
    owners: string[];
  }>(`
    select pg_database_size(current_database())::text as bytes,
           (select coalesce(max(position), 0) from log.events)::text as position,
           array(select distinct r.rolname::text
                   from (select relacl as acl, relnamespace as schema, relowner as owner from pg_class
                         union all select nspacl, oid, nspowner from pg_namespace
                         union all select proacl, pronamespace, proowner from pg_proc) granted
                   join pg_namespace n on n.oid = granted.schema
                  cross join aclexplode(granted.acl) a
                   join pg_roles r on r.oid = a.grantee
                  where n.nspname !~ '^(pg_|_?timescaledb_)' and n.nspname <> 'information_schema'
                    -- The owner of a restored thing is whoever restores it.
                    and a.grantee <> granted.owner and r.rolname !~ '^pg_'
                  order by 1) as roles,
           array(select distinct r.rolname::text from timescaledb_information.jobs j join pg_roles r on r.oid = j.owner::oid
                  where j.job_id >= ${FIRST_JOB} order by 1) as owners`);
  const { rows: migrations } = await client.query<{ name: string }>(
    `select name from public.waylog_migrations order by id`,
  );
  // A database from before the table says so: its log was always in it.
  const folded = tables.includes('projection.folded_log')
    ? await client.query(
        `select from projection.folded_log f
          where not exists (select from log.events e where e.id = f.first_event_id and e.position::text = f.first_position)`,
      )
    : undefined;
  const [row] = rows;
  if (!row) throw new Error('the server returned no row');
  return {
    bytes: Number(row.bytes),
    position: row.position,
    isLogElsewhere: (folded?.rowCount ?? 0) > 0,
    facts: {
      postgresql,
      timescaledb,
      edition,
      ...(await databaseIdentity(client)),
      migrations: migrations.map(({ name }) => name),
      roles: row.roles,
      jobOwners: row.owners,
    },
  };
}

/** Which database something is of, across servers that have databases of the same name. */
export interface DatabaseIdentity {
  readonly database: string;
  /** Unknown where somebody has taken the right to ask from everybody. */
  readonly server?: string;
}

export async function databaseIdentity(client: pg.ClientBase): Promise<DatabaseIdentity> {
  const { rows } = await client.query<{ database: string; may: boolean }>(
    `select current_database() as database, has_function_privilege('pg_control_system()', 'execute') as may`,
  );
  const { database = '', may = false } = rows[0] ?? {};
  if (!may) return { database };
  const { rows: systems } = await client.query<{ server: string }>(
    `select system_identifier::text as server from pg_control_system()`,
  );
  return { database, ...(systems[0] && { server: systems[0].server }) };
}

/** Rows and hash of each table. */
export async function hashAll(
  client: pg.Client,
  tables: readonly string[],
): Promise<BackupManifest['tables']> {
  const hashes: BackupManifest['tables'] = {};
  for (const table of tables) hashes[table] = await hashTable(client, table);
  return hashes;
}
