import { unauthenticated, unavailable } from '#lib/platform';

/** What was sent is no good. */
export const refused = (why: string) => unauthenticated('access.refused', `${why} Send another one.`);

/** Nothing was sent. */
export const missing = (how: string) => unauthenticated('access.missing', how);

/** Whether what was sent is any good cannot be known now. */
export const cannotBeChecked = (why: string, cause?: unknown) =>
  unavailable(
    'access.unavailable',
    `Who calls cannot be checked now: ${why}. Try again in a moment.`,
    {},
    cause,
  );
