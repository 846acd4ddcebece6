import { flight } from '#lib/flight';
import type { Context } from '#lib/waylog';
import { camera } from './toy-context.js';

/** In place of those of apps/contexts.ts. */
export const contexts: readonly Context[] = [flight, camera];
