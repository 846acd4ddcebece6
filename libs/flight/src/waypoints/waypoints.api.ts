import { Controller, Get, Patch, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsKnownId, mapInTurns, Optional, type Timestamp } from '#lib/platform';
import {
  Answers,
  count,
  Freshness,
  Id,
  list,
  listOf,
  Needs,
  object,
  Operation,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  text,
  ValidBodies,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  ALL_ROWS,
  byRows,
  checked,
  numberOr,
  query,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { Row } from '#lib/projections';
import type { WaypointData } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { WaypointsOfFlight, WaypointsQuery } from '../query-rules.js';
import { CommandResult, FlightId, flightRecorded } from '../rest.js';
import { MAX_BATCH } from '../fields.js';
import { addWaypoint, AddWaypoint } from './add-waypoint.js';
import { updateWaypoint, UpdateWaypoint } from './update-waypoint.js';
import { updateWaypoints, UpdateWaypoints } from './update-waypoints.js';
import { NewWaypoint, Waypoint } from './waypoint.js';
import { waypoints, waypointsTable } from './waypoints.projection.js';

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
    const rows = await this.reads.of(flightId, options, (source) =>
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

export const StoredWaypoint = shape('StoredWaypoint', () => stored(Waypoint));
const StoredWaypoints = listOf('StoredWaypoints', StoredWaypoint);
const WaypointAdded = shape('WaypointAdded', () => object({ ...flightRecorded, waypointId: text }));
const BatchResult = shape('BatchResult', () =>
  object({ ...flightRecorded, success: { type: 'boolean' }, updatedCount: count, failedIds: list(text) }),
);

const getWaypoints = query({
  query: GetWaypoints,
  handler: GetWaypointsHandler,
  parameters: WaypointsOfFlight,
  make: ({ flightId, limit }, options) => new GetWaypoints(flightId, limit, options),
  weight: byRows(({ limit }) => numberOr(ALL_ROWS, limit)),
});

// The id is in the path, and can be older than the rule for new ones.
class WaypointInPath extends NewWaypoint {
  @Optional() @IsKnownId() override readonly id?: string | null | undefined;
}

@Tag('route')
@Controller('v1/flights/:id')
export class WaypointsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('waypoints')
  @Needs('reader', getWaypoints)
  @Operation({ summary: 'List waypoints' })
  @Answers(200, StoredWaypoints)
  waypoints(
    @FlightId() id: string,
    @ValidQuery(WaypointsQuery) { limit, asOf }: WaypointsQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetWaypoints(id, limit, { ...options, asOf }));
  }

  @Post('waypoints')
  @Needs('operator')
  @Operation({ summary: 'Add a waypoint' })
  @Answers(201, WaypointAdded)
  addWaypoint(
    @FlightId() flightId: string,
    @ValidBody(NewWaypoint) waypoint: NewWaypoint,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new AddWaypoint({ ...sender, flightId, waypoint }));
  }

  @Put('waypoints/:waypointId')
  @Needs('operator')
  @Operation({ summary: 'Update a waypoint' })
  @Answers(200, CommandResult)
  updateWaypoint(
    @FlightId() flightId: string,
    @Id('waypointId', 'w1') id: string,
    @ValidBody(WaypointInPath) waypoint: WaypointInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', waypoint.id, id);
    return this.commands.execute(new UpdateWaypoint({ ...sender, flightId, waypoint: { ...waypoint, id } }));
  }

  @Patch('waypoints')
  @Needs('operator')
  @Operation({
    summary: 'Update many waypoints',
    description: 'Answers which ids are not waypoints of the flight.',
  })
  @Answers(200, BatchResult)
  updateWaypoints(
    @FlightId() flightId: string,
    @ValidBodies(Waypoint, MAX_BATCH) waypoints: Waypoint[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new UpdateWaypoints({ ...sender, flightId, waypoints }));
  }
}

export const waypointsPart: ContextPart = {
  commands: [addWaypoint, updateWaypoint, updateWaypoints],
  projections: [waypoints],
  queries: [getWaypoints],
  controllers: [WaypointsController],
};
