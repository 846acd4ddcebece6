import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import type { Row } from '#lib/projections';
import type { GeofenceData } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { checked, OfFlight } from '../query-rules.js';
import { geofencesTable } from './geofences.projection.js';

/** A geofence as it is stored. */
export type GeofenceView = GeofenceData;

export const geofenceView = (row: Row): GeofenceView => ({
  id: row['id'] as string,
  northWest: { lat: row['nw_lat'] as number, lon: row['nw_lon'] as number },
  southEast: { lat: row['se_lat'] as number, lon: row['se_lon'] as number },
});

export class GetGeofences extends Query<GeofenceView[]> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetGeofences)
export class GetGeofencesHandler implements IQueryHandler<GetGeofences> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options }: GetGeofences): Promise<GeofenceView[]> {
    checked(OfFlight, { flightId, asOf: options.asOf });
    const rows = await this.reads.ofFlight(flightId, options, (source) =>
      source.select({ table: geofencesTable, where: { flight_id: flightId }, orderBy: ['id'] }),
    );
    return rows.map(geofenceView);
  }
}
