import { jsonEvent, type JSONEventData, type ResolvedEvent } from '@eventstore/db-client';
import { messageOf, unavailable, WaylogError, type Writable } from '#lib/platform';
import type { EventMetadata, JsonObject, NewEvent, RecordedEvent } from '../event-store.js';
import { positionOf } from './position.js';

/** What the metadata of a recorded event holds beside our own: `appendId` names the call that recorded it. */
interface Envelope {
  readonly schemaVersion: number;
  readonly appendId: string;
}

/** A recorded event, and the append that recorded it. */
export interface Decoded {
  readonly event: RecordedEvent;
  readonly appendId: string;
}

/** An event as the server keeps it: data and metadata are JSON. */
export interface EncodedEvent {
  readonly id: string;
  readonly type: string;
  readonly data: string;
  readonly metadata: string;
}

/** @throws WaylogError `append.invalid` for what is no JSON */
export function encodeEvent(event: NewEvent, appendId: string): EncodedEvent {
  const { id, type, schemaVersion, metadata } = event;
  for (const reserved of ['schemaVersion', 'appendId']) {
    if (metadata[reserved] !== undefined) {
      throw new WaylogError(
        'append.invalid',
        'invalid',
        `The metadata of event ${id} (${type}) have ${reserved}, which EventStoreDB's adapter keeps for itself.`,
      );
    }
  }
  try {
    const data = JSON.stringify(event.data);
    return { id, type, data, metadata: JSON.stringify({ ...metadata, schemaVersion, appendId }) };
  } catch (error) {
    throw new WaylogError(
      'append.invalid',
      'invalid',
      `Event ${id} (${type}) is no JSON: ${messageOf(error)}.`,
    );
  }
}

/** The same for the client, which encodes by itself. */
export const forClient = ({ id, type, data, metadata }: EncodedEvent): JSONEventData =>
  jsonEvent({ id, type, data: JSON.parse(data) as JsonObject, metadata: JSON.parse(metadata) as JsonObject });

/** The event as the port knows it; undefined for the server's own events and those of other applications. */
export function decodeEvent({ event }: ResolvedEvent): Decoded | undefined {
  if (!event?.isJson || event.streamId.startsWith('$') || event.type.startsWith('$')) return undefined;
  const { schemaVersion, appendId, ...metadata } = (event.metadata ?? {}) as Partial<Envelope> & JsonObject;
  if (!Number.isSafeInteger(schemaVersion) || typeof appendId !== 'string') return undefined;
  if (!event.position || event.position.commit >= NO_POSITION) throw positionMissing();
  const decoded: Writable<RecordedEvent> = {
    position: positionOf(event.position),
    streamId: event.streamId,
    revision: Number(event.revision),
    id: event.id,
    type: event.type,
    schemaVersion: schemaVersion as number,
    recordedAt: event.created.toISOString(),
    data: event.data as JsonObject,
    metadata: metadata as EventMetadata,
  };
  return { event: decoded, appendId };
}

/** What servers before 22.6 put where they do not say the position. */
const NO_POSITION = 2n ** 63n;

const positionMissing = () =>
  unavailable(
    'log.server-too-old',
    'This EventStoreDB does not tell the position of an event that is read from its stream. Waylog needs version 22.6 or newer.',
  );
