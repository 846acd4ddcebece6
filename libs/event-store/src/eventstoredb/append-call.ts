import type { ClientDuplexStream } from '@grpc/grpc-js';
import { unpackToCommandError } from '@eventstore/db-client/dist/streams/appendToStream/unpackError.js';
import { convertToCommandError } from '@eventstore/db-client/dist/utils/CommandError.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { BatchAppendReq, BatchAppendResp } from '@eventstore/db-client/generated/streams_pb.js';
import type { ExpectedRevision } from '../event-store.js';
import { BadRequest, EventTooLarge, NoAnswer } from './calls.js';
import type { EncodedEvent } from './codec.js';

const { BatchAppendReq: Request } = streams;
const { BadRequest: Details, Empty, StreamIdentifier, UUID } = shared;

export type AppendStream = ClientDuplexStream<BatchAppendReq, BatchAppendResp>;

export interface OneAppend {
  readonly streamId: string;
  readonly expectedRevision: ExpectedRevision;
  readonly events: readonly EncodedEvent[];
  readonly deadlineMs: number;
}

/** Where the server has put the last event. */
export interface Placed {
  readonly revision: number;
  readonly position: { readonly commit: bigint; readonly prepare: bigint } | undefined;
}

interface Waiting {
  readonly streamId: string;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (placed: Placed) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * All small appends to a node go over one call, which costs a third of a call for each, and the server takes them in the order in
 * which they were sent. The client's own way of doing so is not used: there the failure of one client is that of all others,
 * nothing ends the wait for an answer, and clocks that differ refuse what they send.
 *
 * Each append has its own limit. When the call ends, those without an answer fail as with a lost connection, and may have
 * been recorded; the next one begins a call anew.
 */
export class AppendCall {
  #stream: AppendStream | undefined;
  readonly #waiting = new Map<string, Waiting>();

  constructor(private readonly open: () => AppendStream) {}

  /**
   * @throws WrongExpectedVersionError; StreamDeletedError; AccessDeniedError; MaxAppendSizeExceededError; EventTooLarge; BadRequest;
   * and what may be gone a moment later, with which it is not known whether the events were recorded
   */
  send({ streamId, expectedRevision, events, deadlineMs }: OneAppend): Promise<Placed> {
    const stream = (this.#stream ??= this.#begin());
    const id = crypto.randomUUID();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#take(id)?.reject(new NoAnswer(Math.ceil(deadlineMs))), deadlineMs);
      this.#waiting.set(id, { streamId, timer, resolve, reject });
      stream.write(requestOf(id, streamId, expectedRevision, events));
    });
  }

  close(): void {
    this.#stream?.cancel();
  }

  #begin(): AppendStream {
    const stream = this.open();
    const end = (error: Error) => {
      if (this.#stream !== stream) return;
      this.#stream = undefined;
      for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
    };
    stream.on('data', (answer: BatchAppendResp) => this.#answered(answer));
    stream.on('error', (error) => end(convertToCommandError(error)));
    stream.on('end', () => end(failure(CANCELLED, 'the server has ended the call')));
    return stream;
  }

  #take(id: string): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (!waiting) return undefined;
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    return waiting;
  }

  #answered(answer: BatchAppendResp): void {
    // Of one that came too late nobody hears.
    const waiting = this.#take(answer.getCorrelationId()?.getString() ?? '');
    if (!waiting) return;
    const error = answer.getError();
    if (error) {
      waiting.reject(failureOf(error, waiting.streamId));
      return;
    }
    const success = answer.getSuccess();
    const position = success?.getPosition();
    waiting.resolve({
      revision: Number(success?.getCurrentRevision()),
      position: position && {
        commit: BigInt(position.getCommitPosition()),
        prepare: BigInt(position.getPreparePosition()),
      },
    });
  }
}

function requestOf(
  id: string,
  streamId: string,
  expectedRevision: ExpectedRevision,
  events: readonly EncodedEvent[],
): BatchAppendReq {
  const options = new Request.Options().setStreamIdentifier(
    new StreamIdentifier().setStreamName(Buffer.from(streamId)),
  );
  // Without a deadline: the protocol has a moment for it, by two clocks.
  if (expectedRevision === 'no-stream') options.setNoStream(new Empty());
  else if (expectedRevision === 'stream-exists') options.setStreamExists(new Empty());
  else if (expectedRevision === 'any') options.setAny(new Empty());
  else options.setStreamPosition(String(expectedRevision));
  return new Request()
    .setCorrelationId(new UUID().setString(id))
    .setOptions(options)
    .setProposedMessagesList(events.map(messageOf))
    .setIsFinal(true);
}

function messageOf({ id, type, data, metadata }: EncodedEvent): BatchAppendReq.ProposedMessage {
  const message = new Request.ProposedMessage()
    .setId(new UUID().setString(id))
    .setData(Buffer.from(data))
    .setCustomMetadata(Buffer.from(metadata));
  message.getMetadataMap().set('type', type).set('content-type', 'application/json');
  return message;
}

/** gRPC's codes for what may be gone a moment later. */
const CANCELLED = 1;
const UNKNOWN = 2;

const failure = (code: number, message: string): Error => Object.assign(new Error(message), { code });

/**
 * What the server answers to one append. A refusal is what it has understood and says no to, as often as it is asked. All else - too
 * busy, not ready, no leader, its own time is over, a fault of its own - is for a moment.
 */
function failureOf(status: Status, streamId: string): Error {
  const details = status.getDetails();
  const name = details?.getTypeName();
  switch (name) {
    case 'event_store.client.WrongExpectedVersion':
    case 'event_store.client.StreamDeleted':
    case 'event_store.client.AccessDenied':
    case 'event_store.client.MaximumAppendSizeExceeded':
      return unpackToCommandError(status, streamId);
    // The client knows neither of these two.
    case 'event_store.client.MaximumAppendEventSizeExceeded':
      return new EventTooLarge(status.getMessage());
    case 'event_store.client.BadRequest':
      return new BadRequest(
        details?.unpack((bytes) => Details.deserializeBinary(bytes), name)?.getMessage() ||
          status.getMessage(),
      );
    default:
      return failure(UNKNOWN, status.getMessage());
  }
}
