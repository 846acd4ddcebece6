import { IsOpaqueId, notFound } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import type { FlightEvent } from '../events.js';
import { FrameNumber } from '../fields.js';
import { existing } from '../flight.js';

/** Removes the image of a frame. Route chunks that are anchored at it lose the reference. */
export class RemoveImage extends FlightCommand {
  @IsOpaqueId() override readonly flightId!: string;
  @FrameNumber() readonly frameId!: number;

  constructor(fields: { readonly flightId: string; readonly frameId: number } & CommandOptions) {
    super(fields);
  }
}

export const removeImage = slice(RemoveImage, ({ flightId, frameId }, flight, { at }) => {
  const { images, chunks } = existing(flight, flightId);
  if (!images.has(frameId)) {
    throw notFound('image.not-found', `Flight ${flightId} has no image for frame ${frameId}.`, {
      flightId,
      frameId,
    });
  }
  const anchored = [...chunks.values()].filter(({ anchorFrameId }) => anchorFrameId === frameId);
  return [
    { type: 'ImageRemoved', data: { frameId } },
    ...anchored.map((chunk): FlightEvent => ({
      type: 'ChunkStateSaved',
      data: { ...chunk, anchorFrameId: null, updatedAt: at },
    })),
  ];
});
