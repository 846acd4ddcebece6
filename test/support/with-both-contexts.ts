import { register } from 'node:module';

// Loaded before a program (`node --import`): it has the flight and the toy context of the tests.

const both = new URL('./both-contexts.js', import.meta.url).href;
const hooks = `export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.endsWith('/dist/apps/contexts.js') ? { ...found, url: ${JSON.stringify(both)} } : found;
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
