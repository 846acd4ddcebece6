import { Command, Option } from 'commander';
import { asTyped, installation } from '#lib/platform';
import { contexts } from '../../contexts.js';
import { forPeople, operator, print, progress, withWaylog } from './context.js';
import { archiveCommand } from './commands/archive.js';
import { auditCommand } from './commands/audit.js';
import { backupCommand, restoreCommand } from './commands/backup.js';
import { databaseCommand } from './commands/db.js';
import { doctorCommand } from './commands/doctor.js';
import { eraseCommand } from './commands/erase.js';
import { filesCommand } from './commands/files.js';
import { hypertablesCommand } from './commands/hypertables.js';
import { keysCommand } from './commands/keys.js';
import { logCommand } from './commands/log.js';
import { migrateCommand } from './commands/migrate.js';
import { integrityCommand, parkedCommand, projectionsCommand } from './commands/projections.js';
import { reactorsCommand } from './commands/reactors.js';
import { rebuildCommand } from './commands/rebuild.js';
import { rolesCommand } from './commands/roles.js';
import { routesCommand } from './commands/routes.js';
import { schemaCommand } from './commands/schema.js';
import { serveCommand } from './commands/serve.js';
import { verifyCommand } from './commands/verify.js';
import { webhooksCommand } from './commands/webhooks.js';
import { withProgress } from './progress-bar.js';

/** All commands. Nothing runs before it parses arguments. */
export async function makeProgram(
  width = (process.stdout.isTTY && process.stdout.columns) || 80,
): Promise<Command> {
  const ofContexts = await commandsOfContexts();
  const beginnings = contexts
    .flatMap(({ examples }) => examples?.cli ?? [])
    .map((line) => `  ${line}\n`)
    .join('');
  const program = new Command('waylog')
    .description('Keeps data as a log of events, with tables folded from it.')
    .version(installation().version, '--version', 'print the version')
    .addOption(
      new Option(
        '--database-url <url>',
        'the database to work on: a URL without a password, env:NAME or file:PATH; without it the private one of this checkout',
      ).env('DATABASE_URL'),
    )
    .addOption(
      new Option(
        '--event-store <url>',
        'where the log is when it is not in the database: esdb://..., esdb+discover://..., env:NAME or file:PATH',
      ).env('EVENT_STORE'),
    )
    .option('--json', 'print the result as JSON, for programs; progress goes to standard error in every case')
    .addHelpText(
      'after',
      `
Begin with
  waylog db up             start a TimescaleDB for this checkout, without root
  waylog migrate           bring its schema up to date
${beginnings}  waylog doctor            see that all is well, or what to do about it

Connection strings with passwords come from the environment (DATABASE_URL, WAYLOG_PROJECTOR_URL, EVENT_STORE) or from files
(the same names with _FILE), never from the command line, which every user of the machine can read.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a comparison found differences.`,
    );

  const groups: Readonly<Record<string, readonly Command[]>> = {
    'The server:': [serveCommand()],
    'Database and schema:': [databaseCommand(), migrateCommand(), schemaCommand(), rolesCommand()],
    ...ofContexts,
    'The log:': [logCommand(), eraseCommand()],
    'Tables:': [
      projectionsCommand(),
      parkedCommand(),
      rebuildCommand(),
      verifyCommand(),
      integrityCommand(),
      hypertablesCommand(),
    ],
    'What events cause:': [reactorsCommand(), webhooksCommand()],
    'Keeping it safe:': [
      keysCommand(),
      routesCommand(),
      doctorCommand(),
      backupCommand(),
      restoreCommand(),
      archiveCommand(),
      auditCommand(),
      filesCommand(),
    ],
  };
  for (const [heading, commands] of Object.entries(groups)) {
    for (const command of commands) program.addCommand(command.helpGroup(heading));
  }
  const showHelp = (command: Command): void => {
    command.configureOutput({
      getOutHelpWidth: () => width,
      writeOut: (text) => process.stdout.write(asTyped(wrapped(text, width))),
      // What was typed stands in it.
      writeErr: (text) => process.stderr.write(forPeople(text)),
    });
    command.commands.forEach(showHelp);
  };
  showHelp(program);
  return program;
}

/** The commands of the contexts, by the headings under which the help shows them. */
async function commandsOfContexts(): Promise<Record<string, readonly Command[]>> {
  const tools = { withWaylog, print, say: progress, withProgress, operator };
  const groups = contexts.map(async ({ name, cli }) => [
    `${name.charAt(0).toUpperCase()}${name.slice(1)}:`,
    cli ? (await cli()).commands(tools) : [],
  ]);
  return Object.fromEntries(await Promise.all(groups)) as Record<string, readonly Command[]>;
}

/** Help, with its paragraphs in lines of at most `width`. What is indented stays as it is. */
export const wrapped = (text: string, width: number): string =>
  text.replaceAll(/(?:^\S.*\n?)+/gm, (paragraph) =>
    paragraph.split('\n').every((line) => line.length <= width)
      ? paragraph
      : filled(paragraph.trim().split(/\s+/), width).join('\n') + (paragraph.endsWith('\n') ? '\n' : ''),
  );

function filled(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line += (line && ' ') + word;
  }
  return [...lines, line];
}
