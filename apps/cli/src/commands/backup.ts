import { stat } from 'node:fs/promises';
import { Command } from 'commander';
import {
  backUp,
  listBackups,
  prune,
  readIdentities,
  readManifest,
  restore,
  verifyBackup,
  type BackupManifest,
  type Difference,
  type ListedBackup,
} from '#lib/backup';
import { installation, isPostgresUrl, counted } from '#lib/platform';
import { type VerifyResult } from '#lib/projections';
import { databaseUp, retainedSince } from '#lib/timescale';
import {
  databaseOptions,
  findTool,
  print,
  progress,
  recipientsFor,
  untilInterrupted,
  UsageError,
  withClient,
  withStore,
} from '../context.js';
import { connectionString } from '../connection-strings.js';
import { withSteps } from '../progress-bar.js';
import { linesOf } from './verify.js';
import { tablesNamed, verifyTables } from '#lib/waylog';
import { contexts } from '../../../contexts.js';
import { schemaState } from '../../../../migrations/index.js';

interface BackupOptions {
  readonly to?: string;
  readonly recipient?: readonly string[];
  readonly scheduled?: boolean;
}

interface PruneOptions {
  readonly keep: number;
  readonly dryRun?: boolean;
}

interface RestoreOptions {
  readonly database?: string;
  readonly into?: string;
  readonly identity?: string;
}

const IDENTITY = [
  '--identity <file>',
  'the private key of age that opens an encrypted backup; without it WAYLOG_BACKUP_IDENTITY_FILE',
] as const;

export function backupCommand(): Command {
  const backup = new Command('backup')
    .description(
      'Back up the whole database while it is in use: a dump, and a manifest with counts and hashes.',
    )
    .option(
      '--to <path>',
      'a folder, for a name made of database and time, or a file ending with .dump; without it WAYLOG_BACKUP_DIR, or else the current folder',
    )
    .option(
      '--recipient <age1...>',
      'encrypt it for this public key of age; may be given again, for more keys, each of which opens it; without it WAYLOG_BACKUP_RECIPIENTS',
      (value: string, before?: string[]) => [...(before ?? []), value],
    )
    .option('--scheduled', 'one of a series: `backup prune` may remove it when there are newer ones')
    .addHelpText(
      'after',
      `
Two files come of it: NAME.dump (pg_dump, custom format, compressed) and NAME.dump.json (the manifest). They belong
together; the manifest is written last, so a dump that has one is whole. Keep both from others: they hold all data. With
recipients the dump is NAME.dump.age, encrypted while it is written, and only the private keys open it. The manifest is not
encrypted: it says for whom the dump is, and counts and hashes of every table.

Examples
  waylog backup --to /backups/                        back up into a folder
  waylog backup --to /backups/ --recipient age1...    encrypt it; age-keygen (of the package age) makes keys
  waylog backup list /backups                         what is there
  waylog backup prune /backups --keep 28 --dry-run    which of a series would go
  waylog backup verify /backups/NAME.dump             restore it into a scratch database and compare every table
  waylog restore /backups/NAME.dump --database NEW    restore it into a database that does not exist yet`,
    )
    .action(async ({ to, recipient, scheduled = false }: BackupOptions, command: Command) => {
      const recipients = recipientsFor(recipient);
      const { url } = await databaseUp(databaseOptions(command));
      const done = await untilInterrupted((signal) =>
        withSteps('bytes', (onProgress) =>
          backUp({
            url,
            to: to ?? (process.env['WAYLOG_BACKUP_DIR'] || '.'),
            findTool,
            recipients,
            scheduled,
            waylog: installation().version,
            signal,
            onProgress,
          }),
        ),
      );
      print(command, done, [`file        ${done.file}`, ...about(done.manifest)].join('\n'));
    });

  backup
    .command('verify')
    .description('Restore a backup into a scratch database, compare every table by hash, and drop it again.')
    .argument('<file>', 'the dump; its manifest must lie beside it')
    .option(
      '--fold',
      'also fold its log again and compare the result with its tables, as `waylog verify` does',
    )
    .option(...IDENTITY)
    .addHelpText(
      'after',
      `
The scratch database is made on the server of --database-url, or of this checkout, beside what is there, and needs as
much space as the data. It is dropped afterwards, also after a failure or Ctrl-C.

Exit codes: 0 the backup is good, 1 it cannot be restored, 3 a table differs from the manifest or from the fold.`,
    )
    .action(
      async (file: string, { fold, identity }: { fold?: true; identity?: string }, command: Command) => {
        const identities = await identitiesFor(file, identity);
        const { url } = await databaseUp(databaseOptions(command));
        let folded: VerifyResult | undefined;
        const result = await untilInterrupted((signal) =>
          withSteps('bytes', (onProgress) =>
            verifyBackup({
              file,
              url,
              findTool,
              identities,
              signal,
              onProgress,
              ...(fold && {
                look: async (scratch: string, { log }: BackupManifest) => {
                  if (log.elsewhere) throw new UsageError(NOTHING_TO_FOLD);
                  await refuseOtherSchema(scratch);
                  folded = await foldOf(scratch, onProgress, signal);
                },
              }),
            }),
          ),
        );
        const bad = [
          ...(result.differences.length > 0 ? ['NOT AS THE MANIFEST SAYS'] : []),
          ...result.differences.map(differs),
          ...(folded && !folded.isSound
            ? ['NOT AS THE LOG SAYS, and it was so when it was backed up', ...linesOf(folded, false)]
            : []),
        ];
        const good = [
          `good: ${result.tables} tables are as the manifest says`,
          ...(folded ? [`good: ${folded.tables.length} projections are what their log makes`] : []),
          ...about(result.manifest),
        ];
        print(command, folded ? { ...result, folded } : result, (bad.length > 0 ? bad : good).join('\n'));
        if (bad.length > 0) process.exitCode = 3;
      },
    );

  backup
    .command('prune')
    .description(
      'Remove old backups of a series (those of servers, and of `backup --scheduled`), so that of each database so many complete ones stay.',
    )
    .argument('[folder]', 'without it WAYLOG_BACKUP_DIR, or else the current folder')
    .requiredOption('--keep <count>', 'how many stay, at least 1', Number)
    .option('--dry-run', 'only list them')
    .addHelpText(
      'after',
      `
What stays is read to its end first: a backup that is not what was written does not count, and where too few are whole,
none is removed. Other backups, and other files, are left alone; only what a killed backup of the same database has left
(.partial) goes, too, once a day has passed.

Exit codes: 0 done, 1 failed, 3 some of those that should stay are damaged, or say that they were taken in the future.`,
    )
    .action(async (folder: string | undefined, { keep, dryRun = false }: PruneOptions, command: Command) => {
      if (!Number.isInteger(keep) || keep < 1) throw new UsageError('--keep takes a whole number from 1.');
      const place = folder ?? (process.env['WAYLOG_BACKUP_DIR'] || '.');
      const pruned = await untilInterrupted((signal) => prune({ folder: place, keep, dryRun, signal }));
      const { kept, removed, damaged, ahead } = pruned;
      print(
        command,
        { dryRun, ...pruned },
        [
          ...damaged.map((file) => `DAMAGED, not counted  ${file}`),
          ...ahead.map((file) => `TAKEN IN THE FUTURE, not counted  ${file}`),
          ...removed.map((file) => `${dryRun ? 'would remove' : 'removed'}  ${file}`),
          `${counted(kept.length, 'backup')} of the series ${kept.length === 1 ? 'stays' : 'stay'}`,
        ].join('\n'),
      );
      if (damaged.length + ahead.length > 0) process.exitCode = 3;
    });

  backup
    .command('list')
    .description(
      'List the backups in a folder, the newest first, and what is wrong with those that cannot be used.',
    )
    .argument('[folder]', 'without it WAYLOG_BACKUP_DIR, or else the current folder')
    .action(async (folder: string | undefined, _options, command: Command) => {
      const backups = await listBackups(folder ?? (process.env['WAYLOG_BACKUP_DIR'] || '.'));
      print(command, { backups }, backups.map(line).join('\n') || 'no backups');
    });
  return backup;
}

