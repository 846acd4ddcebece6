import { Example, IsJsonObject, IsTimestamp, Nested, Optional, parseTimestamp, Label } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { FrameNumber } from '../fields.js';
import { existing, same } from '../flight.js';

/** The path of a frame's image, and what is known of the file. */
@Example<ImageMetadata>({
  frameId: 0,
  filePath: '/images/fjord-1/0.jpg',
  metadata: { width: 6000, height: 4000 },
})
export class ImageMetadata {
  @FrameNumber() readonly frameId!: number;
  @Label(500) readonly filePath!: string;
  /** Original name, width, height, size and the like; default: empty. */
  @Optional() @IsJsonObject() readonly metadata?: object | null | undefined;
  /** Kept if given; otherwise the time at which the image was saved. */
  @Optional() @IsTimestamp() readonly uploadedAt?: string | null | undefined;
}

export class SaveImageMetadata extends FlightCommand {
  @Nested(() => ImageMetadata) readonly image!: ImageMetadata;

  constructor(fields: { readonly flightId: string; readonly image: ImageMetadata } & CommandOptions) {
    super(fields);
  }
}

export const saveImageMetadata = slice(SaveImageMetadata, ({ flightId, image }, flight, { at }) => {
  const known = existing(flight, flightId).images.get(image.frameId);
  const data = {
    frameId: image.frameId,
    filePath: image.filePath,
    metadata: { ...image.metadata },
    uploadedAt: (image.uploadedAt && parseTimestamp(image.uploadedAt)) ?? at,
  };
  const isRepeat = image.uploadedAt ? same(known, data) : same(known, data, 'uploadedAt');
  return isRepeat ? [] : [{ type: 'ImageMetadataSaved', data }];
});
