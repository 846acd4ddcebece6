import { messageOf, WaylogError } from '#lib/platform';
import type { JsonObject, RecordedEvent } from './event-store.js';
import { asRecorded, knownEventsOf, type Upcast, type Upcasters, type Vocabulary } from './vocabulary.js';

/**
 * Old events in the current shape. An event from a newer version of the code is an error: this process cannot know what
 * it means, and guessing would write wrong tables.
 *
 * A step that fails affects only its event, not the page it is read with: reading the data of that event throws
 * `event.unreadable`.
 */
export function upcaster(vocabulary: Vocabulary): (event: RecordedEvent) => RecordedEvent {
  if (vocabulary === asRecorded) return (event) => event;
  return (event) => {
    const ofStream = knownEventsOf(vocabulary, event.streamId);
    if (!ofStream) return event;
    const steps = stepsOf(ofStream.upcasters, event.type);
    const current = steps.length + 1;
    if (event.schemaVersion === current) return event;
    if (event.schemaVersion > current) {
      throw new WaylogError(
        'event.newer-than-code',
        'unavailable',
        `Event ${event.type} at revision ${event.revision} of ${event.streamId} has schema version ` +
          `${event.schemaVersion}; this process knows versions up to ${current}. Deploy the newer version of Waylog.`,
      );
    }
    try {
      const data = steps
        .slice(event.schemaVersion - 1)
        .reduce<JsonObject>((old, step) => step(old), event.data);
      return { ...event, data, schemaVersion: current };
    } catch (error) {
      return {
        ...event,
        get data(): JsonObject {
          throw unreadable(event, error);
        },
      };
    }
  };
}

const unreadable = ({ type, schemaVersion, revision, streamId }: RecordedEvent, cause: unknown) =>
  new WaylogError(
    'event.unreadable',
    'unavailable',
    `Event ${type} at revision ${revision} of ${streamId} has schema version ${schemaVersion} and cannot be brought into ` +
      `today's shape: ${messageOf(cause)}. Mend the upcaster of ${type}.`,
    { streamId, revision },
    { cause },
  );

const none: readonly Upcast[] = [];

/** Types also come from files: one could have the name of a property that every object has. */
const stepsOf = (upcasters: Upcasters | undefined, type: string): readonly Upcast[] =>
  (upcasters && Object.hasOwn(upcasters, type) ? upcasters[type] : undefined) ?? none;

/** The version that new events of a type are written in. */
export const schemaVersionOf = (upcasters: Upcasters | undefined, type: string): number =>
  stepsOf(upcasters, type).length + 1;
