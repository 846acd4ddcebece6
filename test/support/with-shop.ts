import { replaceContexts } from './replace-contexts.js';

// Loaded before a program (`node --import`): it has the flight and the shop of the tests.
replaceContexts(new URL('./flight-and-shop.js', import.meta.url));
