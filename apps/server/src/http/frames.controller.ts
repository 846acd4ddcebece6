import { Controller, Delete, Get, Post, Put } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import {
  AsOf,
  FrameMinute,
  FrameMinutesQuery,
  FrameResult,
  FramesQuery,
  GetFrameMinutes,
  GetFrameResults,
  GetHeadingHistory,
  GetImageMetadata,
  GetLatestHeading,
  HeadingRecord,
  HeadingsQuery,
  ImageMetadata,
  MAX_BATCH,
  RemoveImage,
  SaveFrameResult,
  SaveFrameResults,
  SaveHeading,
  SaveHeadings,
  SaveImageMetadata,
} from '#lib/flight';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import { Optional } from '#lib/platform';
import { Answers } from './answer.js';
import {
  FrameId,
  Freshness,
  Id,
  refuseOtherId,
  Sender,
  ValidBodies,
  ValidBody,
  ValidQuery,
} from './input.js';

// The frame id is in the path, so the body can leave it out.
class FrameInPath extends FrameResult {
  @Optional() override readonly frameId!: number;
}
class HeadingInPath extends HeadingRecord {
  @Optional() override readonly frameId!: number;
}
class ImageInPath extends ImageMetadata {
  @Optional() override readonly frameId!: number;
}

/** The data from the camera frames of a flight: results, headings and images. */
@ApiTags('frames')
@Controller('v1/flights/:id')
export class FramesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('frames')
  @ApiOperation({ summary: 'List frame results' })
  @Answers(200, 'StoredFrames')
  frames(
    @Id() id: string,
    @ValidQuery(FramesQuery) { asOf, ...range }: FramesQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetFrameResults(id, range, { ...options, asOf }));
  }

  @Get('frame-minutes')
  @ApiOperation({
    summary: 'Summarise frames by minute',
    description: 'How many, how certain, and how far they went.',
  })
  @Answers(200, [FrameMinute])
  frameMinutes(
    @Id() id: string,
    @ValidQuery(FrameMinutesQuery) range: FrameMinutesQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetFrameMinutes(id, range, options));
  }

  @Put('frames/:frameId')
  @ApiOperation({
    summary: 'Save a frame result',
    description: 'Saving it again refines it; the log keeps both.',
  })
  @Answers(200, 'CommandResult')
  saveFrame(
    @Id() flightId: string,
    @FrameId() frameId: number,
    @ValidBody(FrameInPath) frame: FrameInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', frame.frameId, frameId);
    return this.commands.execute(new SaveFrameResult({ ...sender, flightId, frame: { ...frame, frameId } }));
  }

  @Post('frames')
  @ApiOperation({ summary: 'Save many frame results' })
  @Answers(200, 'SavedResult')
  saveFrames(
    @Id() flightId: string,
    @ValidBodies(FrameResult, MAX_BATCH) frames: FrameResult[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new SaveFrameResults({ ...sender, flightId, frames }));
  }

  @Get('headings')
  @ApiOperation({ summary: 'List headings' })
  @Answers(200, 'StoredHeadings')
  headings(
    @Id() id: string,
    @ValidQuery(HeadingsQuery) { last, asOf }: HeadingsQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetHeadingHistory(id, last, { ...options, asOf }));
  }

  @Get('headings/latest')
  @ApiOperation({ summary: 'Read the latest heading' })
  @Answers(200, 'StoredHeading')
  latestHeading(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetLatestHeading(id, { ...options, asOf }));
  }

  @Put('headings/:frameId')
  @ApiOperation({ summary: 'Save a heading' })
  @Answers(200, 'CommandResult')
  saveHeading(
    @Id() flightId: string,
    @FrameId() frameId: number,
    @ValidBody(HeadingInPath) heading: HeadingInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', heading.frameId, frameId);
    return this.commands.execute(new SaveHeading({ ...sender, flightId, heading: { ...heading, frameId } }));
  }

  @Post('headings')
  @ApiOperation({ summary: 'Save many headings' })
  @Answers(200, 'SavedResult')
  saveHeadings(
    @Id() flightId: string,
    @ValidBodies(HeadingRecord, MAX_BATCH) headings: HeadingRecord[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new SaveHeadings({ ...sender, flightId, headings }));
  }

  @Get('images/:frameId')
  @ApiOperation({ summary: 'Read the metadata of an image' })
  @Answers(200, 'StoredImage')
  image(
    @Id() id: string,
    @FrameId() frameId: number,
    @ValidQuery(AsOf) { asOf }: AsOf,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetImageMetadata(id, frameId, { ...options, asOf }));
  }

  @Put('images/:frameId')
  @ApiOperation({ summary: 'Save the metadata of an image' })
  @Answers(200, 'CommandResult')
  saveImage(
    @Id() flightId: string,
    @FrameId() frameId: number,
    @ValidBody(ImageInPath) image: ImageInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('frameId', image.frameId, frameId);
    return this.commands.execute(
      new SaveImageMetadata({ ...sender, flightId, image: { ...image, frameId } }),
    );
  }

  @Delete('images/:frameId')
  @ApiOperation({ summary: 'Remove the metadata of an image' })
  @Answers(200, 'CommandResult')
  removeImage(@Id() flightId: string, @FrameId() frameId: number, @Sender() sender: CommandOptions) {
    return this.commands.execute(new RemoveImage({ ...sender, flightId, frameId }));
  }
}
