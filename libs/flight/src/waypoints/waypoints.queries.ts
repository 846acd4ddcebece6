import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { mapInTurns, type Timestamp } from '#lib/platform';
import type { Row } from '#lib/projections';
import type { WaypointData } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, WaypointsOfFlight } from '../query-rules.js';
import { waypointsTable } from './waypoints.projection.js';

/** A waypoint as it is stored. */
export type WaypointView = WaypointData;

export const waypointView = (row: Row): WaypointView => ({
  id: row['id'] as string,
  lat: row['lat'] as number,
  lon: row['lon'] as number,
  altitude: row['altitude'] as number | null,
  confidence: row['confidence'] as number,
  timestamp: row['timestamp'] as Timestamp,
  refined: row['refined'] as boolean,
});

/** In the order of their timestamps; the first `limit` of them, or all. */
export class GetWaypoints extends Query<WaypointView[]> {
  constructor(
    readonly flightId: string,
    readonly limit?: number | null,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetWaypoints)
export class GetWaypointsHandler implements IQueryHandler<GetWaypoints> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options, ...query }: GetWaypoints): Promise<WaypointView[]> {
    const { limit } = checked(WaypointsOfFlight, { flightId, limit: query.limit, asOf: options.asOf });
    const rows = await this.reads.ofFlight(flightId, options, (source) =>
      source.select({
        table: waypointsTable,
        where: { flight_id: flightId },
        orderBy: ['timestamp', 'id'],
        limit,
      }),
    );
    return mapInTurns(rows, waypointView);
  }
}
