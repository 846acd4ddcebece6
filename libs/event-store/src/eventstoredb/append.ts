import {
  ANY,
  END,
  NO_STREAM,
  STREAM_EXISTS,
  WrongExpectedVersionError,
  type AppendExpectedRevision,
  type AppendToStreamOptions,
  type JSONEventData,
} from '@eventstore/db-client';
import { conflict, unavailable, WaylogError } from '#lib/platform';
import { cutShort } from '../cut-short.js';
import type { AppendOutcome, AppendRequest, ExpectedRevision, Position } from '../event-store.js';
import { decodeEvent, encodeEvent, type Decoded } from './codec.js';
import type { Connection } from './connection.js';
import type { Node } from './node.js';
import { comparePositions, parsePosition, positionOf } from './position.js';
import { readStreamPage } from './read.js';

/** How far back a repeat is looked for where no revision is expected. */
const LOOK_BACK = 1_024;

/**
 * Records one request, whole or not at all, and has an answer when it is due. After a failure that leaves it open whether the
 * events were recorded they are sent again with the same ids and the same expectation, which the server answers as the first
 * time.
 */
export async function append(
  connection: Connection,
  request: AppendRequest,
  due: number,
  {
    mayGoOn,
    newest,
  }: {
    /** Asked before each attempt; throws where nothing is to be recorded any more. */
    readonly mayGoOn: () => void;
    /** The newest event that was seen before: what is not behind it was recorded earlier. */
    readonly newest: Position | undefined;
  },
): Promise<AppendOutcome> {
  const { streamId, expectedRevision } = request;
  const appendId = crypto.randomUUID();
  const events = request.events.map((event) => encodeEvent(event, appendId));
  // The server knows what it recorded at a revision for good, but elsewhere only as long as it runs.
  const isOpen = expectedRevision === 'any' || expectedRevision === 'stream-exists';
  if (expectedRevision === 'no-stream') await refuseDeleted(connection, streamId, due);
  const sent = await connection.call(async (node, deadline): Promise<Sent> => {
    mayGoOn();
    const earlier = isOpen && (await findRepeat(connection, request, appendId, due));
    if (earlier) return earlier;
    return await send(node, streamId, events, {
      expectedRevision: expectationOf(expectedRevision),
      // Without them the client would put it into a stream that all appends of the process share.
      credentials: connection.credentials,
      deadline,
      requiresLeader: true,
    });
  }, due);
  if ('accepted' in sent) {
    if (!sent.accepted) await refuseForeign(connection, streamId, due);
    return sent;
  }
  const { firstRevision, position } = sent;
  // The server says where the last event is, and no more: a lone one needs no second call, which would cost as much again.
  if (position === undefined || events.length > 1)
    return readBack(connection, request, firstRevision, appendId, due);
  const repeated =
    newest !== undefined && comparePositions(parsePosition(position), parsePosition(newest)) <= 0;
  return { accepted: true, firstRevision, positions: [position], repeated };
}

type Sent =
  | AppendOutcome
  | {
      readonly firstRevision: number;
      /** Of the last event. */
      readonly position: Position | undefined;
    };

async function send(
  node: Node,
  streamId: string,
  events: JSONEventData[],
  options: AppendToStreamOptions,
): Promise<Sent> {
  try {
    const { nextExpectedRevision, position } = await node.appendToStream(streamId, events, options);
    return {
      firstRevision: Number(nextExpectedRevision) - events.length + 1,
      position: position && positionOf(position),
    };
  } catch (error) {
    if (!(error instanceof WrongExpectedVersionError)) throw error;
    const current = error.actualVersion;
    return { accepted: false, currentRevision: typeof current === 'bigint' ? Number(current) : -1 };
  }
}

/**
 * What the server does not say in its answer: the position of each event, and whether it was this call that recorded them
 * (its `appendId` is in their metadata) or an earlier one with the same ids.
 */
