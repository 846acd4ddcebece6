import shared from '@eventstore/db-client/generated/shared_pb.js';
import pb from '@eventstore/db-client/generated/streams_pb.js';
import type { AppendReq, AppendResp, ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
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

export function proposedOf(message: AppendReq.ProposedMessage): Proposed {
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

export const checkpoint = ({ commit, prepare }: StoredEvent): ReadResp =>
  new pb.ReadResp().setCheckpoint(
    new pb.ReadResp.Checkpoint().setCommitPosition(String(commit)).setPreparePosition(String(prepare)),
  );
