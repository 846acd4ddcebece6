import { IsInt, Matches, Min } from 'class-validator';
import { Label, Nested } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { FrameNumber } from '../fields.js';
import { existing, same } from '../flight.js';

/** A file that is stored. */
export class StoredContent {
  @Matches(/^[0-9a-f]{64}$/) readonly sha256!: string;
  @IsInt() @Min(1) readonly size!: number;
  @Label(100) readonly type!: string;
}

/**
 * Records that the content of a frame's image is a file that was put before. Only what puts the file sends it: nobody else
 * knows whether it is there.
 */
export class StoreImageContent extends FlightCommand {
  @FrameNumber() readonly frameId!: number;
  @Nested(() => StoredContent) readonly content!: StoredContent;

  constructor(
    fields: {
      readonly flightId: string;
      readonly frameId: number;
      readonly content: StoredContent;
    } & CommandOptions,
  ) {
    super(fields);
  }
}

/** Where the server gives the content of an image. */
export const contentPathOf = (flightId: string, frameId: number): string =>
  `/v1/flights/${encodeURIComponent(flightId)}/images/${frameId}/content`;

/** An image of which nothing was known gets a path that leads to its content. The same content again is no news. */
export const storeImageContent = {
  isInternal: true,
  ...slice(StoreImageContent, ({ flightId, frameId, content: { sha256, size, type } }, flight, { at }) => {
    const { images, contents } = existing(flight, flightId);
    const data = { frameId, sha256, size, type, storedAt: at };
    if (same(contents.get(frameId), data, 'storedAt')) return [];
    const image = { frameId, filePath: contentPathOf(flightId, frameId), metadata: {}, uploadedAt: at };
    return [
      ...(images.has(frameId) ? [] : [{ type: 'ImageMetadataSaved' as const, data: image }]),
      { type: 'ImageContentStored' as const, data },
    ];
  }),
};
