import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Writable, type Readable } from 'node:stream';
import pg from 'pg';
import { conflict, messageOf, WaylogError } from '#lib/platform';
import {
  givePolicies,
  queryOn,
  refuseForeign,
  refuseForeignCode,
  roleNames,
  startScheduler,
  stopAllJobs,
  stopJobsOf,
} from '#lib/timescale';
import { hashAll } from './back-up.js';
import { decrypted } from './encryption.js';
import { measure, Meter } from './files.js';
import { contextsOf, entriesOf, foreignEntries, functionsOf } from './foreign-entries.js';
import { readManifest, type BackupManifest } from './manifest.js';
import { quoted, tablesOf, withDatabaseName, withSession } from './session.js';
import { runTool, type FindTool } from './tool.js';

interface Options {
  /** The dump; its manifest lies beside it. */
  readonly file: string;
  readonly findTool: FindTool;
  /** Private keys, for an encrypted dump: see `readIdentities`. */
  readonly identities?: readonly string[] | undefined;
  readonly signal?: AbortSignal;
  /** Told what is going on. */
  readonly onProgress?: (step: string, bytes: number, total: number) => void;
}

export interface RestoreOptions extends Options {
  /** The database to be: it is made, or it is there and empty. */
  readonly into: string;
}

export interface VerifyOptions extends Options {
  /** Any database of the server to try it on. */
  readonly url: string;
  /** Looks further into the restored database, before it is dropped. */
  readonly look?: (url: string, manifest: BackupManifest) => Promise<void>;
}

/** A table that is not what the manifest says. */
export interface Difference {
  readonly table: string;
  /** undefined: the table is not in the backup. */
  readonly expected?: { readonly rows: number; readonly hash: string };
  /** undefined: the table was not restored. */
  readonly restored?: { readonly rows: number; readonly hash: string };
}

export interface RestoreResult {
  readonly database: string;
  readonly manifest: BackupManifest;
  /** How many tables were compared by hash. */
  readonly tables: number;
  readonly differences: readonly Difference[];
  /** What an operator should know about it. */
  readonly notes: readonly string[];
}

/**
 * Restores a backup into an empty database, and compares every table with the manifest. All happens in a database with a
 * name of its own, which takes the target's name only when everything is there and is the same: whatever goes wrong, and
 * also a kill, there is never a half-restored database under the name that was asked for.
 *
 * With differences, nothing is left under that name either.
 *
 * @throws WaylogError `restore.not-empty`, `restore.in-use`, `database.foreign-code`, `restore.unsuitable`, `backup.damaged`, `backup.tool-failed`,
 *   and what `readManifest` throws
 */
export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const { into, signal } = options;
  const database = decodeURIComponent(new URL(into).pathname.slice(1));
  const existing = await emptyDatabase(into, database, signal);
  const { manifest, dump } = await wholeBackup(options);
  await suits(into, manifest, signal);
  return inScratch(options, into, 'restoring', { manifest, dump }, async (result, scratch, admin) => {
    if (result.differences.length > 0) return { result: { ...result, database }, keep: false };
    await withSession(withDatabaseName(into, scratch), signal, (client) => client.query('analyze'));
    signal?.throwIfAborted();
    if (existing) {
      await admin.query(`alter database ${quoted(scratch)} owner to ${quoted(existing.owner)}`);
      // Fails when somebody has connected meanwhile; and what they may have written there was not ours to drop.
      await emptyDatabase(into, database, undefined);
      await admin.query(`drop database ${quoted(database)}`);
    }
    await admin.query(`comment on database ${quoted(scratch)} is null`);
    // Ours have ended, but a pooler keeps its side of them for a while.
    await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [scratch]);
    await admin.query(`alter database ${quoted(scratch)} rename to ${quoted(database)}`);
    return {
      result: { ...result, database, notes: [...result.notes, ...(await started(into))] },
      keep: true,
    };
  });
}

