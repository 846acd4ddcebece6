import { createHash } from 'node:crypto';

/** A row of log.events as its hash covers it: every column as text, the times in microseconds since 1970. */
export interface ChainedEvent {
  readonly position: string;
  readonly streamId: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  readonly schemaVersion: string;
  readonly recordedAtUs: string;
  readonly metadata: string;
  readonly data: string;
  /** As it is in the row. */
  readonly hash: Buffer;
}

/** The head of a chain: the last event of a stream. */
export interface Head {
  readonly revision: number;
  readonly hash: Buffer;
}

const sha256 = (...parts: (string | Buffer)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** What the first event of a stream follows; log.genesis returns the same. */
export const genesis = (streamId: string): Head => ({
  revision: -1,
  hash: sha256(`waylog stream ${streamId}`),
});

/** What is hashed of an event beside the hash before it; log.canonical returns the same. */
const canonical = (e: ChainedEvent): string =>
  `${e.position}\n${e.revision}\n${e.id}\n${e.type}\n${e.schemaVersion}\n${e.recordedAtUs}\n${e.metadata}\n${e.data}`;

/** The hash that an event must have at its place. It is computed here and not in the database, which is not trusted. */
export const hashOf = (before: Buffer, event: ChainedEvent): Buffer => sha256(before, canonical(event));

/**
 * A hash over the rows of a stream as they are, valid or not; it identifies a known break. It continues from that of
 * the row before.
 */
export const asFound = (before: Buffer, event: ChainedEvent): Buffer =>
  sha256(before, event.hash, canonical(event));

/** Whether an event is what was recorded right after a hash. */
export const follows = (before: Buffer, event: ChainedEvent): boolean =>
  hashOf(before, event).equals(event.hash);
