import { existsSync } from 'node:fs';
import { dirname, join, parse } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installation, messageOf } from '#lib/platform';
import type { Context } from '#lib/waylog';

const NAMES = ['waylog.config.js', 'waylog.config.mjs', 'waylog.config.cjs'];

/** Of an application that has installed Waylog: the command line works for it, and not for a checkout. */
export const isInstalled = (): boolean => /[\\/]node_modules[\\/]/.test(installation().root);

/** The folder of the application, or of the checkout: what is started for it, such as a database, is kept there. */
export function projectFolder(): string {
  if (!isInstalled()) return installation().root;
  const here = process.cwd();
  return dirname(fileAbove(here, ['package.json']) ?? join(parse(here).root, 'package.json'));
}

/**
 * Finds the application in whose folder the command line was called: the `waylog.config.js` there, or above it, says which
 * contexts it has. Without one the command line knows the flight alone. Ends the process if the file cannot be used.
 */
export async function useApplication(folder: string): Promise<void> {
  if (isInstalled()) process.env['WAYLOG_TYPED'] ??= 'npx waylog';
  const file = fileAbove(folder, NAMES);
  if (file === undefined) return;
  try {
    const { workWith } = await import('../../contexts.js');
    workWith(declaredBy(await import(pathToFileURL(file).href)));
  } catch (error) {
    console.error(`waylog: ${file} cannot be used: ${messageOf(error)}`);
    process.exit(1);
  }
}

/** The first file of these names in a folder, or else in the nearest one above it. */
export function fileAbove(folder: string, names: readonly string[]): string | undefined {
  const found = names.map((name) => join(folder, name)).find((path) => existsSync(path));
  const above = dirname(folder);
  return found ?? (above === folder ? undefined : fileAbove(above, names));
}

/** What the module of a configuration declares. Throws an error that says what is wrong with it. */
export function declaredBy(module: unknown): readonly Context[] {
  const { default: found } = module as { readonly default?: { readonly contexts?: unknown } };
  const contexts = found?.contexts;
  if (!Array.isArray(contexts) || contexts.length === 0)
    throw new Error('it has no contexts. It must say: export default { contexts: [...] };');
  const foreign = contexts.findIndex((one: unknown) => !isContext(one));
  if (foreign >= 0)
    throw new Error(
      `number ${foreign + 1} of its contexts is none. Make each with context(...) of 'waylog'.`,
    );
  return contexts as readonly Context[];
}

const isContext = (one: unknown): boolean => {
  const { name, streams, vocabulary } = (one ?? {}) as Partial<Context>;
  return typeof name === 'string' && Array.isArray(streams) && typeof vocabulary === 'object';
};
