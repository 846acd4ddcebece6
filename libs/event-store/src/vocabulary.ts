import { categoryOf } from './category.js';
import type { Json, JsonObject, RecordedEvent } from './event-store.js';

/** Turns the data of one schema version into that of the next. Pure, and it cannot refuse: the event has happened. */
export type Upcast = (data: JsonObject) => JsonObject;

/** Per event type, the steps from version 1 to 2, from 2 to 3, and so on. */
export type Upcasters = Readonly<Record<string, readonly Upcast[]>>;

/** Per event type, the fields that are sealed, each with what is read in its place once the key is gone. */
export type SensitiveFields = Readonly<Record<string, Readonly<Record<string, Json>>>>;

/** Per event type, the files that such an event needs, each by its SHA-256; what is no SHA-256 is passed over. */
export type NeededFiles = Readonly<Record<string, (data: JsonObject) => readonly unknown[]>>;

/** What this code knows of the events of one category of streams. */
export interface KnownEvents {
  readonly upcasters?: Upcasters;
  readonly sensitive?: SensitiveFields;
  /** The types of the events after which a stream has no key any more: an erasure was requested. */
  readonly erasedBy?: readonly string[];
  /**
   * Which files its events need. They are kept for as long as the log has the events, so that the past can be read, too: only
   * an erasure gives them back, so the field that names a file is a sensitive one.
   */
  readonly files?: NeededFiles;
}

/** What is known, by category. Events of other categories are read as they were recorded. */
export type Vocabulary = Readonly<Record<string, KnownEvents>>;

/** For code that moves events without looking into them: each is read as it was written, whatever its version. */
export const asRecorded: Vocabulary = Object.freeze({});

/** What is known of the events of a stream. Streams also come from files: one can be called like a property that every object has. */
export function knownEventsOf(vocabulary: Vocabulary, streamId: string): KnownEvents | undefined {
  const category = categoryOf(streamId);
  return category !== undefined && Object.hasOwn(vocabulary, category) ? vocabulary[category] : undefined;
}

/** The fields of an event that are sealed, with what is read in their place after an erasure; undefined if it has none. */
export function sensitiveFieldsOf(
  vocabulary: Vocabulary,
  { streamId, type }: Pick<RecordedEvent, 'streamId' | 'type'>,
): Readonly<Record<string, Json>> | undefined {
  const sensitive = knownEventsOf(vocabulary, streamId)?.sensitive;
  return sensitive && Object.hasOwn(sensitive, type) ? sensitive[type] : undefined;
}

/** How an event says which files it needs; undefined if it needs none. */
export function filesOf(
  vocabulary: Vocabulary,
  { streamId, type }: Pick<RecordedEvent, 'streamId' | 'type'>,
): ((data: JsonObject) => readonly unknown[]) | undefined {
  const files = knownEventsOf(vocabulary, streamId)?.files;
  return files && Object.hasOwn(files, type) ? files[type] : undefined;
}

/** Whether an event erases its stream. */
export const isErasing = (
  vocabulary: Vocabulary,
  { streamId, type }: Pick<RecordedEvent, 'streamId' | 'type'>,
): boolean => knownEventsOf(vocabulary, streamId)?.erasedBy?.includes(type) ?? false;

/** The types that erase a stream, each with its category: two lists of equal length, for SQL. */
export function erasingTypes(vocabulary: Vocabulary): readonly [categories: string[], types: string[]] {
  const pairs = Object.entries(vocabulary).flatMap(([category, { erasedBy = [] }]) =>
    erasedBy.map((type) => [category, type] as const),
  );
  return [pairs.map(([category]) => category), pairs.map(([, type]) => type)];
}
