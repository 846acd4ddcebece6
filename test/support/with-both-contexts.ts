import { register } from 'node:module';

// Loaded before a program (`node --import`): it has the flight and a context of the tests, the toy one by default, or what the
// file says that WAYLOG_TEST_CONTEXTS names.

const both = new URL(`./${process.env['WAYLOG_TEST_CONTEXTS'] ?? 'both-contexts'}.js`, import.meta.url).href;
const hooks = `export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.endsWith('/dist/apps/contexts.js') ? { ...found, url: ${JSON.stringify(both)} } : found;
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
