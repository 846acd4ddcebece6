import { Command } from 'commander';
import { databaseUp, VALIDATION_LEVELS, type ValidationLevel } from '#lib/timescale';
import {
  migrationStatus,
  runMigrations,
  withWaylogModels,
  type MigrationInfo,
  type MigrationResponse,
} from '../../../../migrations/index.js';
import { backUpBefore, databaseOptions, print, progress, UsageError } from '../context.js';
import { contexts } from '../../../contexts.js';
import { modelsOf } from '#lib/waylog';

interface MigrateOptions {
  readonly to?: string;
  readonly down?: number;
  readonly yes?: boolean;
  readonly yesDeleteTheLog?: boolean;
  readonly rollback: boolean;
  readonly level: string;
  /** A folder; false: no backup. */
  readonly backup?: string | false;
}

export function migrateCommand(): Command {
  const migrate = new Command('migrate')
    .description('Bring the schema of the database up to date, or to another revision, forwards or back.')
    .option('--to <revision>', 'to this revision instead of the newest; 0 takes all of them back')
    .option('--down <steps>', 'take back the last so many migrations, WITH the tables they made', Number)
    .option('--yes', 'with --to: yes, take tables away where that revision lies before the present one')
    .option('--yes-delete-the-log', 'yes, delete the log too; nothing brings it back')
    .option('--no-rollback', 'keep what ran before a migration that fails')
    .option(
      '--backup <folder>',
      'where to back up to before a migration that rewrites the log or the like; without it WAYLOG_BACKUP_DIR',
    )
    .option('--no-backup', 'take no backup before such a migration')
    .option('--level <level>', `how strictly to validate: ${VALIDATION_LEVELS.join(', ')}`, 'basic')
    .addHelpText(
      'after',
      `
A run is all or nothing: when a migration fails, or the validation after it, the database is where it was.
Tables that are folded from the log come back from it after the next migration forwards.
Going back is refused while servers run on the database, and below the log while there are events in it.
Before a migration that rewrites what nothing else brings back (migrate status says which), a database that holds events is
backed up, encrypted for WAYLOG_BACKUP_RECIPIENTS. Where there is no folder for that, nothing runs without --no-backup.

Examples
  waylog migrate                          to the newest revision
  waylog migrate status                   which migrations this database has
  waylog migrate --to 1790000003000       to that one; --yes where it takes tables away
  waylog migrate --down 1                 take back the last one
  waylog migrate --json                   phases, new hypertables, issues, seconds`,
    )
    .action(async (options: MigrateOptions, command: Command) => {
      const { to, down, yes, yesDeleteTheLog, rollback, level, backup } = options;
      if (down !== undefined && (!Number.isInteger(down) || down < 1))
        throw new UsageError('--down takes a whole number from 1.');
      if (down !== undefined && to !== undefined) throw new UsageError('Take --down or --to, not both.');
      if (!isLevel(level)) throw new UsageError(`--level takes one of ${VALIDATION_LEVELS.join(', ')}.`);
      const { url } = await databaseUp(databaseOptions(command));
      const response = await runMigrations(
        url,
        {
          serviceName: 'waylog',
          autoRollback: rollback,
          validationLevel: level,
          confirmDataLoss: down !== undefined || yes === true,
          ...(to !== undefined && { targetRevision: to }),
          ...(backup === false && { withoutBackup: true }),
        },
        {
          progress,
          onRewriting: backUpBefore(url, backup === false ? undefined : backup),
          models: withWaylogModels(modelsOf(contexts)),
          contexts,
          deleteTheLog: yesDeleteTheLog === true,
          ...(down !== undefined && { stepsBack: down }),
        },
      );
      print(command, response, textOf(response));
      if (!response.success) process.exitCode = 1;
    });
  migrate
    .command('status')
    .description('list the migrations of this version and of the database; changes nothing')
    .action(async (_options, command: Command) => {
      const { url } = await databaseUp(databaseOptions(command));
      const migrations = await migrationStatus(url);
      print(command, { migrations }, migrations.map(lineOf).join('\n'));
    });
  return migrate;
}

export const isLevel = (text: string): text is ValidationLevel =>
  (VALIDATION_LEVELS as readonly string[]).includes(text);

const textOf = ({
  message,
  errorMessage,
  executionTime,
  validationIssues,
  hypertablesCreated,
  backup,
}: MigrationResponse) =>
  [
    ...(errorMessage ? [`FAILED: ${errorMessage}`] : []),
    ...(message ? [message] : []),
    ...(hypertablesCreated.length > 0 ? [`hypertables created: ${hypertablesCreated.join(', ')}`] : []),
    ...validationIssues.map(({ severity, description }) => `${severity}: ${description}`),
    ...(backup ? [`backup taken first: ${backup}`] : []),
    `${executionTime} s`,
  ].join('\n');

const lineOf = ({
  revision,
  serviceName,
  description,
  isApplied,
  appliedAt,
  isCurrent,
  rewrites,
}: MigrationInfo): string =>
  [
    isCurrent ? '*' : ' ',
    revision,
    serviceName.padEnd(8),
    description.padEnd(22),
    isApplied ? (appliedAt ?? 'applied') : `pending${rewrites ? `, rewrites ${rewrites}` : ''}`,
  ].join('  ');
