import { Controller, Delete, Get, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { Example, IsKnownId, mapInTurns, Optional } from '#lib/platform';
import {
  Answers,
  Freshness,
  Id,
  list,
  Needs,
  Operation,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  checked,
  query,
  whole,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { Row } from '#lib/projections';
import { FlightReads } from '../flight-reads.js';
import { OfFlight } from '../query-rules.js';
import { CommandResult, FlightId } from '../rest.js';
import { deleteChunk, DeleteChunk } from './delete-chunk.js';
import { mergeChunk, MergeChunk } from './merge-chunk.js';
import { ChunkHandle, saveChunkState, SaveChunkState } from './save-chunk-state.js';
import { chunks, chunksTable } from './chunks.projection.js';

export interface ChunkView {
  readonly chunkId: string;
  readonly startFrameId: number;
  readonly endFrameId: number | null;
  readonly frames: readonly number[];
  readonly isActive: boolean;
  readonly hasAnchor: boolean;
  readonly anchorFrameId: number | null;
  readonly anchorGps: { readonly lat: number; readonly lon: number } | null;
  readonly matchingStatus: string;
}

/** Chunks that are read at a time: one may list 20,000 frames, which is 150 KB. */
const SLICE = 20;

/** The route chunks of a flight, in the order of their first frames. A restarted module continues from these. */
export class GetChunkStates extends Query<ChunkView[]> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetChunkStates)
export class GetChunkStatesHandler implements IQueryHandler<GetChunkStates> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options }: GetChunkStates): Promise<ChunkView[]> {
    checked(OfFlight, { flightId, asOf: options.asOf });
    const rows = await this.reads.chunks(() =>
      this.reads.of(flightId, options, (source) =>
        source.select({
          table: chunksTable,
          where: { flight_id: flightId },
          orderBy: ['start_frame_id', 'chunk_id'],
          slice: SLICE,
        }),
      ),
    );
    return mapInTurns(rows, chunkView);
  }
}

const chunkView = (row: Row): ChunkView => ({
  chunkId: row['chunk_id'] as string,
  startFrameId: row['start_frame_id'] as number,
  endFrameId: row['end_frame_id'] as number | null,
  frames: row['frames'] as number[],
  isActive: row['is_active'] as boolean,
  hasAnchor: row['has_anchor'] as boolean,
  anchorFrameId: row['anchor_frame_id'] as number | null,
  anchorGps:
    row['anchor_lat'] === null
      ? null
      : { lat: row['anchor_lat'] as number, lon: row['anchor_lon'] as number },
  matchingStatus: row['matching_status'] as string,
});

const StoredChunks = shape('StoredChunks', () => list(stored(ChunkHandle)));

const getChunkStates = query({
  query: GetChunkStates,
  handler: GetChunkStatesHandler,
  parameters: OfFlight,
  make: ({ flightId }, options) => new GetChunkStates(flightId, options),
  weight: whole,
});

// The chunk id is in the path, so the body can leave it out.
class ChunkInPath extends ChunkHandle {
  @Optional() override readonly chunkId!: string;
}

@Example<MergeTarget>({ into: 'c2' })
class MergeTarget {
  /** The id of the route chunk that gains the frames. */
  @IsKnownId() readonly into!: string;
}

@Tag('route chunks')
@Controller('v1/flights/:id')
export class RouteChunksController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('chunks')
  @Needs('reader', getChunkStates)
  @Operation({ summary: 'List route chunks' })
  @Answers(200, StoredChunks)
  chunks(@FlightId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetChunkStates(id, { ...options, asOf }));
  }

  @Put('chunks/:chunkId')
  @Needs('operator')
  @Operation({ summary: 'Save the state of a route chunk' })
  @Answers(200, CommandResult)
  save(
    @FlightId() flightId: string,
    @Id('chunkId', 'c1') chunkId: string,
    @ValidBody(ChunkInPath) chunk: ChunkInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('chunkId', chunk.chunkId, chunkId);
    return this.commands.execute(new SaveChunkState({ ...sender, flightId, chunk: { ...chunk, chunkId } }));
  }

  @Delete('chunks/:chunkId')
  @Needs('operator')
  @Operation({ summary: 'Delete a route chunk' })
  @Answers(200, CommandResult)
  delete(
    @FlightId() flightId: string,
    @Id('chunkId', 'c1') chunkId: string,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new DeleteChunk({ ...sender, flightId, chunkId }));
  }

  @Post('chunks/:chunkId/merge')
  @Needs('operator')
  @Operation({ summary: 'Merge a route chunk into another' })
  @Answers(200, CommandResult)
  merge(
    @FlightId() flightId: string,
    @Id('chunkId', 'c1') chunkId: string,
    @ValidBody(MergeTarget) { into }: MergeTarget,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new MergeChunk({ ...sender, flightId, chunkId, into }));
  }
}

export const routeChunksPart: ContextPart = {
  commands: [saveChunkState, mergeChunk, deleteChunk],
  projections: [chunks],
  queries: [getChunkStates],
  controllers: [RouteChunksController],
};
