import { register } from 'node:module';

/** Programs that start after this have the contexts of that module, in place of those of apps/contexts.ts. */
export function replaceContexts(by: URL): void {
  const hooks = `export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.endsWith('/dist/apps/contexts.js') ? { ...found, url: ${JSON.stringify(by.href)} } : found;
}`;
  register(`data:text/javascript,${encodeURIComponent(hooks)}`);
}
