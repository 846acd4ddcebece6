import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { JsonObject } from '#lib/event-store';
import { notFound, type Timestamp } from '#lib/platform';
import type { ImageData } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, ImageOfFlight } from '../query-rules.js';
import { flightImagesTable } from './flight-images.projection.js';

/** The data of an image. */
export type ImageView = ImageData;

/** Path and metadata of a frame's image. Throws `image.not-found`. */
export class GetImageMetadata extends Query<ImageView> {
  constructor(
    readonly flightId: string,
    readonly frameId: number,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetImageMetadata)
export class GetImageMetadataHandler implements IQueryHandler<GetImageMetadata> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, frameId, options }: GetImageMetadata): Promise<ImageView> {
    checked(ImageOfFlight, { flightId, frameId, asOf: options.asOf });
    const [row] = await this.reads.ofFlight(flightId, options, (source) =>
      source.select({
        table: flightImagesTable,
        where: { flight_id: flightId, frame_id: frameId },
        orderBy: ['frame_id'],
      }),
    );
    if (!row) {
      throw notFound('image.not-found', `Flight ${flightId} has no image for frame ${frameId}.`, {
        flightId,
        frameId,
      });
    }
    return {
      frameId: row['frame_id'] as number,
      filePath: row['file_path'] as string,
      metadata: row['metadata'] as JsonObject,
      uploadedAt: row['uploaded_at'] as Timestamp,
    };
  }
}

/** The path of a frame's image. Throws `image.not-found`. */
export class GetImagePath extends Query<string> {
  constructor(
    readonly flightId: string,
    readonly frameId: number,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetImagePath)
export class GetImagePathHandler implements IQueryHandler<GetImagePath> {
  constructor(private readonly images: GetImageMetadataHandler) {}

  async execute({ flightId, frameId, options }: GetImagePath): Promise<string> {
    return (await this.images.execute(new GetImageMetadata(flightId, frameId, options))).filePath;
  }
}