/** The rename has stopped the jobs of TimescaleDB. By now the database is restored, so what goes wrong here is only told. */
async function started(url: string): Promise<string[]> {
  const again = 'Until it runs, no policy does. `waylog migrate` as a superuser tries again.';
  try {
    const why = await withSession(url, undefined, (client) => startScheduler(queryOn(client)));
    return why === undefined ? [] : [`${why} ${again}`];
  } catch (error) {
    return [`The scheduler of TimescaleDB could not be started: ${messageOf(error)}. ${again}`];
  }
}

/**
 * Finds out whether a backup can be restored: restores it into a scratch database on a server and compares every table with
 * the manifest. The scratch database is dropped in every case.
 */
export async function verifyBackup(options: VerifyOptions): Promise<RestoreResult> {
  const backup = await wholeBackup(options);
  await suits(options.url, backup.manifest, options.signal);
  return inScratch(options, options.url, 'scratch', backup, async (result, scratch) => {
    if (result.differences.length === 0)
      await options.look?.(withDatabaseName(options.url, scratch), backup.manifest);
    return { result, keep: false };
  });
}

/** The manifest of a backup whose dump has been read to its end and is the very file that was written. */
async function wholeBackup({ file, identities, signal, onProgress }: Options) {
  const { manifest, dump } = await readManifest(file);
  if (manifest.dump.encryption && !identities) throw encrypted(dump, manifest.dump.encryption.recipients);
  const { bytes, sha256 } = manifest.dump;
  const found = await measure(dump, signal, (done) => onProgress?.('checking the file', done, bytes));
  if (found.bytes !== bytes || found.sha256 !== sha256) {
    throw new WaylogError(
      'backup.damaged',
      'invalid',
      `${dump} is not the file that was backed up: ` +
        (found.bytes === bytes
          ? `its SHA-256 is ${found.sha256}, the manifest says ${sha256}.`
          : `it has ${found.bytes} bytes, the manifest says ${bytes}.`) +
        ` It was damaged or cut off on its way. Take another copy, or another backup. Nothing was restored.`,
      { expected: { bytes, sha256 }, found },
    );
  }
  // Before there is a database to put it in.
  if (manifest.dump.encryption) (await decrypted(dump, identities ?? [])).destroy();
  return { manifest, dump };
}

const encrypted = (dump: string, recipients: readonly string[]) =>
  new WaylogError(
    'backup.encrypted',
    'invalid',
    `${dump} is encrypted, and restoring it takes the private key of ${recipients.join(' or ')}.`,
    { recipients },
  );

/** Throws when the server cannot hold what is in the backup as it was. */
async function suits(url: string, manifest: BackupManifest, signal?: AbortSignal): Promise<void> {
  const unsuited = await withSession(maintenance(url), signal, async (client) => {
    const { rows } = await client.query<{
      version: number;
      available: string[];
      license: string | null;
      missing: string[];
    }>(
      `select current_setting('server_version_num')::int / 10000 as version,
              array(select version from pg_available_extension_versions where name = 'timescaledb' order by 1) as available,
              current_setting('timescaledb.license', true) as license,
              array(select name from unnest($1::text[]) as name where name not in (select rolname from pg_roles)) as missing`,
      // The roles that Waylog makes belong to the database that was backed up; the restored one gets its own.
      [manifest.roles.filter((role) => !roleNames(manifest.database).includes(role))],
    );
    const [server] = rows;
    if (!server) return 'it does not answer';
    const major = Number(manifest.postgresql.split('.')[0]);
    if (server.version < major) {
      return `it is PostgreSQL ${server.version}, and the backup is of ${manifest.postgresql}. Use a server of version ${major} or newer`;
    }
    if (!server.available.includes(manifest.timescaledb)) {
      return (
        `the backup needs TimescaleDB ${manifest.timescaledb} and it carries ${server.available.slice(-5).join(', ') || 'none'}. ` +
        `Install that version beside, restore, and then update with \`alter extension timescaledb update\``
      );
    }
    if (manifest.edition === 'timescale' && server.license === 'apache') {
      return `it is of the Apache edition of TimescaleDB and the backup of the Timescale (Community) edition, whose compressed chunks and policies the other cannot hold`;
    }
    if (server.missing.length > 0) {
      return `it lacks roles that have rights in the backup. Make them first: ${server.missing.map((role) => `create role ${quoted(role)};`).join(' ')}`;
    }
    return undefined;
  });
  if (unsuited) {
    throw new WaylogError(
      'restore.unsuitable',
      'conflict',
      `The backup cannot be restored on this server: ${unsuited}.`,
    );
  }
}

