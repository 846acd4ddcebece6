import { ConsoleLogger } from '@nestjs/common';

/** Nest's messages about its start (a line per route) hide what an operator looks for. */
const startUpChatter = new Set([
  'InstanceLoader',
  'RouterExplorer',
  'RoutesResolver',
  'NestFactory',
  'NestApplication',
]);

export class ServerLogger extends ConsoleLogger {
  override log(message: unknown, ...rest: unknown[]): void {
    if (!startUpChatter.has(String(rest.at(-1)))) super.log(message, ...(rest as [string]));
  }
}