async function readBack(
  connection: Connection,
  { streamId, events }: AppendRequest,
  firstRevision: number,
  appendId: string,
  due: number,
): Promise<AppendOutcome> {
  const page = { from: BigInt(firstRevision), limit: events.length };
  const found = (await readStreamPage(connection, streamId, page, due)).map(decodeEvent);
  if (!isThese(found, events)) {
    throw unavailable(
      'database.unavailable',
      `EventStoreDB accepted ${events.length} events at revision ${firstRevision} of ${streamId}, but does not show them ` +
        `there. They may have been recorded: send the command again with the same command id.`,
      { streamId, firstRevision },
    );
  }
  return {
    accepted: true,
    firstRevision,
    positions: found.map(({ event }) => event.position),
    repeated: found[0]?.appendId !== appendId,
  };
}

/** The outcome of an earlier append of the same events, by this call or another one. */
async function findRepeat(
  connection: Connection,
  { streamId, events }: AppendRequest,
  appendId: string,
  due: number,
): Promise<AppendOutcome | undefined> {
  const page = { from: END, limit: LOOK_BACK, backwards: true } as const;
  const tail = (await readStreamPage(connection, streamId, page, due)).reverse().map(decodeEvent);
  const at = tail.findIndex((decoded) => decoded?.event.id === events[0]?.id.toLowerCase());
  const found = at < 0 ? [] : tail.slice(at, at + events.length);
  const [first] = found;
  if (!first || !isThese(found, events)) return undefined;
  return {
    accepted: true,
    firstRevision: first.event.revision,
    positions: found.map(({ event }) => event.position),
    repeated: first.appendId !== appendId,
  };
}

/**
 * A stream that somebody has deleted takes events again, and goes on with its revisions: what was in it is in the tables still.
 * @throws WaylogError `log.stream-cut-short`
 */
async function refuseDeleted(connection: Connection, streamId: string, due: number): Promise<void> {
  const page = { from: END, limit: 1, backwards: true } as const;
  const [metadata] = await readStreamPage(connection, `$$${streamId}`, page, due).catch((error: unknown) => {
    // Then it is not known, and the user need not be allowed to look.
    if (error instanceof WaylogError && error.code === 'log.access-denied') return [];
    throw error;
  });
  const { $tb: begin } = (metadata?.event?.data ?? {}) as { readonly $tb?: number };
  if (begin !== undefined && begin > 0) throw cutShort(streamId);
}

/**
 * Somebody's event at the end of a stream is at the revision of our next one, whatever we expect.
 * @throws WaylogError `log.foreign-event`
 */
async function refuseForeign(connection: Connection, streamId: string, due: number): Promise<void> {
  const page = { from: END, limit: 1, backwards: true } as const;
  const [last] = await readStreamPage(connection, streamId, page, due);
  if (!last?.event || decodeEvent(last)) return;
  throw foreignEvent(streamId, Number(last.event.revision), last.event.type);
}

const foreignEvent = (streamId: string, revision: number, type: string) =>
  conflict(
    'log.foreign-event',
    `Revision ${revision} of ${streamId} in EventStoreDB is no event of Waylog (${type}): another application has written to the ` +
      `stream, which can no longer be appended to. Nothing was recorded. Keep that application away from Waylog's streams; ` +
      '`waylog log copy` takes the log without its event to another store.',
    { streamId, revision, type },
  );

const isThese = (
  found: readonly (Decoded | undefined)[],
  events: AppendRequest['events'],
): found is Decoded[] =>
  found.length === events.length && events.every(({ id }, i) => found[i]?.event.id === id.toLowerCase());

function expectationOf(expected: ExpectedRevision): AppendExpectedRevision {
  switch (expected) {
    case 'no-stream':
      return NO_STREAM;
    case 'stream-exists':
      return STREAM_EXISTS;
    case 'any':
      return ANY;
    default:
      return BigInt(expected);
  }
}
