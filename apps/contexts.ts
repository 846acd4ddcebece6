import { flight } from '#lib/flight';
import type { Context } from '#lib/waylog';

/** The domains of the server and of the command line. */
export let contexts: readonly Context[] = [flight];

/** Works with the contexts of another application instead. Before the modules that read them are loaded. */
export const workWith = (others: readonly Context[]): void => {
  contexts = others;
};
