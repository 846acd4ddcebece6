import {
  ANY,
  END,
  NO_STREAM,
  STREAM_EXISTS,
  WrongExpectedVersionError,
  type AppendExpectedRevision,
  type AppendToStreamOptions,
} from '@eventstore/db-client';
import { conflict, unavailable, WaylogError } from '#lib/platform';
import { cutShort } from '../cut-short.js';
import type { AppendOutcome, AppendRequest, ExpectedRevision, Position } from '../event-store.js';
import type { Placed } from './append-call.js';
import { explained, isTransient } from './calls.js';
import { decodeEvent, encodeEvent, forClient, type Decoded, type EncodedEvent } from './codec.js';
import type { Connection } from './connection.js';
import type { Node } from './node.js';
import { comparePositions, parsePosition, positionOf } from './position.js';
import { readStreamPage } from './read.js';

/** How far back a repeat is looked for where no revision is expected. */
const LOOK_BACK = 1_024;

/** An append of up to so many bytes goes over the call that all small ones share; a larger one would hold them up. */
const SMALL_BYTES = 512 * 1024;

interface Hooks {
  /** Asked before each attempt; throws where nothing is to be recorded any more. */
  readonly mayGoOn: (request: AppendRequest) => void;
  /** The newest event that was seen before: what is not behind it was recorded earlier. */
  readonly newest: Position | undefined;
}

/** A request on its way. */
interface Sending {
  readonly request: AppendRequest;
  readonly appendId: string;
  readonly events: readonly EncodedEvent[];
  readonly isSmall: boolean;
  outcome?: Sent | { readonly failed: unknown };
}

/**
 * Records requests, each whole or not at all, and has an answer when it is due. Where all of them are small and expect a
 * revision, or no stream, they are recorded in their order; otherwise those of each stream are. After a failure that leaves it open whether events were recorded, what has no
 * answer is sent again, in the same order, with the same ids and the same expectation, which the server answers as the first time.
 */
export async function appendAll(
  connection: Connection,
  requests: readonly AppendRequest[],
  due: number,
  hooks: Hooks,
): Promise<PromiseSettledResult<AppendOutcome>[]> {
  const all = requests.map(prepare);
  const outcomes = new Map<Sending, PromiseSettledResult<AppendOutcome>>();
  for (const round of all.every(keepsPlace) ? [all] : rounds(all)) {
    const settled = await appendRound(connection, round, due, hooks);
    for (const [i, sending] of round.entries())
      outcomes.set(sending, settled[i] as PromiseSettledResult<AppendOutcome>);
  }
  return all.map((sending) => outcomes.get(sending) as PromiseSettledResult<AppendOutcome>);
}

/** Whether it goes over the shared call, and nothing is looked up before. */
const keepsPlace = ({ isSmall, request: { expectedRevision } }: Sending): boolean =>
  isSmall && (typeof expectedRevision === 'number' || expectedRevision === 'no-stream');

/** Each stream once in a round. */
function rounds(all: readonly Sending[]): Sending[][] {
  const rounds: Sending[][] = [];
  const asked = new Map<string, number>();
  for (const sending of all) {
    const { streamId } = sending.request;
    const round = asked.get(streamId) ?? 0;
    asked.set(streamId, round + 1);
    (rounds[round] ??= []).push(sending);
  }
  return rounds;
}

async function appendRound(
  connection: Connection,
  all: readonly Sending[],
  due: number,
  hooks: Hooks,
): Promise<PromiseSettledResult<AppendOutcome>[]> {
  // Before anything is sent: what is looked up for one must not hold it up behind others.
  const fresh = all.filter(({ request }) => request.expectedRevision === 'no-stream');
  await Promise.all(
    fresh.map(async (sending) => {
      try {
        await refuseDeleted(connection, sending.request.streamId, due);
      } catch (error) {
        sending.outcome = { failed: error };
      }
    }),
  );
  const failed = await connection
    .call((node, deadline) => attempt(connection, node, deadline, all, due, hooks), due)
    .catch((error: unknown) => error);
  return Promise.allSettled(
    all.map(async (sending) => {
      const { outcome = { failed } } = sending;
      if ('failed' in outcome) throw explained(outcome.failed, connection.deadlineMs);
      return settle(connection, sending, outcome, due, hooks.newest);
    }),
  );
}

