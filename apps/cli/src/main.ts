import 'reflect-metadata';
import type { Command } from 'commander';
import { messageOf } from '#lib/platform';
import { UsageError } from './context.js';
import { makeProgram } from './program.js';

const program = makeProgram();
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
