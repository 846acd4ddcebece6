import { replaceContexts } from './replace-contexts.js';

// Loaded before a program (`node --import`): it has the flight and the toy context of the tests.
replaceContexts(new URL('./both-contexts.js', import.meta.url));
