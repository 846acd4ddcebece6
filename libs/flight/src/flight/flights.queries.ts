import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, Max, Min } from 'class-validator';
import { IsTimestamp, Meaning, Optional, parseTimestamp } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import type { Row } from '#lib/projections';
import { readPage, type Page, type PagedList } from '../paged.js';
import { checked, OfFlight } from '../query-rules.js';
import pg from 'pg';
import { FreeText } from '../fields.js';
import type { FlightDetails } from '../events.js';
import { flightNotFound } from '../flight.js';
import { FlightReads, type ReadOptions } from '../flight-reads.js';
import { GeofenceView, geofenceView } from '../geofences/geofences.queries.js';
import { geofencesTable } from '../geofences/geofences.projection.js';
import { WaypointView, waypointView } from '../waypoints/waypoints.queries.js';
import { waypointsTable } from '../waypoints/waypoints.projection.js';
import { flightsTable } from './flights.projection.js';
import type { Timestamp } from '#lib/platform';

/** A flight without its parts, as lists show it. */
export interface FlightSummary extends FlightDetails {
  readonly id: string;
}

/** A flight, complete: waypoints in the order of their timestamps. */
export interface FlightView extends FlightSummary {
  readonly waypoints: readonly WaypointView[];
  readonly geofences: readonly GeofenceView[];
}

export class GetFlight extends Query<FlightView> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetFlight)
export class GetFlightHandler implements IQueryHandler<GetFlight> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options }: GetFlight): Promise<FlightView> {
    checked(OfFlight, { flightId, asOf: options.asOf });
    const of = { flight_id: flightId };
    const flight = await this.reads.ofFlight<FlightView | undefined>(flightId, options, async (source) => {
      const [[details] = [], waypoints = [], geofences = []] = await source.selectTogether([
        { table: flightsTable, where: { id: flightId }, orderBy: ['id'] },
        { table: waypointsTable, where: of, orderBy: ['timestamp', 'id'] },
        { table: geofencesTable, where: of, orderBy: ['id'] },
      ]);
      if (!details) return undefined;
      return {
        ...flightSummary(details),
        waypoints: waypoints.map(waypointView),
        geofences: geofences.map(geofenceView),
      };
    });
    // Deleted since it was looked for.
    if (!flight) throw flightNotFound(flightId);
    return flight;
  }
}

export class FlightFilter {
  @Meaning(
    'The whole name, in its case. % stands for any text, and everything else for itself; \\% is a percent sign and \\\\ a ' +
      'backslash, which is itself before anything else.',
  )
  @Optional()
  @FreeText(255)
  readonly name?: string | null | undefined;
  /** Of the processing state. */
  @Optional() @FreeText(50) readonly status?: string | null | undefined;
  @Optional() @IsTimestamp() readonly createdFrom?: string | null | undefined;
  @Optional() @IsTimestamp() readonly createdTo?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(10_000) readonly limit?: number | null | undefined;
  @Optional() @IsInt() @Min(0) @Max(1_000_000_000) readonly offset?: number | null | undefined;
}

/** Oldest first. */
export class ListFlights extends Query<Page<FlightSummary>> {
  constructor(
    readonly filter: FlightFilter = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

const flightList: PagedList = {
  table: flightsTable,
  from: 'flight.flights t left join flight.flight_state s on s.flight_id = t.id',
  where: `($1::text is null or t.name like $1)
      and ($2::text is null or s.status = $2)
      and ($3::timestamptz is null or t.created_at >= $3)
      and ($4::timestamptz is null or t.created_at <= $4)`,
  orderBy: 't.created_at, t.id',
};

@QueryHandler(ListFlights)
export class ListFlightsHandler implements IQueryHandler<ListFlights> {
  constructor(
    private readonly reads: FlightReads,
    private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: ListFlights): Promise<Page<FlightSummary>> {
    checked(FlightFilter, filter);
    await this.reads.live(options);
    const filters = [
      (filter.name && likePattern(filter.name)) ?? null,
      filter.status ?? null,
      (filter.createdFrom && parseTimestamp(filter.createdFrom)) ?? null,
      (filter.createdTo && parseTimestamp(filter.createdTo)) ?? null,
    ];
    return this.reads.list(() => readPage(this.pool, flightList, filters, filter, flightSummary));
  }
}

/** A name filter as LIKE has it: there `_` stands for any character, and a backslash before anything is an escape. */
const likePattern = (name: string): string =>
  name.replaceAll(/\\[\\%]|[\\_]/g, (found) => (found.length === 2 ? found : `\\${found}`));

const flightSummary = (row: Row): FlightSummary => ({
  id: row['id'] as string,
  name: row['name'] as string,
  description: row['description'] as string,
  startGps: { lat: row['start_lat'] as number, lon: row['start_lon'] as number },
  altitude: row['altitude'] as number,
  cameraParams: row['camera_params'] as JsonObject,
  createdAt: row['created_at'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
});
