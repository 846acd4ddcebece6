import { conflict, IsId } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import type { RouteChunk } from '../events.js';
import { existing } from '../flight.js';
import { chunkNotFound } from './delete-chunk.js';
import { MAX_FRAMES_OF_CHUNK } from './save-chunk-state.js';

/** Merges a route chunk into another one of the same flight; the source no longer exists afterwards. */
export class MergeChunk extends FlightCommand {
  /** The source. */
  @IsId() readonly chunkId!: string;
  /** The target, which gains the frames. */
  @IsId() readonly into!: string;

  constructor(
    fields: { readonly flightId: string; readonly chunkId: string; readonly into: string } & CommandOptions,
  ) {
    super(fields);
  }
}

export const mergeChunk = slice(MergeChunk, ({ flightId, chunkId, into }, flight, { at }) => {
  const { chunks } = existing(flight, flightId);
  if (chunkId === into) {
    throw conflict(
      'chunk.merge-into-itself',
      `Chunk ${chunkId} cannot be merged into itself. Name another target.`,
      {
        flightId,
        chunkId,
      },
    );
  }
  const source = chunks.get(chunkId);
  const target = chunks.get(into);
  if (!source) throw chunkNotFound(flightId, chunkId);
  if (!target) throw chunkNotFound(flightId, into);
  const whole = merged(source, target);
  if (whole.frames.length > MAX_FRAMES_OF_CHUNK) {
    throw conflict(
      'chunk.too-many-frames',
      `Chunks ${chunkId} and ${into} have ${whole.frames.length} frames together, and a chunk may have ${MAX_FRAMES_OF_CHUNK}. ` +
        `Leave them apart.`,
      { flightId, chunkId, into },
    );
  }
  return [{ type: 'ChunkMerged', data: { chunkId, into: { ...whole, updatedAt: at } } }];
});

/** The target with the frames of both, in order. It keeps its anchor, or gets the source's if it has none. */
function merged(source: RouteChunk, target: RouteChunk): RouteChunk {
  const anchored = target.hasAnchor || !source.hasAnchor ? target : source;
  return {
    ...target,
    frames: [...new Set([...target.frames, ...source.frames])].sort((a, b) => a - b),
    startFrameId: Math.min(target.startFrameId, source.startFrameId),
    // An open end stays open.
    endFrameId:
      target.endFrameId === null || source.endFrameId === null
        ? null
        : Math.max(target.endFrameId, source.endFrameId),
    isActive: target.isActive || source.isActive,
    hasAnchor: anchored.hasAnchor,
    anchorFrameId: anchored.anchorFrameId,
    anchorGps: anchored.anchorGps,
    matchingStatus: anchored.matchingStatus,
  };
}
