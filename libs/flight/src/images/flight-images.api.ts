import { Controller, Delete, Get, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { notFound, Optional, type Timestamp } from '#lib/platform';
import {
  Answers,
  anyObject,
  Count,
  Freshness,
  Needs,
  Operation,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import { AsOf, checked, query, type CommandOptions, type ContextPart, type ReadOptions } from '#lib/waylog';
import type { JsonObject } from '#lib/event-store';
import type { ImageData } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { ImageOfFlight } from '../query-rules.js';
import { CommandResult, FlightId } from '../rest.js';
import { removeImage, RemoveImage } from './remove-image.js';
import { ImageMetadata, saveImageMetadata, SaveImageMetadata } from './save-image-metadata.js';
import { flightImages, flightImagesTable } from './flight-images.projection.js';

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
    const [row] = await this.reads.of(flightId, options, (source) =>
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

const StoredImage = shape('StoredImage', () =>
  stored(ImageMetadata, { metadata: anyObject, uploadedAt: time }),
);

const getImageMetadata = query({
  query: GetImageMetadata,
  handler: GetImageMetadataHandler,
  parameters: ImageOfFlight,
  make: ({ flightId, frameId }, options) => new GetImageMetadata(flightId, frameId, options),
});

const getImagePath = query({
  query: GetImagePath,
  handler: GetImagePathHandler,
  parameters: ImageOfFlight,
  make: ({ flightId, frameId }, options) => new GetImagePath(flightId, frameId, options),
});

// The frame id is in the path, so the body can leave it out.
class ImageInPath extends ImageMetadata {
  @Optional() override readonly frameId!: number;
}

@Tag('frames')
@Controller('v1/flights/:id')
export class ImagesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('images/:frameId')
  @Needs('reader', getImageMetadata)
  @Operation({ summary: 'Read the metadata of an image' })
  @Answers(200, StoredImage)
  image(
    @FlightId() id: string,
    @Count('frameId') frameId: number,
    @ValidQuery(AsOf) { asOf }: AsOf,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetImageMetadata(id, frameId, { ...options, asOf }));
  }

  @Put('images/:frameId')
  @Needs('operator')
  @Operation({ summary: 'Save the metadata of an image' })
  @Answers(200, CommandResult)
  saveImage(
    @FlightId() flightId: string,
    @Count('frameId') frameId: number,
    @ValidBody(ImageInPath) image: ImageInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', image.frameId, frameId);
    return this.commands.execute(
      new SaveImageMetadata({ ...sender, flightId, image: { ...image, frameId } }),
    );
  }

  @Delete('images/:frameId')
  @Needs('operator')
  @Operation({ summary: 'Remove the metadata of an image' })
  @Answers(200, CommandResult)
  removeImage(
    @FlightId() flightId: string,
    @Count('frameId') frameId: number,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new RemoveImage({ ...sender, flightId, frameId }));
  }
}

export const imagesPart: ContextPart = {
  commands: [saveImageMetadata, removeImage],
  projections: [flightImages],
  queries: [getImageMetadata, getImagePath],
  controllers: [ImagesController],
};
