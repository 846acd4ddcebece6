import { Command } from 'commander';
import { databaseUp } from '#lib/timescale';
import { migrate, revert } from '../../../../migrations/index.js';
import { databaseOptions, print, progress, UsageError } from '../context.js';

export function migrateCommand(): Command {
  return new Command('migrate')
    .description('Bring the schema of the database up to date.')
    .option(
      '--down <steps>',
      'take back the last so many migrations instead, WITH the tables they made',
      Number,
    )
    .action(async ({ down }: { down?: number }, command: Command) => {
      const { url } = await databaseUp(databaseOptions(command));
      if (down !== undefined) {
        if (!Number.isInteger(down) || down < 1) throw new UsageError('--down takes a whole number from 1.');
        await revert(url, down, progress);
        print(command, { reverted: down }, `took back ${down}`);
      } else {
        const ran = await migrate(url, progress);
        print(command, { ran }, ran.length > 0 ? `ran ${ran.length} migrations` : 'the schema is up to date');
      }
    });
}
