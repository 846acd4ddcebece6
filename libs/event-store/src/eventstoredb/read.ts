import {
  BACKWARDS,
  END,
  FORWARDS,
  START,
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
import type { Node } from './node.js';
import { BEGINNING, comparePositions, parsePosition } from './position.js';

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

/** All events of the server after a position (exclusive) in their order, system events and others' too. */
export async function readAllPage(
  connection: Connection,
  after: Position,
  limit: number,
): Promise<AllStreamResolvedEvent[]> {
  const position = parsePosition(after);
  // The server begins with the event at the position, if there is one.
  const options: ReadAllOptions = {
    fromPosition: after === BEGINNING ? START : position,
    maxCount: after === BEGINNING ? limit : limit + 1,
    direction: FORWARDS,
    credentials: connection.credentials,
    requiresLeader: true,
  };
  const found = await readAll(connection, options);
  const [first] = found;
  const isRepeat =
    after !== BEGINNING &&
    first?.event?.position.commit === position.commit &&
    first.event.position.prepare === position.prepare;
  return isRepeat ? found.slice(1) : found.slice(0, limit);
}

/** The last events of the server, the newest first, before a position (exclusive). */
export function readAllBackwards(
  connection: Connection,
  before: Position | undefined,
  limit: number,
): Promise<AllStreamResolvedEvent[]> {
  const options: ReadAllOptions = {
    fromPosition: before === undefined ? END : parsePosition(before),
    maxCount: limit,
    direction: BACKWARDS,
    credentials: connection.credentials,
    requiresLeader: true,
  };
  return readAll(connection, options);
}

/** Whether a node has an event at a position; with an id, that very one. */
export async function isThere(
  node: Node,
  { position, id }: { readonly position: Position; readonly id?: string | undefined },
  { credentials, attemptMs }: Pick<Connection, 'credentials' | 'attemptMs'>,
): Promise<boolean> {
  const wanted = parsePosition(position);
  const read = node.readAll({
    fromPosition: wanted,
    maxCount: 1,
    direction: FORWARDS,
    credentials,
    requiresLeader: true,
  });
  try {
    const [found] = await collect<AllStreamResolvedEvent>(read, attemptMs);
    const there = found?.event;
    return (
      there !== undefined &&
      comparePositions(there.position, wanted) === 0 &&
      (id === undefined || there.id.toLowerCase() === id.toLowerCase())
    );
  } catch (error) {
    // Where another event's bytes are, or none.
    if (isNoPosition(error)) return false;
    throw error;
  }
}

const readAll = (connection: Connection, options: ReadAllOptions): Promise<AllStreamResolvedEvent[]> =>
  connection.call((node, deadline) => collect<AllStreamResolvedEvent>(node.readAll(options), deadline));

/**
 * A whole answer. The client's reads wait for ever on a server that has gone silent, so whenever nothing comes for
 * `deadlineMs` the call is cancelled.
 */
function collect<E>(read: StreamingRead<E>, deadlineMs: number): Promise<E[]> {
  return new Promise((resolve, reject) => {
    const events: E[] = [];
    const silence = setTimeout(() => {
      reject(new NoAnswer(deadlineMs));
      // Also when it is not connected yet: it is cancelled as soon as it is.
      read.cancel().catch(() => undefined);
    }, deadlineMs);
    read.on('data', (event: E) => {
      silence.refresh();
      events.push(event);
    });
    read.once('end', () => {
      clearTimeout(silence);
      resolve(events);
    });
    read.on('error', (error) => {
      clearTimeout(silence);
      reject(error);
    });
  });
}
