import { Controller, Delete, Get, Put, Req, Res } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Files, IMAGE_TYPES } from '#lib/files';
import { notFound, Optional, type Timestamp } from '#lib/platform';
import {
  Answers,
  anyObject,
  Count,
  Freshness,
  GivesFile,
  Needs,
  object,
  Operation,
  refuseOtherId,
  sendFile,
  Sender,
  SentFile,
  shape,
  stored,
  Tag,
  TakesFile,
  time,
  type FileInRequest,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  checked,
  query,
  RunningContexts,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { JsonObject } from '#lib/event-store';
import type { ImageData } from '../events.js';
import { existing, type Flight } from '../flight.js';
import { FlightReads } from '../flight-reads.js';
import { flightStream } from '../flight-stream.js';
import { ImageOfFlight } from '../query-rules.js';
import { CommandResult, FlightId } from '../rest.js';
import { removeImage, RemoveImage } from './remove-image.js';
import { ImageMetadata, saveImageMetadata, SaveImageMetadata } from './save-image-metadata.js';
import { StoredContent, StoreImageContent, storeImageContent } from './store-image-content.js';
import { imageContents, imageContentsTable } from './image-contents.projection.js';
import { flightImages, flightImagesTable } from './flight-images.projection.js';

/** The data of an image; with `content` only if its bytes are stored. */
export type ImageView = ImageData & {
  readonly content?: {
    readonly sha256: string;
    readonly size: number;
    readonly type: string;
    readonly storedAt: Timestamp;
  };
};

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
    // Nothing, if there is no image: then it is asked whether there is such a flight.
    const [row, content] = await this.reads.of(flightId, options, async (source) => {
      const of = { where: { flight_id: flightId, frame_id: frameId }, orderBy: ['frame_id'] };
      const images = await source.select({ table: flightImagesTable, ...of });
      return images.length === 0
        ? []
        : [...images, ...(await source.select({ table: imageContentsTable, ...of }))];
    });
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
      ...(content && {
        content: {
          sha256: content['sha256'] as string,
          size: content['size'] as number,
          type: content['type'] as string,
          storedAt: content['stored_at'] as Timestamp,
        },
      }),
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

const StoredImage = shape('StoredImage', () => {
  const { properties } = stored(ImageMetadata, { metadata: anyObject, uploadedAt: time }) as {
    readonly properties: Record<string, object>;
  };
  const content = {
    ...stored(StoredContent, { storedAt: time }),
    description: 'Only if its bytes are stored.',
  };
  return object({ ...properties, content }, Object.keys(properties));
});

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

const noContent = (flightId: string, frameId: number) =>
  notFound(
    'image.no-content',
    `Of the image of frame ${frameId} of flight ${flightId} only the path is known: its content was not stored.`,
    { flightId, frameId },
  );

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
    private readonly files: Files,
    private readonly contexts: RunningContexts,
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

  @Put('images/:frameId/content')
  @TakesFile('operator', IMAGE_TYPES)
  @Operation({
    summary: 'Store the content of an image',
    description:
      'The body is the image, as it is. Its type is told by its first bytes, whatever Content-Type says.',
  })
  @Answers(200, CommandResult)
  async storeContent(
    @FlightId() flightId: string,
    @Count('frameId') frameId: number,
    @SentFile() { source, size, sha256 }: FileInRequest,
    @Sender() sender: CommandOptions,
  ) {
    // Before a byte of it is stored.
    const { streams } = this.contexts.runnerOf(flightStream);
    existing((await streams.stateAtEnd(flightId)) as Flight, flightId);
    return this.files.keep(source, { types: IMAGE_TYPES, size, sha256 }, ({ sha256, size, type }) =>
      this.commands.execute(
        new StoreImageContent({ ...sender, flightId, frameId, content: { sha256, size, type } }),
      ),
    );
  }

  @Get('images/:frameId/content')
  @Needs('reader', getImageMetadata)
  @Operation({
    summary: 'Read the content of an image',
    description: 'Parts of it with Range. The ETag is its SHA-256.',
  })
  @GivesFile(IMAGE_TYPES)
  async content(
    @FlightId() id: string,
    @Count('frameId') frameId: number,
    @ValidQuery(AsOf) { asOf }: AsOf,
    @Freshness() options: ReadOptions,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ) {
    const query = new GetImageMetadata(id, frameId, { ...options, asOf });
    const { content } = (await this.queries.execute(query)) as Pick<ImageView, 'content'>;
    if (!content) throw noContent(id, frameId);
    await sendFile(request, reply, { ...content, open: () => this.files.open(content.sha256, content.size) });
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
  commands: [saveImageMetadata, storeImageContent, removeImage],
  projections: [flightImages, imageContents],
  queries: [getImageMetadata, getImagePath],
  controllers: [ImagesController],
};
