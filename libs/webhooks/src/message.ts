import {
  categoryOf,
  sensitiveFieldsOf,
  type JsonObject,
  type RecordedEvent,
  type Vocabulary,
} from '#lib/event-store';

/** What a webhook hears: all, or categories (`order`) and types of events (`order.Paid`). */
export type Hears = readonly string[] | undefined;

/** A type of events as webhooks call it: `order.Paid`. */
export const typeOf = ({ streamId, type }: Pick<RecordedEvent, 'streamId' | 'type'>): string =>
  `${categoryOf(streamId) ?? ''}.${type}`;

export const hears = (what: Hears, event: Pick<RecordedEvent, 'streamId' | 'type'>): boolean =>
  what === undefined || what.includes(typeOf(event)) || what.includes(categoryOf(event.streamId) ?? '');

/** Those of the categories that it can hear of. */
export const heardCategories = (what: Hears, all: readonly string[]): readonly string[] =>
  what === undefined ? all : all.filter((category) => what.some((one) => one.split('.')[0] === category));

/** The body of a delivery, in the form that Standard Webhooks recommends. */
export interface WebhookBody {
  /** `order.Paid` */
  readonly type: string;
  /** When the event was recorded. */
  readonly timestamp: string;
  readonly data: JsonObject;
}

/**
 * The body for an event. What its context declares sensitive is left out, unless it is asked for: each such field is what is read
 * in its place after an erasure, because an erasure cannot reach what was sent.
 */
export function bodyOf(
  event: RecordedEvent,
  { vocabulary, withSensitive }: { readonly vocabulary: Vocabulary; readonly withSensitive: boolean },
): WebhookBody {
  const { id, streamId, revision, position, schemaVersion, recordedAt, metadata } = event;
  return {
    type: typeOf(event),
    timestamp: recordedAt,
    data: {
      eventId: id,
      streamId,
      revision,
      position,
      schemaVersion,
      correlationId: metadata.correlationId,
      causationId: metadata.causationId,
      data: withSensitive ? event.data : { ...event.data, ...sensitiveFieldsOf(vocabulary, event) },
    },
  };
}