export function restoreCommand(): Command {
  return new Command('restore')
    .description('Restore a backup into an empty database, and compare every table with its manifest.')
    .argument('<file>', 'the dump; its manifest must lie beside it')
    .option(...IDENTITY)
    .option('--database <name>', 'the database to be, on the server of --database-url or of this checkout')
    .option(
      '--into <url>',
      'the database to be, anywhere: a URL without a password, env:NAME or file:PATH; a password may come from PGPASSWORD',
    )
    .addHelpText(
      'after',
      `
The database is made; if it is there already, it must be empty. The dump's SHA-256 is checked first. Everything happens
under a name of its own (waylog_restoring_...), and the database gets its name only when all tables are there and have
the hashes that the manifest says. So after a failure, or a power cut, there is none that looks whole. It needs a role
that may make databases and the extension (a superuser, or the owner of a managed server).

Examples
  waylog restore /backups/NAME.dump --database waylog_new
  waylog restore /backups/NAME.dump --into postgres://admin@db.example/waylog

Exit codes: 0 restored, 1 not restored, 3 not restored, because what came back differs from the manifest.`,
    )
    .action(async (file: string, options: RestoreOptions, command: Command) => {
      // Wrong usage is said first, whatever the file is.
      const into = await target(options, command);
      const identities = await identitiesFor(file, options.identity);
      const result = await untilInterrupted((signal) =>
        withSteps('bytes', (onProgress) => restore({ file, into, findTool, identities, signal, onProgress })),
      );
      print(
        command,
        result,
        result.differences.length === 0
          ? [
              `restored    ${result.database}`,
              ...about(result.manifest),
              `compared    ${result.tables} tables, all as the manifest says`,
              ...result.notes,
            ].join('\n')
          : [
              'NOT RESTORED: what came back is not what the manifest says',
              ...result.differences.map(differs),
            ].join('\n'),
      );
      if (result.differences.length > 0) process.exitCode = 3;
    });
}

