import { IsOpaqueId, notFound } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { existing } from '../flight.js';

export class DeleteChunk extends FlightCommand {
  @IsOpaqueId() override readonly flightId!: string;
  @IsOpaqueId() readonly chunkId!: string;

  constructor(fields: { readonly flightId: string; readonly chunkId: string } & CommandOptions) {
    super(fields);
  }
}

export const chunkNotFound = (flightId: string, chunkId: string) =>
  notFound('chunk.not-found', `Flight ${flightId} has no route chunk ${chunkId}.`, { flightId, chunkId });

export const deleteChunk = slice(DeleteChunk, ({ flightId, chunkId }, flight) => {
  if (!existing(flight, flightId).chunks.has(chunkId)) throw chunkNotFound(flightId, chunkId);
  return [{ type: 'ChunkDeleted', data: { chunkId } }];
});
