import { ConsoleLogger } from '@nestjs/common';
import { visible } from '#lib/platform';

/** Nest's messages about its start (a line per route) hide what an operator looks for. */
const startUpChatter = new Set([
  'InstanceLoader',
  'RouterExplorer',
  'RoutesResolver',
  'NestFactory',
  'NestApplication',
]);

export class ServerLogger extends ConsoleLogger {
  /** Ids and names can come from anyone, and the log may be read on a terminal. */
  protected override resolveMessage(message: unknown): unknown {
    const said: unknown = super.resolveMessage(message);
    return typeof said === 'string' ? visible(said) : said;
  }

  override log(message: unknown, ...rest: unknown[]): void {
    if (!startUpChatter.has(String(rest.at(-1)))) super.log(message, ...(rest as [string]));
  }
}
