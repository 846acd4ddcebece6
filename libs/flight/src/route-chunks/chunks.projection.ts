import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents, type RouteChunk } from '../events.js';

export const chunksTable: TableDefinition = {
  schema: 'flight',
  name: 'chunks',
  columns: {
    flight_id: 'text',
    chunk_id: 'text',
    start_frame_id: 'integer',
    end_frame_id: 'integer',
    frames: 'jsonb',
    is_active: 'boolean',
    has_anchor: 'boolean',
    anchor_frame_id: 'integer',
    anchor_lat: 'double precision',
    anchor_lon: 'double precision',
    matching_status: 'text',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
  },
  key: ['flight_id', 'chunk_id'],
};

const row = (flightId: string, chunk: RouteChunk) =>
  upsert({
    flight_id: flightId,
    chunk_id: chunk.chunkId,
    start_frame_id: chunk.startFrameId,
    end_frame_id: chunk.endFrameId,
    frames: chunk.frames,
    is_active: chunk.isActive,
    has_anchor: chunk.hasAnchor,
    anchor_frame_id: chunk.anchorFrameId,
    anchor_lat: chunk.anchorGps?.lat ?? null,
    anchor_lon: chunk.anchorGps?.lon ?? null,
    matching_status: chunk.matchingStatus,
    created_at: chunk.createdAt,
    updated_at: chunk.updatedAt,
  });

export const chunks = new Projection<FlightEvents>('chunks', 1, chunksTable)
  .on('ChunkStateSaved', (event) => row(flightIdOf(event), event.data))
  .on('ChunkMerged', (event) => [
    remove({ flight_id: flightIdOf(event), chunk_id: event.data.chunkId }),
    row(flightIdOf(event), event.data.into),
  ])
  .on('ChunkDeleted', (event) => remove({ flight_id: flightIdOf(event), chunk_id: event.data.chunkId }))
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
