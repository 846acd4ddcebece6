import { replaceContexts } from './replace-contexts.js';

// Loaded before a program (`node --import`): one of its contexts does not start.
replaceContexts(new URL('./failing-context.js', import.meta.url));
