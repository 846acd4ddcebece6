import { Command } from 'commander';
import { routesOf } from '#lib/rest';
import { print } from '../context.js';
import { table } from '../table.js';

const ROLES = ['everybody', 'reader', 'operator', 'admin'];

export function routesCommand(): Command {
  return new Command('routes')
    .description('List who may call what over HTTP: every route with the role that it needs.')
    .addHelpText(
      'after',
      `
A role may do everything that the ones before it may. A route that names none is for admin alone.`,
    )
    .action(async (_options, command: Command) => {
      // The server is only for this command.
      const { apiControllers, operationsControllers } = await import('../../../server/src/controllers.js');
      const routes = routesOf([...operationsControllers, ...apiControllers]).sort(
        (a, b) => ROLES.indexOf(a.role) - ROLES.indexOf(b.role) || (a.path < b.path ? -1 : 1),
      );
      print(
        command,
        { routes },
        table(
          ['ROLE', 'METHOD', 'PATH'],
          routes.map(({ role, method, path }) => [role, method, path]),
        ),
      );
    });
}