/** undefined when there is no such database. Throws unless it is empty and nobody is connected to it. */
async function emptyDatabase(
  url: string,
  database: string,
  signal: AbortSignal | undefined,
): Promise<{ owner: string } | undefined> {
  const found = await withSession(maintenance(url), signal, async (client) => {
    const { rows } = await client.query<{ owner: string; settings: number; connections: number }>(
      `select pg_get_userbyid(d.datdba) as owner,
              (select count(*)::int from pg_db_role_setting s where s.setdatabase = d.oid) as settings,
              (select count(*)::int from pg_stat_activity a where a.datid = d.oid and a.backend_type = 'client backend') as connections
         from pg_database d where d.datname = $1`,
      [database],
    );
    return rows[0];
  });
  if (!found) return undefined;
  const things = await withSession(url, signal, async (client) => {
    const { rows } = await client.query<{ name: string; total: number }>(`
      select name, count(*) over ()::int as total
        from (select format('%s %I.%I', case when c.relkind in ('r', 'p') then 'table' else 'relation' end, n.nspname, c.relname) as name,
                     'pg_class'::regclass as class, c.oid, n.nspname
                from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
              union all
              select format('function %I.%I', n.nspname, p.proname), 'pg_proc'::regclass, p.oid, n.nspname
                from pg_proc p join pg_namespace n on n.oid = p.pronamespace
              union all
              select format('schema %I', nspname), 'pg_namespace'::regclass, oid, nspname from pg_namespace where nspname <> 'public') things
       where nspname !~ '^(pg_|_?timescaledb_)' and nspname <> 'information_schema'
         and not exists (select from pg_depend d where d.classid = things.class and d.objid = things.oid and d.deptype = 'e')
       order by name like 'table %' desc, name limit 5`);
    return rows;
  });
  const [first] = things;
  if (first) {
    throw conflict(
      'restore.not-empty',
      `Database ${database} is not empty: it has ${things.map(({ name }) => name).join(', ')}` +
        `${first.total > things.length ? ` and ${first.total - things.length} more things` : ''}. ` +
        `A restore never writes over anything. Name a database that does not exist yet, or drop this one first.`,
      { database, things: first.total },
    );
  }
  if (found.connections > 0) {
    throw conflict(
      'restore.in-use',
      `Database ${database} is empty, but ${found.connections} sessions are connected to it. End them, or name another database.`,
      { database },
    );
  }
  if (found.settings > 0) {
    throw conflict(
      'restore.has-settings',
      `Database ${database} is empty, but has settings of its own (\\drds in psql), which the restored one would not have. ` +
        `Name a database that does not exist yet, and make the settings there afterwards.`,
      { database },
    );
  }
  return found;
}

const REFUSED = 'Nothing was restored';

const maintenance = (url: string): string => withDatabaseName(url, 'postgres');

/**
 * Restores into a database with a name of its own, compares, and hands it to `use`, which says whether it is kept (under
 * the name that it has by then). In every other case it is dropped.
 */