function prepare(request: AppendRequest): Sending {
  const appendId = crypto.randomUUID();
  const events = request.events.map((event) => encodeEvent(event, appendId));
  // UTF-16 units, of which one is up to three bytes: near enough.
  const size = events.reduce((sum, { data, metadata }) => sum + data.length + metadata.length, 0);
  return { request, appendId, events, isSmall: size <= SMALL_BYTES };
}

/** Sends what has no answer yet. @throws the first failure that may be gone a moment later, when all others have their answers */
async function attempt(
  connection: Connection,
  node: Node,
  deadline: number,
  all: readonly Sending[],
  due: number,
  { mayGoOn }: Hooks,
): Promise<void> {
  const failures = new Map<Sending, unknown>();
  const open = all.filter(({ outcome }) => outcome === undefined);
  await Promise.all(
    open.map(async (sending) => {
      try {
        mayGoOn(sending.request);
        sending.outcome = await sendOnce(connection, node, deadline, sending, due);
      } catch (error) {
        if (isTransient(error)) failures.set(sending, error);
        else sending.outcome = { failed: error };
      }
    }),
  );
  const [failure] = failures.values();
  if (failures.size === 0) return;
  // What came behind one that failed, in the same stream, may have been refused for that alone.
  const streams = new Set([...failures.keys()].map(({ request }) => request.streamId));
  for (const sending of open) {
    const { outcome, request } = sending;
    if (outcome && 'accepted' in outcome && !outcome.accepted && streams.has(request.streamId))
      delete sending.outcome;
  }
  throw failure;
}

type Sent =
  | AppendOutcome
  | {
      readonly firstRevision: number;
      /** Of the last event. */
      readonly position: Position | undefined;
    };

async function sendOnce(
  connection: Connection,
  node: Node,
  deadline: number,
  sending: Sending,
  due: number,
): Promise<Sent> {
  const { streamId, expectedRevision } = sending.request;
  // The server knows what it recorded at a revision for good, but elsewhere only as long as it runs.
  const isOpen = expectedRevision === 'any' || expectedRevision === 'stream-exists';
  const earlier = isOpen && (await findRepeat(connection, sending.request, sending.appendId, due));
  if (earlier) return earlier;
  const { events } = sending;
  try {
    const placed = sending.isSmall
      ? await node.append({ streamId, expectedRevision, events, deadlineMs: deadline })
      : await sendLarge(node, sending, {
          expectedRevision: expectationOf(expectedRevision),
          // Without them the client would put it into a stream that all appends of the process share.
          credentials: connection.credentials,
          deadline,
          requiresLeader: true,
        });
    return {
      firstRevision: placed.revision - events.length + 1,
      position: placed.position && positionOf(placed.position),
    };
  } catch (error) {
    if (!(error instanceof WrongExpectedVersionError)) throw error;
    const current = error.actualVersion;
    return { accepted: false, currentRevision: typeof current === 'bigint' ? Number(current) : -1 };
  }
}

async function sendLarge(
  node: Node,
  { request, events }: Sending,
  options: AppendToStreamOptions,
): Promise<Placed> {
  const answer = await node.appendToStream(request.streamId, events.map(forClient), options);
  return { revision: Number(answer.nextExpectedRevision), position: answer.position };
}

/** What there is to be read for the answer. */
async function settle(
  connection: Connection,
  { request, appendId }: Sending,
  sent: Sent,
  due: number,
  newest: Position | undefined,
): Promise<AppendOutcome> {
  if ('accepted' in sent) {
    if (!sent.accepted) await refuseForeign(connection, request.streamId, due);
    return sent;
  }
  const { firstRevision, position } = sent;
  // The server says where the last event is, and no more: a lone one needs no second call, which would cost as much again.
  if (position === undefined || request.events.length > 1)
    return readBack(connection, request, firstRevision, appendId, due);
  const repeated =
    newest !== undefined && comparePositions(parsePosition(position), parsePosition(newest)) <= 0;
  return { accepted: true, firstRevision, positions: [position], repeated };
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
