import shared from '@eventstore/db-client/generated/shared_pb.js';
import status from '@eventstore/db-client/generated/status_pb.js';
import pb from '@eventstore/db-client/generated/streams_pb.js';
import type {
  AppendReq,
  AppendResp,
  BatchAppendReq,
  BatchAppendResp,
  ReadResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import type { Expected, Proposed, StoredEvent } from './log.js';

/** A stream's name from bytes, as the protocol carries it. */
export const nameOf = (identifier: { getStreamName_asU8(): Uint8Array } | undefined): string =>
  Buffer.from(identifier?.getStreamName_asU8() ?? []).toString('utf8');

export function expectedOf(options: AppendReq.Options): Expected {
  if (options.hasNoStream()) return 'no-stream';
  if (options.hasStreamExists()) return 'stream-exists';
  if (options.hasAny()) return 'any';
  return BigInt(options.getRevision());
}

export function batchExpectedOf(options: BatchAppendReq.Options): Expected {
  if (options.hasNoStream()) return 'no-stream';
  if (options.hasStreamExists()) return 'stream-exists';
  if (options.hasAny()) return 'any';
  return BigInt(options.getStreamPosition());
}

export function proposedOf(message: AppendReq.ProposedMessage | BatchAppendReq.ProposedMessage): Proposed {
  return {
    id: message.getId()?.getString() ?? '',
    type: message.getMetadataMap().get('type') ?? '',
    contentType: message.getMetadataMap().get('content-type') ?? '',
    data: message.getData_asU8(),
    metadata: message.getCustomMetadata_asU8(),
  };
}

export function recorded({ revision, commit, prepare }: StoredEvent): AppendResp {
  const position = new pb.AppendResp.Position()
    .setCommitPosition(String(commit))
    .setPreparePosition(String(prepare));
  return new pb.AppendResp().setSuccess(
    new pb.AppendResp.Success().setCurrentRevision(String(revision)).setPosition(position),
  );
}

export function wrongVersion(current: number, expected: Expected): AppendResp {
  const wrong = new pb.AppendResp.WrongExpectedVersion();
  if (current < 0) wrong.setCurrentNoStream(new shared.Empty());
  else wrong.setCurrentRevision(String(current));
  if (expected === 'any') wrong.setExpectedAny(new shared.Empty());
  else if (expected === 'no-stream') wrong.setExpectedNoStream(new shared.Empty());
  else if (expected === 'stream-exists') wrong.setExpectedStreamExists(new shared.Empty());
  else wrong.setExpectedRevision(String(expected));
  return new pb.AppendResp().setWrongExpectedVersion(wrong);
}

export function batchRecorded({ revision, commit, prepare }: StoredEvent): BatchAppendResp {
  const position = new shared.AllStreamPosition()
    .setCommitPosition(String(commit))
    .setPreparePosition(String(prepare));
  return new pb.BatchAppendResp().setSuccess(
    new pb.BatchAppendResp.Success().setCurrentRevision(String(revision)).setPosition(position),
  );
}

/** A field of a message: its number, and its bytes. */
const field = (number: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);

/** A field that is a whole number. */
function varint(number: number, value: number): Buffer {
  const bytes = [number << 3];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A refusal is a status with details packed into it. The stubs have no type for these, so they are written by hand. */
function batchError(text: string, name: string, details: { serializeBinary(): Uint8Array }): BatchAppendResp {
  const any = Buffer.concat([
    field(1, Buffer.from(`type.googleapis.com/${name}`)),
    field(2, details.serializeBinary()),
  ]);
  const error = Buffer.concat([field(2, Buffer.from(text)), field(3, any)]);
  return new pb.BatchAppendResp().setError(status.Status.deserializeBinary(error));
}

export const batchBusy = () => batchError('Server Is Busy', 'google.protobuf.Empty', new shared.Empty());

export function batchTooLarge(limit: number): BatchAppendResp {
  const details = new shared.MaximumAppendSizeExceeded().setMaxappendsize(limit);
  return batchError('too large', 'event_store.client.MaximumAppendSizeExceeded', details);
}

/** The client has no stub for the details, which say what the unary append says in words. */
export const batchEventTooLarge = (id: string, size: number, limit: number) =>
  batchError('MaximumAppendEventSizeExceeded', 'event_store.client.MaximumAppendEventSizeExceeded', {
    serializeBinary: () => Buffer.concat([field(1, Buffer.from(id)), varint(2, size), varint(3, limit)]),
  });

export const batchBadRequest = (message: string) =>
  batchError('BadRequest', 'event_store.client.BadRequest', new shared.BadRequest().setMessage(message));

export const batchDeleted = (stream: string) =>
  batchError(
    'deleted',
    'event_store.client.StreamDeleted',
    new shared.StreamDeleted().setStreamIdentifier(
      new shared.StreamIdentifier().setStreamName(Buffer.from(stream)),
    ),
  );

export function batchWrongVersion(current: number): BatchAppendResp {
  const wrong = new shared.WrongExpectedVersion();
  if (current < 0) wrong.setCurrentNoStream(new shared.Empty());
  else wrong.setCurrentStreamRevision(String(current));
  return batchError('WrongExpectedVersion', 'event_store.client.WrongExpectedVersion', wrong);
}

export function eventMessage(event: StoredEvent): ReadResp {
  const message = new pb.ReadResp.ReadEvent.RecordedEvent()
    .setId(new shared.UUID().setString(event.id))
    .setStreamIdentifier(new shared.StreamIdentifier().setStreamName(Buffer.from(event.stream)))
    .setStreamRevision(String(event.revision))
    .setCommitPosition(String(event.commit))
    .setPreparePosition(String(event.prepare))
    .setCustomMetadata(event.metadata)
    .setData(event.data);
  message
    .getMetadataMap()
    .set('type', event.type)
    .set('content-type', event.contentType)
    .set('created', String(event.created));
  const read = new pb.ReadResp.ReadEvent().setEvent(message).setCommitPosition(String(event.commit));
  return new pb.ReadResp().setEvent(read);
}

export const streamNotFound = (stream: string): ReadResp =>
  new pb.ReadResp().setStreamNotFound(
    new pb.ReadResp.StreamNotFound().setStreamIdentifier(
      new shared.StreamIdentifier().setStreamName(Buffer.from(stream)),
    ),
  );

export const confirmation = (id: string): ReadResp =>
  new pb.ReadResp().setConfirmation(new pb.ReadResp.SubscriptionConfirmation().setSubscriptionId(id));

export const caughtUp = (): ReadResp => new pb.ReadResp().setCaughtUp(new pb.ReadResp.CaughtUp());

export const checkpoint = ({ commit, prepare }: Pick<StoredEvent, 'commit' | 'prepare'>): ReadResp =>
  new pb.ReadResp().setCheckpoint(
    new pb.ReadResp.Checkpoint().setCommitPosition(String(commit)).setPreparePosition(String(prepare)),
  );