/** The keys that decrypt an encrypted backup. Throws UsageError if it needs some and none are given. */
async function identitiesFor(file: string, given: string | undefined): Promise<string[] | undefined> {
  const { manifest } = await readManifest(file);
  const { encryption } = manifest.dump;
  if (!encryption) return undefined;
  const keys = given ?? process.env['WAYLOG_BACKUP_IDENTITY_FILE'];
  if (!keys)
    throw new UsageError(
      `${file} is encrypted. Name the file with the private key: --identity FILE, or WAYLOG_BACKUP_IDENTITY_FILE. It opens ` +
        `with the key of ${encryption.recipients.join(' or ')}; \`age-keygen -y FILE\` says which a key file is for.`,
    );
  const identities = await readIdentities(keys);
  if (((await stat(keys)).mode & 0o007) !== 0)
    progress(`waylog: ${keys} can be read by everybody on this machine. Do: chmod o-rwx ${keys}`);
  return identities;
}

async function target(
  { database, into }: { database?: string; into?: string },
  command: Command,
): Promise<string> {
  if ((database === undefined) === (into === undefined)) {
    throw new UsageError('Say where to: --database NAME on the server at hand, or --into URL. One of them.');
  }
  if (into !== undefined) {
    const url = connectionString('--into', into);
    if (!isPostgresUrl(url) || !/^postgres(ql)?:\/\/[^/]+\/[^/?]+/.test(url)) {
      throw new UsageError(
        '--into takes postgres://user@host:port/database, with the name of the database to be.',
      );
    }
    return url;
  }
  const { url } = await databaseUp(databaseOptions(command));
  return Object.assign(new URL(url), { pathname: `/${encodeURIComponent(database ?? '')}` }).href;
}

/** Folds the log of a restored database beside its tables and compares them. */
function foldOf(
  connectionString: string,
  onProgress: (step: string, done: number, total: number) => void,
  signal: AbortSignal,
): Promise<VerifyResult> {
  return withStore({ url: connectionString }, async (store) =>
    verifyTables(tablesNamed(contexts, []), store, {
      connectionString,
      retainedSince: await withClient(connectionString, retainedSince),
      by: 'backup verify',
      signal,
      onProgress: (done, total) => onProgress('folding the log', done, total),
    }),
  );
}

const NOTHING_TO_FOLD =
  'The tables of this backup are as its manifest says. --fold has nothing to fold: their log is not in the backup, but in ' +
  'EventStoreDB. Leave --fold out, and run `waylog verify` on the database itself.';

/** Folds of this version know the tables as this version makes them. */
async function refuseOtherSchema(url: string): Promise<void> {
  const { missing, unknown } = await schemaState(url);
  const of = (names: readonly string[]) => `${counted(names.length, 'migration')} (${names.join(', ')})`;
  if (unknown.length > 0)
    throw new UsageError(
      `The tables of this backup are as its manifest says. --fold cannot fold its log: it is of a newer Waylog, with ` +
        `${of(unknown)} that this one does not know. Use that version, or leave --fold out.`,
    );
  if (missing.length > 0)
    throw new UsageError(
      `The tables of this backup are as its manifest says. --fold cannot fold its log: it is of an older Waylog, and lacks ` +
        `${of(missing)}. Leave --fold out; or restore it into a database of its own, and run \`waylog migrate\` and ` +
        `\`waylog verify\` there.`,
    );
}

const about = (manifest: BackupManifest): string[] => [
  `taken       ${manifest.createdAt} of ${manifest.database}, by Waylog ${manifest.waylog}`,
  `size        ${(manifest.dump.bytes / 1e6).toFixed(1)} MB, SHA-256 ${manifest.dump.sha256}`,
  ...(manifest.dump.encryption ? [`encrypted   for ${manifest.dump.encryption.recipients.join(', ')}`] : []),
  manifest.log.elsewhere
    ? 'log         NOT IN THIS BACKUP: it is in EventStoreDB. Back it up with its own means; this has the tables made from it'
    : `log         ${counted(manifest.log.events, 'event')} of ${counted(manifest.log.streams, 'stream')}, up to position ${manifest.log.position}`,
  `tables      ${Object.keys(manifest.tables).length}`,
  `server      PostgreSQL ${manifest.postgresql}, TimescaleDB ${manifest.timescaledb} (${manifest.edition})`,
];

const differs = ({ table, expected, restored }: Difference): string => {
  const say = (what: Difference['expected']) =>
    what ? `${counted(what.rows, 'row')}, hash ${what.hash}` : 'not there';
  return `${table.padEnd(28)} expected ${say(expected)} · restored ${say(restored)}`;
};

const line = ({ file, manifest, problem }: ListedBackup): string =>
  manifest
    ? `${manifest.createdAt}  ${(manifest.dump.bytes / 1e6).toFixed(1).padStart(9)} MB  ${String(manifest.log.events).padStart(9)} events  ${file}${manifest.dump.encryption ? '  encrypted' : ''}`
    : `UNUSABLE  ${file}: ${problem ?? ''}`;
