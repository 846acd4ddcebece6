import { Controller, Delete, Get, Post, Put } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import {
  AsOf,
  ChunkHandle,
  DeleteChunk,
  GetChunkStates,
  MergeChunk,
  SaveChunkState,
  Transact,
  type TransactionStep,
} from '#lib/flight';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import { Example, IsKnownId, Optional } from '#lib/platform';
import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import { Answers } from './answer.js';
import { Freshness, Id, refuseOtherId, Sender, ValidBody, ValidQuery } from './input.js';

// The chunk id is in the path, so the body can leave it out.
class ChunkInPath extends ChunkHandle {
  @Optional() override readonly chunkId!: string;
}

@Example<MergeTarget>({ into: 'c2' })
class MergeTarget {
  /** The id of the route chunk that gains the frames. */
  @IsKnownId() readonly into!: string;
}

@Example<TransactionBody>({
  commands: [
    { type: 'SaveHeading', heading: { frameId: 0, heading: 92.5, timestamp: '2026-05-01T12:00:00.500Z' } },
    { type: 'SaveImageMetadata', image: { frameId: 0, filePath: '/images/fjord-1/0.jpg' } },
  ],
})
class TransactionBody {
  /** Commands without their flight, such as `{ "type": "UpdateWaypoint", "waypoint": { ... } }`. */
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(1_000) readonly commands!: TransactionStep[];
}

/** Route chunks, and several changes at once. */
@ApiTags('route chunks')
@Controller('v1/flights/:id')
export class ChunksController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('chunks')
  @ApiOperation({ summary: 'List route chunks' })
  @Answers(200, 'StoredChunks')
  chunks(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetChunkStates(id, { ...options, asOf }));
  }

  @Put('chunks/:chunkId')
  @ApiOperation({ summary: 'Save the state of a route chunk' })
  @Answers(200, 'CommandResult')
  save(
    @Id() flightId: string,
    @Id('chunkId') chunkId: string,
    @ValidBody(ChunkInPath) chunk: ChunkInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('chunkId', chunk.chunkId, chunkId);
    return this.commands.execute(new SaveChunkState({ ...sender, flightId, chunk: { ...chunk, chunkId } }));
  }

  @Delete('chunks/:chunkId')
  @ApiOperation({ summary: 'Delete a route chunk' })
  @Answers(200, 'CommandResult')
  delete(@Id() flightId: string, @Id('chunkId') chunkId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new DeleteChunk({ ...sender, flightId, chunkId }));
  }

  @Post('chunks/:chunkId/merge')
  @ApiOperation({ summary: 'Merge a route chunk into another' })
  @Answers(200, 'CommandResult')
  merge(
    @Id() flightId: string,
    @Id('chunkId') chunkId: string,
    @ValidBody(MergeTarget) { into }: MergeTarget,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new MergeChunk({ ...sender, flightId, chunkId, into }));
  }

  @Post('transactions')
  @ApiOperation({ summary: 'Run several commands of one flight', description: 'All are recorded, or none.' })
  @Answers(200, 'TransactionResult')
  transact(
    @Id() flightId: string,
    @ValidBody(TransactionBody) { commands }: TransactionBody,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new Transact({ ...sender, flightId, commands }));
  }
}
