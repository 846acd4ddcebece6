import { conflict, type WaylogError } from '#lib/platform';

/** Others have deleted events of a stream from the log: the rest of it does not say what happened. */
export const cutShort = (streamId: string, revision = 0): WaylogError =>
  conflict(
    'log.stream-cut-short',
    `Stream ${streamId} has lost its events from revision ${revision} on, by a deletion or a limit such as $maxCount or ` +
      `$maxAge in EventStoreDB. The tables may hold them still. Nothing was recorded. Take the limit off, and bring the log back ` +
      `from a backup.`,
    { streamId, revision },
  );
