import { randomUUID } from 'node:crypto';
import type { EventStore, JsonObject } from '#lib/event-store';
import { aFrame, at } from './samples.js';

/** Frames that no command can record: one that its table refuses, and one that its fold cannot read. */
export const poisonousFrames = {
  refusedByTable: { ...aFrame(666), confidence: 7, updatedAt: at(666) },
  unreadable: { frameId: 667 },
};

/** Appends an event to a stream, as if an older Waylog had written it; returns its revision. */
export async function appendRaw(
  store: EventStore,
  streamId: string,
  type: string,
  data: object,
): Promise<number> {
  const id = randomUUID();
  const event = {
    id,
    type,
    schemaVersion: 1,
    data: data as JsonObject,
    metadata: { commandId: id, command: 'Test', correlationId: id, causationId: id, actor: 'test' },
  };
  const [outcome] = await store.append([{ streamId, expectedRevision: 'any', events: [event] }]);
  if (!outcome?.accepted) throw new Error('The append was refused.');
  return outcome.firstRevision;
}
