import { Controller, Delete, Get, Patch, Post, Res, Inject } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { FreeText, IsTimestamp, Meaning, Optional, parseTimestamp, type Timestamp } from '#lib/platform';
import {
  Answers,
  anyObject,
  Freshness,
  list,
  Needs,
  object,
  Operation,
  pageOf,
  referenceTo,
  refuseOtherId,
  Sender,
  setPosition,
  shape,
  Tag,
  text,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  byPage,
  checked,
  PageOf,
  query,
  readPage,
  type CommandOptions,
  type Condition,
  type ContextPart,
  type Page,
  type PagedList,
  type ReadOptions,
  QUERY_POOL,
} from '#lib/waylog';
import { IsInt, Max, Min } from 'class-validator';
import type { JsonObject } from '#lib/event-store';
import type { Row } from '#lib/projections';
import type pg from 'pg';
import type { FlightDetails } from '../events.js';
import { flightNotFound } from '../flight.js';
import { FlightReads } from '../flight-reads.js';
import { GeofenceView, geofenceView, StoredGeofence } from '../geofences/geofences.api.js';
import { geofencesTable } from '../geofences/geofences.projection.js';
import { StoredWaypoint, WaypointView, waypointView } from '../waypoints/waypoints.api.js';
import { waypointsTable } from '../waypoints/waypoints.projection.js';
import { OfFlight } from '../query-rules.js';
import { CommandResult, FlightId, flightRecorded, sampleFlightId } from '../rest.js';
import type { FastifyReply } from 'fastify';
import { GpsPoint } from '../gps-point.js';
import { createFlight, CreateFlight, ImportedFlight } from './create-flight.js';
import { deleteFlight, DeleteFlight } from './delete-flight.js';
import { EraseFlight } from './erase-flight.js';
import { FlightChanges, updateFlight, UpdateFlight } from './update-flight.js';
import { flights, flightsTable } from './flights.projection.js';

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
    const flight = await this.reads.of<FlightView | undefined>(flightId, options, async (source) => {
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
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
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

const details = {
  id: sampleFlightId,
  name: { type: 'string', examples: ['Over the fjord'] },
  description: text,
  startGps: referenceTo(GpsPoint),
  altitude: { type: 'number', examples: [120] },
  cameraParams: anyObject,
  createdAt: time,
  updatedAt: time,
};
const FlightShape = shape('Flight', () =>
  object({
    ...details,
    waypoints: list(referenceTo(StoredWaypoint)),
    geofences: list(referenceTo(StoredGeofence)),
  }),
);
const FlightPage = shape('FlightPage', () => pageOf(object(details)));
const ErasureResult = shape('ErasureResult', () =>
  object(
    {
      ...flightRecorded,
      waits: {
        type: 'string',
        description: 'Only while the tables still hold what was erased: why, and what has to happen.',
      },
    },
    Object.keys(flightRecorded),
  ),
);

const getFlight = query({
  query: GetFlight,
  handler: GetFlightHandler,
  parameters: OfFlight,
  make: ({ flightId }, options) => new GetFlight(flightId, options),
});

const listFlights = query({
  query: ListFlights,
  handler: ListFlightsHandler,
  parameters: FlightFilter,
  make: (filter, options) => new ListFlights(filter, options),
  weight: byPage,
});

@Tag('flights')
@Controller('v1/flights')
export class FlightsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Needs('operator')
  @Operation({ summary: 'Create a flight' })
  @Answers(201, CommandResult)
  create(@ValidBody(ImportedFlight) flight: ImportedFlight, @Sender() sender: CommandOptions) {
    return this.commands.execute(new CreateFlight({ ...sender, flight }));
  }

  @Get()
  @Needs('reader', listFlights)
  @Operation({ summary: 'List flights' })
  @Answers(200, FlightPage)
  list(@ValidQuery(FlightFilter) filter: FlightFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new ListFlights(filter, options));
  }

  @Get(':id')
  @Needs('reader', getFlight)
  @Operation({ summary: 'Read a flight' })
  @Answers(200, FlightShape)
  get(@FlightId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetFlight(id, { ...options, asOf }));
  }

  @Patch(':id')
  @Needs('operator')
  @Operation({ summary: 'Update a flight' })
  @Answers(200, CommandResult)
  update(
    @FlightId() flightId: string,
    @ValidBody(FlightChanges) changes: FlightChanges,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', changes.id, flightId);
    return this.commands.execute(new UpdateFlight({ ...sender, flightId, changes }));
  }

  @Delete(':id')
  @Needs('operator')
  @Operation({ summary: 'Delete a flight', description: 'Its events stay in the log.' })
  @Answers(204)
  async delete(
    @FlightId() flightId: string,
    @Sender() sender: CommandOptions,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    setPosition(reply, await this.commands.execute(new DeleteFlight({ ...sender, flightId })));
  }

  @Post(':id/erase')
  @Needs('admin')
  @Operation({
    summary: "Erase a flight's sensitive data",
    description: 'Erases it for good, also of a deleted flight. The rest can still be read and deleted.',
  })
  @Answers(200, ErasureResult)
  erase(@FlightId() flightId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new EraseFlight({ ...sender, flightId }));
  }
}

export const flightsPart: ContextPart = {
  commands: [createFlight, updateFlight, deleteFlight],
  projections: [flights],
  queries: [getFlight, listFlights],
  controllers: [FlightsController],
};
