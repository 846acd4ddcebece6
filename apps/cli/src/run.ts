import type { Command } from 'commander';
import { failureOf, invalidInput, messageOf, outliveReaders, readSecrets, FROM_FILES } from '#lib/platform';
import { progress, UsageError } from './context.js';
import { makeProgram } from './program.js';

/** How long a command that has failed can take to end by itself. */
const LAST_WORDS_MS = 2_000;

outliveReaders();
const program = await makeProgram();
endWithUsageCode(program);

try {
  takeSecretsFromFiles();
  await program.parseAsync();
} catch (error) {
  progress(`waylog: ${messageOf(failureOf(error))}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
  // What failed has closed what is ours. What a context keeps open must not keep a shell waiting.
  setTimeout(() => process.exit(), LAST_WORDS_MS).unref();
}

/** As if what stands in the files stood in the environment, where the options look for it. */
function takeSecretsFromFiles(): void {
  const { env, errors, warnings } = readSecrets(process.env);
  if (errors.length > 0) throw invalidInput(errors, 'config.invalid');
  for (const warning of warnings) progress(`waylog: ${warning}`);
  for (const name of FROM_FILES) {
    if (env[name] !== undefined) process.env[name] = env[name];
    // Set and empty is as good as gone, and what is read twice would be given twice.
    process.env[`${name}_FILE`] = '';
  }
}

/** Wrong usage ends with 2, in every command. */
function endWithUsageCode(command: Command): void {
  command.showHelpAfterError('(add --help for more)').exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2);
  });
  command.commands.forEach(endWithUsageCode);
}
