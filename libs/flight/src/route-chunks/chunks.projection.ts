import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents, type RouteChunk } from '../events.js';
import { latitude, longitude, ofFlight } from '../columns.js';

export const chunksTable: TableDefinition = {
  source: 'libs/flight/src/route-chunks/chunks.projection.ts',
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
  owner: ofFlight,
  nullable: ['end_frame_id', 'anchor_frame_id', 'anchor_lat', 'anchor_lon'],
  checks: {
    start_frame_id: 'start_frame_id >= 0',
    end_frame_id: 'end_frame_id >= 0',
    anchor_frame_id: 'anchor_frame_id >= 0',
    anchor_lat: latitude('anchor_lat'),
    anchor_lon: longitude('anchor_lon'),
  },
  // For reads in SQL: the route chunks of a flight that are still growing, and those without an anchor.
  indexes: {
    chunks_active: ['flight_id', 'is_active'],
    chunks_matching: ['flight_id', 'matching_status'],
  },
  comment: 'Route chunks of a flight; nothing to do with the chunks of a hypertable',
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
