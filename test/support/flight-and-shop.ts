import { flight } from '#lib/flight';
import type { Context } from '#lib/waylog';
import { shop } from './shop-context.js';

/** In place of those of apps/contexts.ts. */
export const contexts: readonly Context[] = [flight, shop];
