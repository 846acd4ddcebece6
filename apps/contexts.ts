import { flight } from '#lib/flight';
import type { Context } from '#lib/waylog';

/** The domains of the server and of the command line. */
export const contexts: readonly Context[] = [flight];
