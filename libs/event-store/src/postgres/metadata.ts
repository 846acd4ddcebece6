import type { EventMetadata, NewEvent } from '../event-store.js';

/**
 * The metadata as the log stores it. Values equal to the event's id (commandId) or to the command's (correlationId,
 * causationId) are left out, which is most of it for most events: a quarter of what is written.
 */
export function encodeMetadata({ id, metadata }: NewEvent): string {
  const { commandId, correlationId, causationId, ...rest } = metadata;
  const recorded: Record<string, unknown> = rest;
  if (commandId !== id) recorded['commandId'] = commandId;
  if (correlationId !== commandId) recorded['correlationId'] = correlationId;
  if (causationId !== commandId) recorded['causationId'] = causationId;
  return JSON.stringify(recorded);
}

/** Restores the complete metadata. */
export function decodeMetadata(id: string, text: string): EventMetadata {
  const metadata = JSON.parse(text) as Record<string, unknown>;
  const commandId = (metadata['commandId'] ??= id);
  metadata['correlationId'] ??= commandId;
  metadata['causationId'] ??= commandId;
  return metadata as EventMetadata;
}
