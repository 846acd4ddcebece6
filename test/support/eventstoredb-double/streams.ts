import type {
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import pb from '@eventstore/db-client/generated/streams_pb.js';
import type {
  AppendReq,
  AppendResp,
  BatchAppendReq,
  BatchAppendResp,
  DeleteReq,
  DeleteResp,
  ReadReq,
  ReadResp,
  TombstoneReq,
  TombstoneResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import {
  appendTooLarge,
  eventTooLarge,
  goneAway,
  invalidPosition,
  invalidSubscription,
  notAllowed,
  notLeader,
  serverBusy,
  shuttingDown,
  streamDeleted,
  unauthenticated,
} from './errors.js';
import type { AnyCall, Faults } from './faults.js';
import { filterOf } from './filter.js';
import type { DoubleLog, Proposed, StoredEvent } from './log.js';
import * as messages from './messages.js';

export interface StreamsOptions {
  readonly log: DoubleLog;
  readonly faults: Faults;
  /** User names and their passwords; without it every caller can do everything. */
  readonly users?: Readonly<Record<string, string>>;
  /** No user can read `$all`; by default only administrators can. */
  readonly guardsAll: boolean;
  /** In bytes, as the server's MaxAppendSize. */
  readonly maxAppendSize: number;
  /** In bytes, as the server's MaxAppendEventSize. */
  readonly maxAppendEventSize: number;
  /** As before version 22.6: an event that is read from its stream has no position. */
  readonly hidesPositions: boolean;
  readonly calls: Record<
    'append' | 'batched' | 'read' | 'subscribe' | 'sent' | 'checkpoints' | 'events',
    number
  >;
}

const NO_POSITION = 2n ** 64n - 1n;

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

const sizeOf = ({ data, metadata, type }: Proposed): number =>
  data.length + metadata.length + Buffer.byteLength(type);

/** The service `Streams` of the protocol, as far as Waylog and its tests use it. */
export function streamsService(options: StreamsOptions): UntypedServiceImplementation {
  const { log, faults, users, guardsAll, maxAppendSize, maxAppendEventSize, hidesPositions, calls } = options;

  /** Why the call is refused before anything else. */
  function refusal(call: AnyCall) {
    if (faults.takeBusy()) return serverBusy();
    if (users) {
      const [header = ''] = call.metadata.get('authorization').map(String);
      const login = Buffer.from(header.replace(/^Basic /, ''), 'base64').toString();
      if (!Object.entries(users).some(([user, password]) => login === `${user}:${password}`)) {
        return unauthenticated();
      }
    }
    const needsLeader = call.metadata.get('requires-leader').map(String).includes('true');
    return needsLeader && faults.leader ? notLeader(faults.leader) : undefined;
  }

  function append(call: ServerReadableStream<AppendReq, AppendResp>, answer: sendUnaryData<AppendResp>) {
    calls.append++;
    const refused = refusal(call);
    if (refused) {
      answer(refused);
      return;
    }
    if (faults.isStalled('append')) return void call.resume();
    let header: AppendReq.Options | undefined;
    const proposed: Proposed[] = [];
    call.on('data', (request: AppendReq) => {
      header ??= request.getOptions();
      const message = request.getProposedMessage();
      if (message) proposed.push(messages.proposedOf(message));
    });
    // The stream of a call that its deadline cuts off ends first, and is cancelled a moment later.
    call.on('end', () => setImmediate(record));
    const record = () => {
      // A partial append does not count.
      if (call.cancelled) return;
      if (!header) {
        answer(goneAway());
        return;
      }
      const large = proposed.find((event) => sizeOf(event) > maxAppendEventSize);
      if (large) {
        answer(eventTooLarge(large.id, sizeOf(large), maxAppendEventSize));
        return;
      }
      const size = proposed.reduce((sum, event) => sum + sizeOf(event), 0);
      if (size > maxAppendSize) {
        answer(appendTooLarge(maxAppendSize));
        return;
      }
      const stream = messages.nameOf(header.getStreamIdentifier());
      const expected = messages.expectedOf(header);
      const outcome = log.append(stream, expected, proposed);
      const lost = faults.takeLost();
      if (lost === 'silent') return;
      if (lost === 'refused') answer(goneAway());
      else if (outcome.kind === 'tombstoned') answer(streamDeleted(stream));
      else if (outcome.kind === 'recorded') answer(null, messages.recorded(outcome.last));
      else answer(null, messages.wrongVersion(outcome.current, expected));
    };
  }

  /** Many appends over one call, each with its own answer; a failure of the call applies to all without an answer. */
  function batchAppend(call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>) {
    const refused = users && refusal(call);
    if (refused) return void call.emit('error', refused);
    call.on('data', (request: BatchAppendReq) => {
      calls.append++;
      calls.batched++;
      if (faults.isStalled('append')) return;
      const options = request.getOptions();
      const answer = (response: BatchAppendResp) =>
        call.write(response.setCorrelationId(request.getCorrelationId()));
      if (!options || !request.getIsFinal()) return;
      if (faults.takeBusy()) return void answer(messages.batchBusy());
      // The server ends the whole call because of it.
      if (faults.leader) return void call.emit('error', notLeader(faults.leader));
      const stream = messages.nameOf(options.getStreamIdentifier());
      const proposed = request.getProposedMessagesList().map(messages.proposedOf);
      if (!proposed.every(({ id }) => UUID.test(id)))
        return void answer(messages.batchBadRequest('Unrecognized Guid format.'));
      const large = proposed.find((event) => sizeOf(event) > maxAppendEventSize);
      if (large) return void answer(messages.batchEventTooLarge(large.id, sizeOf(large), maxAppendEventSize));
      const size = proposed.reduce((sum, event) => sum + sizeOf(event), 0);
      if (size > maxAppendSize) return void answer(messages.batchTooLarge(maxAppendSize));
      const outcome = log.append(stream, messages.batchExpectedOf(options), proposed);
      const lost = faults.takeLost();
      if (lost === 'silent') return;
      if (lost === 'refused') call.emit('error', goneAway());
      else if (outcome.kind === 'tombstoned') answer(messages.batchDeleted(stream));
      else if (outcome.kind === 'recorded') answer(messages.batchRecorded(outcome.last));
      else answer(messages.batchWrongVersion(outcome.current));
    });
    call.on('end', () => call.end());
  }

  async function read(call: ServerWritableStream<ReadReq, ReadResp>): Promise<void> {
    const request = call.request.getOptions() as ReadReq.Options;
    calls[request.hasSubscription() ? 'subscribe' : 'read']++;
    const refused = refusal(call);
    if (refused) return void call.emit('error', refused);
    if (faults.isStalled('read')) return;
    if (guardsAll && request.hasAll()) return void call.emit('error', notAllowed());
    const isNowhere = isInvalid(request);
    if (request.hasSubscription()) {
      return isNowhere ? void call.emit('error', invalidSubscription()) : subscribe(call, request);
    }
    if (isNowhere) return void call.emit('error', invalidPosition(request.hasFilter()));
    const isBackwards = request.getReadDirection() === pb.ReadReq.Options.ReadDirection.BACKWARDS;
    const count = Number(request.getCount());
    const stream = request.getStream();
    let found: readonly StoredEvent[];
    if (stream) {
      const name = messages.nameOf(stream.getStreamIdentifier());
      const events = log.stream(name);
      if (events === 'tombstoned') return void call.emit('error', streamDeleted(name));
      if (!events) {
        call.write(messages.streamNotFound(name));
        return void call.end();
      }
      const from = stream.hasEnd() ? Infinity : stream.hasStart() ? 0 : Number(stream.getRevision());
      found = isBackwards
        ? events.filter(({ revision }) => revision <= from).reverse()
        : events.filter(({ revision }) => revision >= from);
    } else {
      const { matches } = filterOf(request);
      const at = startIndex(request);
      const events = isBackwards ? log.all.slice(0, at).reverse() : log.all.slice(at);
      found = events.filter(matches);
    }
    if (stream && hidesPositions) {
      found = found.map((event) => ({ ...event, commit: NO_POSITION, prepare: NO_POSITION }));
    }
    if (!stream && request.hasFilter()) await faults.looksMayEnd;
    for (const event of found.slice(0, count)) {
      if (!(await send(call, messages.eventMessage(event)))) return;
      calls.events++;
    }
    call.end();
  }

  /**
   * Up to its end the log can be read only from the position of an event, or from its beginning; beyond it any position
   * is valid.
   */
  function isInvalid(request: ReadReq.Options): boolean {
    const position = request.getAll()?.getPosition();
    if (!position) return false;
    const commit = BigInt(position.getCommitPosition());
    const last = log.all.at(-1);
    if (commit === 0n || !last || commit > last.commit || log.isScavenged(commit)) return false;
    return !log.all.some((event) => event.commit === commit);
  }

  /** Inclusive forwards, exclusive backwards. */
  function startIndex(request: ReadReq.Options): number {
    const all = request.getAll();
    if (all?.hasEnd()) return log.all.length;
    const position = all?.getPosition();
    if (!position) return 0;
    return log.indexAt(BigInt(position.getCommitPosition()), BigInt(position.getPreparePosition()));
  }

  /** From a position (exclusive) up to the end, then whatever is appended. */
  async function subscribe(call: ServerWritableStream<ReadReq, ReadResp>, request: ReadReq.Options) {
    const filter = filterOf(request);
    const { mutings } = faults;
    const position = request.getAll()?.getPosition();
    const after = position && {
      commit: BigInt(position.getCommitPosition()),
      prepare: BigInt(position.getPreparePosition()),
    };
    let wake: () => void = () => undefined;
    let closed: 'clean' | 'cancelled' | 'by client' | undefined;
    // The compiler does not know that it changes during the wait.
    const isOver = () => closed !== undefined;
    const close = (how: typeof closed) => {
      closed ??= how;
      wake();
    };
    const ends = [log.onAppend(() => wake()), faults.onClose(close)];
    call.on('cancelled', () => close('by client'));
    call.on('close', () => close('by client'));
    try {
      await send(call, messages.confirmation(crypto.randomUUID()));
      let next = startIndex(request);
      let isCaughtUp = false;
      let sent = after ?? BEFORE_ALL;
      for (let looked = 0; !closed;) {
        const event = faults.mutings === mutings ? log.all[next] : undefined;
        if (!event) {
          if (!isCaughtUp) {
            // The server does so with a filter only.
            if (request.hasFilter()) await send(call, messages.checkpoint(sent));
            await send(call, messages.caughtUp());
          }
          isCaughtUp = true;
          if ((log.all[next] && faults.mutings === mutings) || isOver()) continue;
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        next++;
        if (after && event.commit === after.commit && event.prepare === after.prepare) continue;
        // A position beyond the end of the log is valid too: events before it are not sent.
        if (
          after &&
          (event.commit < after.commit || (event.commit === after.commit && event.prepare < after.prepare))
        )
          continue;
        if (filter.matches(event)) {
          await send(call, messages.eventMessage(event));
          calls.sent++;
          sent = event;
        }
        if (++looked % filter.checkpointEvery === 0) {
          await send(call, messages.checkpoint(event));
          calls.checkpoints++;
          sent = event;
        }
      }
    } finally {
      for (const end of ends) end();
    }
    if (closed === 'clean') call.end();
    else if (closed === 'cancelled') call.emit('error', shuttingDown());
  }

  return {
    append,
    batchAppend,
    read: (call: ServerWritableStream<ReadReq, ReadResp>) => {
      read(call).catch((error: unknown) => call.emit('error', error));
    },
    delete: (call: ServerUnaryCall<DeleteReq, DeleteResp>, answer: sendUnaryData<DeleteResp>) => {
      log.delete(messages.nameOf(call.request.getOptions()?.getStreamIdentifier()));
      answer(null, new pb.DeleteResp());
    },
    tombstone: (call: ServerUnaryCall<TombstoneReq, TombstoneResp>, answer: sendUnaryData<TombstoneResp>) => {
      log.tombstone(messages.nameOf(call.request.getOptions()?.getStreamIdentifier()));
      answer(null, new pb.TombstoneResp());
    },
  };
}

/** What the server calls the place before all events, in a checkpoint: -1, in a field without a sign. */
const BEFORE_ALL = { commit: 2n ** 64n - 1n, prepare: 2n ** 64n - 1n };

/** Writes a message and waits if the client is slow; false when the call is over. */
async function send(call: ServerWritableStream<ReadReq, ReadResp>, message: ReadResp): Promise<boolean> {
  if (call.cancelled) return false;
  if (!call.write(message)) {
    await new Promise<void>((resolve) => {
      const done = () => {
        call.off('drain', done);
        call.off('cancelled', done);
        call.off('close', done);
        resolve();
      };
      call.once('drain', done);
      call.once('cancelled', done);
      call.once('close', done);
    });
  }
  return !call.cancelled;
}
