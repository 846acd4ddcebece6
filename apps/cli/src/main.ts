import 'reflect-metadata';
import { Command, Option } from 'commander';
import { messageOf } from '#lib/platform';
import { archiveCommand } from './commands/archive.js';
import { databaseCommand } from './commands/db.js';
import { hypertablesCommand } from './commands/hypertables.js';
import { importCommand } from './commands/import.js';
import { migrateCommand } from './commands/migrate.js';
import { rebuildCommand, verifyCommand } from './commands/rebuild.js';
import { simulateCommand } from './commands/simulate.js';
import { UsageError } from './context.js';

const program = new Command('waylog')
  .description('Keeps flight data as a log of events, with tables folded from it.')
  .addOption(
    new Option(
      '--database-url <url>',
      'the database to work on; without it the private one of this checkout',
    ).env('DATABASE_URL'),
  )
  .option('--json', 'print the result as JSON, for programs; progress goes to standard error in every case')
  .addHelpText(
    'after',
    `
Begin with
  waylog db up             start a TimescaleDB for this checkout, without root
  waylog migrate           bring its schema up to date
  waylog import FILE.ulg   record a PX4 flight log
  waylog simulate          record a flight that never happened

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a comparison found differences.`,
  );

for (const command of [
  databaseCommand(),
  migrateCommand(),
  importCommand(),
  simulateCommand(),
  rebuildCommand(),
  verifyCommand(),
  hypertablesCommand(),
  archiveCommand(),
]) {
  program.addCommand(command);
}

endWithUsageCode(program);

try {
  await program.parseAsync();
} catch (error) {
  console.error(`waylog: ${messageOf(error)}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** Wrong usage ends with 2, in every command. */
function endWithUsageCode(command: Command): void {
  command.showHelpAfterError('(add --help for more)').exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2);
  });
  command.commands.forEach(endWithUsageCode);
}
