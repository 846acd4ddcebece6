import {
  BACKWARDS,
  END,
  FORWARDS,
  StreamNotFoundError,
  type AllStreamResolvedEvent,
  type ReadAllOptions,
  type ReadRevision,
  type ReadStreamOptions,
  type ResolvedEvent,
  type StreamingRead,
} from '@eventstore/db-client';
import type { Position } from '../event-store.js';
import { isNoPosition, NoAnswer } from './calls.js';
import type { Connection } from './connection.js';
import type { FilteredPage } from './filter.js';
import type { Node } from './node.js';
import { comparePositions, parsePosition, positionOf } from './position.js';

interface StreamPage {
  readonly from: ReadRevision;
  readonly limit: number;
  readonly backwards?: boolean;
}

/** Events of a stream from a revision (inclusive), at most `limit`; none for a stream that does not exist. */
export function readStreamPage(
  connection: Connection,
  streamId: string,
  { from, limit, backwards = false }: StreamPage,
  due?: number,
): Promise<ResolvedEvent[]> {
  const options: ReadStreamOptions = {
    fromRevision: from,
    maxCount: limit,
    direction: backwards ? BACKWARDS : FORWARDS,
    credentials: connection.credentials,
    requiresLeader: true,
  };
  return connection.call(async (node, deadline) => {
    try {
      return await collect<ResolvedEvent>(node.readStream(streamId, options), deadline);
    } catch (error) {
      if (error instanceof StreamNotFoundError) return [];
      throw error;
    }
  }, due);
}

/**
 * Events of the server that pass a filter, in the order of the read, up to the one at `until`. The server sends nothing while it
 * looks through events that do not pass, however many they are: when nothing comes, it is asked whether it is still there.
 */
export function readFiltered(
  node: Node,
  page: FilteredPage,
  { credentials }: Pick<Connection, 'credentials'>,
  deadlineMs: number,
  until?: Position,
): Promise<AllStreamResolvedEvent[]> {
  // Both waits together are as long as that of any other read.
  const silenceMs = Math.ceil(deadlineMs / 2);
  return collect<AllStreamResolvedEvent>(node.readFiltered(page, credentials), silenceMs, {
    isLast: ({ event }) => event !== undefined && positionOf(event.position) === until,
    isThere: () => readLast(node, 1, { credentials }, silenceMs),
  });
}

/** The last events of the server, the newest first, system events and others' too. */
export function readLast(
  node: Node,
  count: number,
  { credentials }: Pick<Connection, 'credentials'>,
  deadlineMs: number,
): Promise<AllStreamResolvedEvent[]> {
  const options: ReadAllOptions = {
    fromPosition: END,
    maxCount: count,
    direction: BACKWARDS,
    credentials,
    requiresLeader: true,
  };
  return collect<AllStreamResolvedEvent>(node.readAll(options), deadlineMs);
}

interface Seen {
  readonly position: Position;
  readonly id?: string;
  /** When it was seen, in milliseconds since 1970. */
  readonly at: number;
}

/**
 * Whether a node has the event that was seen at a position; with an id, that very one. An event that a scavenge has taken away
 * counts as there: the log that had it is this one. Then others are behind its place, and what is before it was recorded before
 * it was seen. In a log that went back and has grown beyond the place, what is before it was recorded since.
 */
export async function isThere(
  node: Node,
  { position, id, at }: Seen,
  connection: Pick<Connection, 'credentials' | 'attemptMs'>,
): Promise<boolean> {
  const wanted = parsePosition(position);
  const neighbour = async (direction: typeof FORWARDS | typeof BACKWARDS) => {
    const { credentials, attemptMs } = connection;
    const options = { fromPosition: wanted, maxCount: 1, direction, credentials, requiresLeader: true };
    return (await collect<AllStreamResolvedEvent>(node.readAll(options), attemptMs))[0]?.event;
  };
  try {
    const there = await neighbour(FORWARDS);
    if (!there) return false;
    if (comparePositions(there.position, wanted) === 0)
      return id === undefined || there.id.toLowerCase() === id.toLowerCase();
    const before = await neighbour(BACKWARDS);
    return before !== undefined && before.created.getTime() <= at;
  } catch (error) {
    // Where another event's bytes are, or none.
    if (isNoPosition(error)) return false;
    throw error;
  }
}

/**
 * A whole answer, or what comes of it up to the last that is wanted. The client's reads wait for ever on a server that has gone
 * silent, so whenever nothing comes for `silenceMs` the call is cancelled, unless `isThere` finds that somebody is at work on it.
 */
function collect<E>(
  read: StreamingRead<E>,
  silenceMs: number,
  {
    isLast = () => false,
    isThere = () => Promise.reject(new NoAnswer(silenceMs)),
  }: { readonly isLast?: (event: E) => boolean; readonly isThere?: () => Promise<unknown> } = {},
): Promise<E[]> {
  return new Promise((resolve, reject) => {
    const events: E[] = [];
    let isOver = false;
    const end = (settle: () => void) => {
      isOver = true;
      clearTimeout(silence);
      settle();
    };
    const fail = (error: Error) => end(() => reject(error));
    // Also when it is not connected yet: it is cancelled as soon as it is.
    const cancel = () => void read.cancel().catch(() => undefined);
    const silence = setTimeout(() => {
      isThere()
        .then(() => isOver || silence.refresh(), fail)
        .finally(() => isOver && cancel());
    }, silenceMs);
    read.on('data', (event: E) => {
      silence.refresh();
      events.push(event);
      if (!isLast(event)) return;
      end(() => resolve(events));
      cancel();
    });
    read.once('end', () => end(() => resolve(events)));
    read.on('error', fail);
  });
}