async function inScratch(
  { findTool, identities, signal, onProgress }: Options,
  server: string,
  purpose: 'restoring' | 'scratch',
  { manifest, dump }: { manifest: BackupManifest; dump: string },
  use: (
    result: RestoreResult,
    scratch: string,
    admin: pg.Client,
  ) => Promise<{ result: RestoreResult; keep: boolean }>,
): Promise<RestoreResult> {
  const scratch = `waylog_${purpose}_${randomBytes(5).toString('hex')}`;
  const url = withDatabaseName(server, scratch);
  let contexts: readonly string[] = [];
  // Not ended by the signal: it has to clean up.
  return withSession(maintenance(server), undefined, async (admin) => {
    signal?.throwIfAborted();
    await admin.query(`create database ${quoted(scratch)} template template0 encoding 'UTF8'`);
    let kept = false;
    try {
      // For whoever finds it after a kill: what it is, and that it may go.
      const what = `Made by waylog at ${new Date().toISOString()} from ${dump}. Drop it when no waylog works on it any more.`;
      await admin.query(`comment on database ${quoted(scratch)} is ${pg.escapeLiteral(what)}`);
      const notes = await fill();
      const result = { ...(await compare()), notes };
      // Whoever looks further must find what was restored, and not what a policy has left of it.
      if (purpose === 'scratch') await withSession(url, signal, (client) => stopAllJobs(queryOn(client)));
      await withSession(url, signal, (client) => client.query('select timescaledb_post_restore()'));
      const { result: used, keep } = await use(result, scratch, admin);
      kept = keep;
      return used;
    } finally {
      if (!kept) await admin.query(`drop database if exists ${quoted(scratch)} with (force)`);
    }
  });

  async function fill(): Promise<string[]> {
    // The version has been checked to be one of the server's own list.
    await withSession(url, signal, (client) =>
      client.query(`create extension timescaledb version ${quoted(manifest.timescaledb)}`),
    );
    await withSession(url, signal, (client) => client.query('select timescaledb_pre_restore()'));
    const entries = entriesOf(await listed());
    contexts = contextsOf(entries);
    refuseForeign(foreignEntries(entries), REFUSED);
    await tryFunctions(functionsOf(entries));
    return withoutOldRoles(url, manifest, async () => {
      await pgRestore('--section=pre-data');
      // The tables are empty: nothing has called what they would.
      await refuseCode();
      await pgRestore('--section=data', '--section=post-data');
      await refuseCode();
    });
  }

  /** What the dump holds, without restoring any of it. */
  async function listed(): Promise<string> {
    const parts: Buffer[] = [];
    const list = new Writable({
      write: (part: Buffer, _encoding, done) => {
        parts.push(part);
        done();
      },
    });
    const command = await findTool(url, 'pg_restore', ['--list']);
    await runTool(command, { input: await read(), output: [list] }, signal);
    return Buffer.concat(parts).toString('utf8');
  }

  /**
   * Restores the functions of the tables' schemas alone, to see whether they are what their names say: an expression that is
   * put together while tables are made may call them already.
   */
  async function tryFunctions(functions: ReadonlyMap<string, readonly string[]>): Promise<void> {
    const names = [...functions.keys()];
    const inScratch = (sql: (name: string) => string) =>
      withSession(url, signal, async (client) => {
        for (const name of names) await client.query(sql(quoted(name)));
      });
    await inScratch((name) => `create schema ${name}`);
    for (const [schema, signatures] of functions) {
      const chosen = signatures.map((signature) => `--function=${signature}`);
      await pgRestore('--no-privileges', `--schema=${schema}`, ...chosen);
    }
    await refuseCode();
    await inScratch((name) => `drop schema ${name} cascade`);
  }

  async function pgRestore(...which: string[]): Promise<void> {
    // Not --jobs: a parallel restore does not bring back TimescaleDB's catalog correctly. Not --single-transaction: with
    // many chunks it runs out of locks, and there is nothing to roll back that is not dropped anyway.
    const args = ['--exit-on-error', '--no-owner', '--no-password', `--dbname=${scratch}`, ...which];
    await runTool(await findTool(url, 'pg_restore', args), { input: await read() }, signal);
  }

  async function read(): Promise<Meter> {
    const meter = new Meter((bytes) => onProgress?.('restoring', bytes, manifest.dump.bytes));
    const input: Readable = manifest.dump.encryption
      ? await decrypted(dump, identities ?? [])
      : createReadStream(dump, { highWaterMark: 1 << 20 });
    input.on('error', (error) => meter.destroy(error));
    // What has been read enough leaves the rest.
    meter.on('close', () => input.destroy());
    return input.pipe(meter);
  }

  function refuseCode(): Promise<void> {
    return withSession(url, signal, (client) => refuseForeignCode(queryOn(client), REFUSED, contexts));
  }

  /**
   * Before `timescaledb_post_restore()`, in a session that is past it: from there on a policy of the restored database may
   * drop what it finds too old, and the comparison would find that missing.
   */
  async function compare(): Promise<Omit<RestoreResult, 'notes'>> {
    return withSession(
      url,
      signal,
      async (client) => {
        const found = await tablesOf(client);
        const names = [...new Set([...Object.keys(manifest.tables), ...found])];
        const differences: Difference[] = [];
        for (const [i, table] of names.entries()) {
          onProgress?.('comparing', i, names.length);
          const expected = manifest.tables[table];
          const restored = found.includes(table) ? (await hashAll(client, [table]))[table] : undefined;
          if (expected?.rows === restored?.rows && expected?.hash === restored?.hash) continue;
          differences.push({ table, ...(expected && { expected }), ...(restored && { restored }) });
        }
        if (manifest.log.hash !== manifest.tables['log.events']?.hash && differences.length === 0) {
          differences.push({
            table: 'log.events',
            expected: { rows: manifest.log.events, hash: manifest.log.hash },
            ...(manifest.tables['log.events'] && { restored: manifest.tables['log.events'] }),
          });
        }
        return { database: scratch, manifest, tables: names.length, differences };
      },
      { 'timescaledb.restoring': 'off' },
    );
  }
}

