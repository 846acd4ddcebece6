import type { EventMetadata, NewEvent } from '../event-store.js';

/**
 * The metadata as the log keeps it: what is the same as the event's id (commandId) or as the command's
 * (correlationId, causationId) is left out, which is most of it for most events: a quarter of what is written.
 */
export function encodeMetadata({ id, metadata }: NewEvent): string {
  const { commandId, correlationId, causationId, ...rest } = metadata;
  const recorded: Record<string, unknown> = rest;
  if (commandId !== id) recorded['commandId'] = commandId;
  if (correlationId !== commandId) recorded['correlationId'] = correlationId;
  if (causationId !== commandId) recorded['causationId'] = causationId;
  return JSON.stringify(recorded);
}

/** The metadata whole again. */
export function decodeMetadata(id: string, text: string): EventMetadata {
  const metadata = JSON.parse(text) as Record<string, unknown>;
  const commandId = (metadata['commandId'] ??= id);
  metadata['correlationId'] ??= commandId;
  metadata['causationId'] ??= commandId;
  return metadata as EventMetadata;
}
