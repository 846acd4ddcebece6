import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { mapInTurns } from '#lib/platform';
import type { Row } from '#lib/projections';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, OfFlight } from '../query-rules.js';
import { chunksTable } from './chunks.projection.js';

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
      this.reads.ofFlight(flightId, options, (source) =>
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
