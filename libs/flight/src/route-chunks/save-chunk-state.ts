import { ArrayMaxSize, IsArray, IsInt, Max, Min } from 'class-validator';
import { Example, conflict, IsId, Nested, Optional, Label } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { Flag, FrameNumber } from '../fields.js';
import { existing, same } from '../flight.js';
import { GpsPoint } from '../gps-point.js';

/** Each change of a route chunk records all of them. */
export const MAX_FRAMES_OF_CHUNK = 20_000;

/**
 * A route chunk: consecutive frames whose relative motion is known, floating until an anchor pins it to the ground. It
 * has nothing to do with the chunks of a hypertable.
 */
@Example<ChunkHandle>({
  chunkId: 'c1',
  startFrameId: 0,
  frames: [0, 1, 2],
  isActive: true,
  hasAnchor: false,
  matchingStatus: 'unanchored',
})
export class ChunkHandle {
  @IsId() readonly chunkId!: string;
  @FrameNumber() readonly startFrameId!: number;
  @Optional() @FrameNumber() readonly endFrameId?: number | null | undefined;
  @IsArray()
  @IsInt({ each: true })
  @Min(0, { each: true })
  @Max(2_147_483_647, { each: true })
  @ArrayMaxSize(MAX_FRAMES_OF_CHUNK)
  readonly frames!: readonly number[];
  /** True while frames are still being added. */
  @Flag() readonly isActive!: boolean;
  @Flag() readonly hasAnchor!: boolean;
  /** The frame whose position is known; the flight must have its image. */
  @Optional() @FrameNumber() readonly anchorFrameId?: number | null | undefined;
  @Optional() @Nested(() => GpsPoint) readonly anchorGps?: GpsPoint | null | undefined;
  /** The state of the search for an anchor, such as `unanchored`, `matching` or `anchored`. */
  @Label(50) readonly matchingStatus!: string;
}

export class SaveChunkState extends FlightCommand {
  @Nested(() => ChunkHandle) readonly chunk!: ChunkHandle;

  constructor(fields: { readonly flightId: string; readonly chunk: ChunkHandle } & CommandOptions) {
    super(fields);
  }
}

export const saveChunkState = slice(SaveChunkState, ({ flightId, chunk }, flight, { at }) => {
  const { chunks, images } = existing(flight, flightId);
  const anchorFrameId = chunk.anchorFrameId ?? null;
  if (anchorFrameId !== null && !images.has(anchorFrameId)) {
    throw conflict(
      'chunk.anchor-unknown-frame',
      `Chunk ${chunk.chunkId} is anchored at frame ${anchorFrameId}, but flight ${flightId} has no image of that ` +
        `frame. Save the image metadata of the frame first.`,
      { flightId, chunkId: chunk.chunkId, anchorFrameId },
    );
  }
  const before = chunks.get(chunk.chunkId);
  const data = {
    chunkId: chunk.chunkId,
    startFrameId: chunk.startFrameId,
    endFrameId: chunk.endFrameId ?? null,
    frames: [...chunk.frames],
    isActive: chunk.isActive,
    hasAnchor: chunk.hasAnchor,
    anchorFrameId,
    anchorGps: chunk.anchorGps ? { lat: chunk.anchorGps.lat, lon: chunk.anchorGps.lon } : null,
    matchingStatus: chunk.matchingStatus,
    createdAt: before?.createdAt ?? at,
    updatedAt: at,
  };
  return same(before, data, 'updatedAt') ? [] : [{ type: 'ChunkStateSaved', data }];
});
