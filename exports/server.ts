// Waylog's HTTP server in a process of your own: `import { startServer } from 'waylog/server'`.
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { readConfig } from '#lib/platform';
import type { Context } from '#lib/waylog';
import { refuseOtherSchema } from '../migrations/index.js';
import { workWith } from '../apps/contexts.js';

export interface ServerOptions {
  /** The domains that it serves. */
  readonly contexts: readonly Context[];
  /** What is set, by the names of docs/reference/configuration.md; default `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Is told the address, and how to call it: for the person who started the server, and not for a log. */
  readonly say?: (text: string) => void;
}

/**
 * A listening server with the routes of these contexts, Waylog's own, and the guards before them; `await app.getUrl()`
 * gives its address, `await app.close()` ends it after the last answer. It handles no signals. A process has one: its
 * contexts are known when its modules are loaded. Throws a WaylogError for what is set wrongly, for a database at another
 * schema, and without any key outside of loopback.
 */
export async function startServer({
  contexts,
  env = process.env,
  say,
}: ServerOptions): Promise<NestFastifyApplication> {
  workWith(contexts);
  const config = readConfig(env, contexts);
  await refuseOtherSchema(config.databaseUrl);
  const server = await import('../apps/server/src/server.js');
  return server.startServer(config, say);
}
