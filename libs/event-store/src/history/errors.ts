import { conflict, unavailable, WaylogError } from '#lib/platform';
import type { Position } from '../event-store.js';

const NEW_HISTORY = 'log.new-history';

/** For code that decides on what it read before: the log has moved to another place since, or went back. */
export const newHistory = () =>
  unavailable(
    NEW_HISTORY,
    'The log is in another place than a moment ago, as after a fail-over, or it was put back. It is not known whether anything ' +
      'was recorded; send the command again with the same command id.',
  );

export const isNewHistory = (error: unknown): boolean =>
  error instanceof WaylogError && error.code === NEW_HISTORY;

export const positionLost = (position: Position, kept: Position, resumesAfter: Position) =>
  conflict(
    'position.lost',
    `The event at position ${position} is gone: the log went back to position ${kept}, and goes on after ${resumesAfter}. What ` +
      `was answered with that position was lost with it. Send the command again with its command id, and read from ${kept} on.`,
    { position, kept, resumesAfter },
  );

export const otherLog = () =>
  unavailable(
    'log.other',
    'Where the log was is another one now: it has not even its first event. Nothing was recorded. See that EVENT_STORE leads to the ' +
      'right servers, and that they have their own files.',
  );
