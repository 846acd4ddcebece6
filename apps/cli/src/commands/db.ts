import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Command } from 'commander';
import {
  type Command as Program,
  databaseDown,
  databaseReset,
  databaseStatus,
  databaseUp,
  databaseUsers,
  psqlCommand,
  serverTool,
  toolCommand,
} from '#lib/timescale';
import { databaseOptions, print, progress } from '../context.js';

export function databaseCommand(): Command {
  const db = new Command('db')
    .description('The TimescaleDB of this checkout: up, down, status, psql, run, reset.')
    .addHelpText(
      'after',
      `
Where a database comes from, the first that applies:
  1. DATABASE_URL or --database-url names one
  2. Docker runs here: the service in docker-compose.yml
  3. Debian or a relative: a private server from Debian's packages, without root`,
    );
  db.command('up')
    .description('start the database if it does not run, and print its URL')
    .action(async (_options, command: Command) => {
      const { url, source } = await databaseUp(databaseOptions(command));
      print(command, { url, source }, url);
    });
  db.command('down')
    .description('stop it; the data stays')
    .action(async (_options, command: Command) => {
      const options = databaseOptions(command);
      const users = await databaseUsers(options);
      if (users.length > 0)
        progress(
          `It is in use by ${users.join(', ')}. A Waylog server answers 503 until \`waylog db up\`, and goes on by itself then.`,
        );
      const stopped = await databaseDown(options);
      print(command, { stopped }, stopped ? 'stopped' : 'it was not running');
    });
  db.command('status')
    .description('say whether it runs, where, in which edition and how large it is')
    .action(async (_options, command: Command) => {
      const status = await databaseStatus(databaseOptions(command));
      const lines = Object.entries(status)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `${name.padEnd(12)} ${String(value)}`);
      print(command, status, lines.join('\n'));
    });
  db.command('psql')
    .description('open psql on it')
    .argument('[args...]', 'given to psql, after --')
    .allowUnknownOption()
    .action(async (args: string[], _options, command: Command) => {
      await run(await psqlCommand(databaseOptions(command), args));
    });
  db.command('run')
    .description("run one of PostgreSQL's own programs against it: pg_basebackup, pg_dump, pg_isready, ...")
    .argument('<program>', 'such as pg_dump, pg_basebackup, pgbench')
    .argument('[args...]', 'given to the program, after --')
    .allowUnknownOption()
    .addHelpText(
      'after',
      `
The program is that of the server's own version, and finds host, port, user and password in its environment. With Docker
it runs in the container: paths are the container's.

Example: a base backup, to recover to a point in time (docs/how-to/recover-to-a-point-in-time.md)
  waylog db run pg_basebackup -- --pgdata /backups/base --wal-method=stream --checkpoint=fast`,
    )
    .action(async (tool: string, args: string[], _options, command: Command) => {
      const options = databaseOptions(command);
      const { DATABASE_URL: url } = options.env;
      // A program that is merely in the PATH may be of another version, and refuse the server.
      await run(url ? await serverTool(url, tool, args, options) : await toolCommand(options, tool, args));
    });
  db.command('reset')
    .description('delete ALL data of the private or Docker database and start an empty one')
    .requiredOption('--yes', 'yes, delete it')
    .action(async (_options, command: Command) => {
      const { url, source } = await databaseReset(databaseOptions(command));
      print(command, { url, source }, url);
    });
  return db;
}

async function run({ program, args, env }: Program): Promise<void> {
  const [code] = (await once(spawn(program, args, { stdio: 'inherit', env }), 'exit')) as [number | null];
  process.exitCode = code ?? 1;
}