/**
 * Restores without leaving rights to the roles of the database that was backed up: their passwords are known to whoever
 * knows that one's owner, and the restored one gets its own with the next migration. A dump cannot leave them out, nor those
 * that a job of TimescaleDB works as, so where there is no such role, it is there while they are restored.
 *
 * @returns what an operator should know about it
 */
async function withoutOldRoles(
  url: string,
  { database, roles, jobOwners = [] }: BackupManifest,
  restore: () => Promise<unknown>,
): Promise<string[]> {
  const old = roleNames(database).filter((role) => roles.includes(role));
  return withSession(url, undefined, async (client) => {
    const query = queryOn(client);
    const missing = (
      await query<{ name: string }>(
        `select distinct name from unnest($1::text[]) as o (name) where not exists (select from pg_roles where rolname = name)`,
        [[...old, ...jobOwners]],
      )
    ).map(({ name }) => name);
    for (const role of missing)
      await client.query(`create role ${quoted(role)} nologin; grant ${quoted(role)} to current_user`);
    try {
      await restore();
      if (old.length > 0) await client.query(takeRightsSql(old));
      await givePolicies(query);
      const stopped = await stopJobsOf(query, missing);
      return stopped.length === 0
        ? []
        : [
            `The roles of jobs ${stopped.join(', ')} of TimescaleDB are not on this server, so they stand still. See to ` +
              `whose they should be: timescaledb_information.jobs.`,
          ];
    } finally {
      // After a failure they still have rights in what is about to be dropped.
      for (const role of missing)
        await client.query(`drop owned by ${quoted(role)}; drop role ${quoted(role)}`);
    }
  });
}

/** Takes every right in this database from some roles. `drop owned` would take those on other databases of the server, too. */
const takeRightsSql = (roles: readonly string[]): string => `
  do $rights$
  declare
    v_roles constant oid[] := array(select oid from pg_roles where rolname in (${roles.map(pg.escapeLiteral).join(', ')}));
    v_take text;
  begin
    for v_take in
      select format('revoke all on table %s from %I', c.oid::regclass, pg_get_userbyid(a.grantee))
        from pg_class c, aclexplode(c.relacl) a where a.grantee = any (v_roles) and c.relkind <> 'S'
      union
      select format('revoke all on schema %I from %I', n.nspname, pg_get_userbyid(a.grantee))
        from pg_namespace n, aclexplode(n.nspacl) a where a.grantee = any (v_roles)
      union
      select format('revoke all on routine %s from %I', p.oid::regprocedure, pg_get_userbyid(a.grantee))
        from pg_proc p, aclexplode(p.proacl) a where a.grantee = any (v_roles)
      union
      select format('alter default privileges for role %I in schema %I revoke all on tables from %s',
                    pg_get_userbyid(d.defaclrole), n.nspname,
                    case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end)
        from pg_default_acl d join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
       where d.defaclobjtype = 'r' and (a.grantee = any (v_roles) or d.defaclrole = any (v_roles))
    loop
      execute v_take;
    end loop;
  end $rights$`;
