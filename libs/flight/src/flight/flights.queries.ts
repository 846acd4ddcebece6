import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, Max, Min } from 'class-validator';
import { IsTimestamp, Meaning, Optional, parseTimestamp, FreeText } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import type { Row } from '#lib/projections';
import { PageOf, readPage, type Condition, type Page, type PagedList } from '#lib/waylog';
import { checked, OfFlight } from '../query-rules.js';
import pg from 'pg';
import type { FlightDetails } from '../events.js';
import { flightNotFound } from '../flight.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
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

/** A complete flight: waypoints in the order of their timestamps. */
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
    // Deleted since the first read.
    if (!flight) throw flightNotFound(flightId);
    return flight;
  }
}

export class FlightFilter extends PageOf {
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
  from: 'flight.flights t',
  orderBy: ['created_at', 'id'],
};

/** Only if requested, and from the state's side, so that its index can be used. */
const withState = 'flight.flight_state s join flight.flights t on t.id = s.flight_id';

@QueryHandler(ListFlights)
export class ListFlightsHandler implements IQueryHandler<ListFlights> {
  constructor(
    private readonly reads: FlightReads,
    private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: ListFlights): Promise<Page<FlightSummary>> {
    checked(FlightFilter, filter);
    await this.reads.live(options);
    const list = filter.status == null ? flightList : { ...flightList, from: withState };
    const conditions: Condition[] = [
      ['t.name like', filter.name && likePattern(filter.name)],
      ['s.status =', filter.status],
      ['t.created_at >=', filter.createdFrom && parseTimestamp(filter.createdFrom)],
      ['t.created_at <=', filter.createdTo && parseTimestamp(filter.createdTo)],
    ];
    return this.reads.list(() => readPage(this.pool, list, conditions, filter, flightSummary));
  }
}

/** A name filter in LIKE's syntax: there `_` matches any character, and a backslash before anything is an escape. */
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
