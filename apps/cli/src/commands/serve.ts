import { Command, Option } from 'commander';
import { databaseUp } from '#lib/timescale';
import { databaseOptions, eventStoreOf } from '../context.js';

interface ServeOptions {
  readonly port?: string;
  readonly demo?: boolean;
}

export function serveCommand(): Command {
  return new Command('serve')
    .description('Start the HTTP server: the routes of all contexts, on loopback by default.')
    .addOption(new Option('--port <port>', 'where to listen; 0 takes a free port').env('PORT'))
    .option('--demo', 'begin with the demo data of the contexts')
    .addHelpText(
      'after',
      `
Migrate the database first: waylog migrate. Everything else is set in the environment: docs/reference/configuration.md.
On SIGTERM, or Ctrl-C, it stops after the last answer.`,
    )
    .action(async ({ port, demo }: ServeOptions, command: Command) => {
      const { url } = await databaseUp(databaseOptions(command));
      const eventStore = eventStoreOf(command);
      Object.assign(process.env, {
        DATABASE_URL: url,
        ...(eventStore !== undefined && { EVENT_STORE: eventStore }),
        ...(port !== undefined && { PORT: port }),
        ...(demo && { WAYLOG_DEMO: '1' }),
      });
      // In this process, so that signals reach the server directly.
      await import('../../../server/src/main.js');
    });
}
