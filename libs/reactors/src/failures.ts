import { messageOf, shortened, WaylogError } from '#lib/platform';

/** The wait after a failed attempt doubles from a second up to this. */
export const MAX_WAIT_SECONDS = 600;

/** With the waits between them: 34 minutes. */
export const DEFAULT_ATTEMPTS = 12;

/** When to try again after so many failed attempts, in seconds; undefined if that is for an operator to decide. */
export const waitSeconds = (
  failedAttempts: number,
  {
    attempts,
    maxWaitSeconds = MAX_WAIT_SECONDS,
  }: { readonly attempts: number; readonly maxWaitSeconds?: number },
): number | undefined =>
  failedAttempts >= attempts ? undefined : Math.min(maxWaitSeconds, 2 ** (failedAttempts - 1));

/**
 * Whether something that everything needs does not answer: then nothing is at fault, and all wait. An event that cannot
 * be read concerns itself alone.
 */
export const isOutage = (error: unknown): boolean =>
  error instanceof WaylogError &&
  (error.kind === 'unavailable' || error.kind === 'too-many') &&
  error.code !== 'event.unreadable';

/** A failure that trying again cannot mend: what has it is parked at once. */
export class Hopeless extends Error {}

const MAX_TEXT = 2_000;

/** What was thrown, as a text that the database can keep: anything can be thrown, and quote anything. */
export function failureText(error: unknown): string {
  let text: unknown;
  try {
    text = messageOf(error);
  } catch {
    // An object that has no text.
  }
  if (typeof text !== 'string' || text === '') return 'It failed without saying why.';
  // NUL, and halves of surrogate pairs.
  return shortened(text.replaceAll(/\0|\p{Cs}/gu, '\ufffd'), MAX_TEXT);
}
